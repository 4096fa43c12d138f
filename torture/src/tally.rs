//! What was counted.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! counts {
    ($(#[$doc:meta])* $name:ident: $($field:ident $text:literal;)*) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: Count,)*
            /// What was wrong.
            pub(crate) findings: Findings,
        }

        impl $name {
            fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($text, self.$field.get()),)*]
            }

            /// Everything that is counted must have happened, but for those that begin with one of `except`.
            ///
            /// # Errors
            /// What never did.
            pub(crate) fn require_all(&self, except: &[&str]) -> Result<(), String> {
                require_all(&self.all(), except)
            }
        }
    };
}

counts! {
    /// Counts of all arenas together.
    Tally:
    kills "kills";
    kills_under_load "kills under load";
    kills_in_recovery "kills while the server starts";
    kills_while_stopping "kills while the server stops";
    second_servers "second servers on the same data, each refused";
    clean_stops "clean stops";
    starts "starts after which everything was checked";
    sent "records sent";
    acked_stored "records acknowledged as stored";
    acked_synced "records acknowledged as synced";
    found "records found after a kill";
    compared "records read again and compared";
    watched "records delivered live, all of which must be found again";
    removed "records removed by retention";
}

counts! {
    /// Counts of all sites together.
    PowerTally:
    states "crash states";
    ext4 "crash states of ext4";
    xfs "crash states of xfs";
    btrfs "crash states of btrfs";
    at_flush "power lost right after a flush of the device";
    in_part "power lost with a part of the writes behind the flush on the device";
    in_recovery "power lost while the server recovered";
    shut_down "file systems shut down under load, nothing more written";
    shut_down_behind_journal "file systems shut down under load, their journal written";
    lives "servers under load, on new and on recovered file systems";
    flushes "flushes of the device that were recorded";
    writes "writes to the device that were recorded";
    sent "records sent";
    acked_stored "records acknowledged as stored";
    acked_synced "records acknowledged as synced";
    promised "records acknowledged as synced before the power was lost, each state counted";
    found "records found again, each state counted";
}

/// What was found wrong, by its kind.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    lost: Count,
    twice: Count,
    out_of_order: Count,
    others: Count,
}

impl Findings {
    /// Counts what was said of the parts that failed, a line or more of each, by the words that it begins with or has behind a place.
    pub(crate) fn count(&self, done: &Result<(), String>) {
        let Err(said) = done else { return };
        let kinds = [
            ("LOST", &self.lost),
            ("TWICE", &self.twice),
            ("OUT OF ORDER", &self.out_of_order),
        ];
        let mut is_other = true;
        for line in said.lines() {
            for (_, count) in kinds.iter().filter(|kind| line.contains(kind.0)) {
                count.add(1);
                is_other = false;
            }
        }
        self.others.add(u64::from(is_other));
    }

    fn rows(&self) -> [(&'static str, u64); 4] {
        [
            ("records lost", self.lost.get()),
            ("records twice", self.twice.get()),
            ("records out of order", self.out_of_order.get()),
            ("other findings", self.others.get()),
        ]
    }

    fn line(&self) -> String {
        let [lost, twice, out_of_order, _] = self.rows().map(|row| row.1);
        format!("{lost} lost, {twice} twice, {out_of_order} out of order")
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// How far it is.
    pub(crate) fn line(&self, kills: u64, elapsed: Duration) -> String {
        format!(
            "{} of {kills} kills in {:.0} s, {} records acknowledged, nothing wrong so far",
            self.kills.get(),
            elapsed.as_secs_f64(),
            self.acked_stored.get() + self.acked_synced.get()
        )
    }

    pub(crate) fn print(&self, elapsed: Duration) {
        print(&self.all());
        println!(
            "{} kills in {:.1} s: of acknowledged records {}",
            self.kills.get(),
            elapsed.as_secs_f64(),
            self.findings.line()
        );
    }

    /// Leaves the counts in a file, behind rows of the caller's.
    pub(crate) fn write(&self, path: &Path, head: String, elapsed: Duration) -> Result<(), String> {
        let rows = [&self.all()[..], &self.findings.rows()].concat();
        write(&rows, path, head, elapsed)
    }
}

impl PowerTally {
    /// How far it is.
    pub(crate) fn line(&self, states: u64, elapsed: Duration) -> String {
        format!(
            "{} of {states} crash states in {:.0} s, {} records found, nothing wrong so far",
            self.states.get(),
            elapsed.as_secs_f64(),
            self.found.get()
        )
    }

    pub(crate) fn print(&self, elapsed: Duration) {
        print(&self.all());
        println!(
            "{} crash states in {:.1} s: of synced records {}",
            self.states.get(),
            elapsed.as_secs_f64(),
            self.findings.line()
        );
    }

    /// Leaves the counts in a file, behind rows of the caller's.
    pub(crate) fn write(&self, path: &Path, head: String, elapsed: Duration) -> Result<(), String> {
        let rows = [&self.all()[..], &self.findings.rows()].concat();
        write(&rows, path, head, elapsed)
    }
}

fn require_all(rows: &[(&str, u64)], except: &[&str]) -> Result<(), String> {
    let is_missing =
        |row: &&(&str, u64)| row.1 == 0 && !except.iter().any(|start| row.0.starts_with(start));
    let missing: Vec<&str> = rows.iter().filter(is_missing).map(|row| row.0).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("these never happened: {}", missing.join("; ")))
}

fn print(rows: &[(&str, u64)]) {
    for (text, count) in rows {
        println!("{count:>12}  {text}");
    }
}

/// Name, tab, count.
fn write(rows: &[(&str, u64)], path: &Path, head: String, elapsed: Duration) -> Result<(), String> {
    let mut text = format!("{head}seconds\t{:.1}\n", elapsed.as_secs_f64());
    for (name, count) in rows {
        text.push_str(&format!("{name}\t{count}\n"));
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_by_their_kind() {
        let findings = Findings::default();
        findings.count(&Ok(()));
        assert!(findings.rows().iter().all(|row| row.1 == 0));
        let said = "epoll after 3 kills: LOST: a ends before 7\nlog\ntorture: direct: LOST, TWICE or OUT OF ORDER: b";
        findings.count(&Err(said.into()));
        assert_eq!(findings.line(), "2 lost, 1 twice, 1 out of order");
        findings.count(&Err("the server ended by itself".into()));
        assert_eq!(findings.rows()[3], ("other findings", 1));
    }

    #[test]
    fn what_never_happened_is_named_unless_the_machine_lacks_it() {
        let rows = [("kills", 3), ("clean stops", 0), ("crash states of xfs", 0)];
        let complaint = require_all(&rows, &["crash states of xfs"]).unwrap_err();
        assert_eq!(complaint, "these never happened: clean stops");
        assert!(require_all(&rows, &["crash states", "clean"]).is_ok());
    }
}
