//! What was counted.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! counts {
    ($($field:ident $text:literal;)*) => {
        /// Counts of all arenas together.
        #[derive(Debug, Default)]
        pub(crate) struct Tally { $(pub(crate) $field: Count,)* }

        impl Tally {
            fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($text, self.$field.get()),)*]
            }
        }
    };
}

counts! {
    kills "kills";
    kills_under_load "kills under load";
    kills_in_recovery "kills while the server starts";
    kills_while_stopping "kills while the server stops";
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
        for (text, count) in self.all() {
            println!("{count:>12}  {text}");
        }
        println!(
            "{} kills in {:.1} s: 0 acknowledged records lost, 0 twice, 0 out of order",
            self.kills.get(),
            elapsed.as_secs_f64()
        );
    }

    /// Leaves the counts in a file: name, tab, count.
    pub(crate) fn write(&self, path: &Path, seed: u64, elapsed: Duration) -> Result<(), String> {
        let mut text = format!("seed\t{seed}\nseconds\t{:.1}\n", elapsed.as_secs_f64());
        for (name, count) in self.all() {
            text.push_str(&format!("{name}\t{count}\n"));
        }
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}
