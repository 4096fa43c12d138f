//! `trunkline log repair`: streams that cannot be opened become ones that can.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use trunkline_log::{OpenError, RepairError, plan_repair};

use super::verify::Harm;
use super::{Selection, machine, progress, unread};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output::{Output, confirmed, counted, time};
use crate::cli::values::wall_ns;
use crate::storage::{DataDir, StorageError, StreamDir, View, entropy};

/// Make streams whose acknowledged data is damaged ones that can be served again
#[derive(Debug, Args)]
#[command(after_help = "\
A server refuses a stream that has lost acknowledged data where it would have to write behind it. Repair keeps every record \
that is intact and has it served again; subscribers are told which sequences will not come. Nothing is destroyed: damaged \
bytes stay where they are, and what is overwritten is copied to `quarantine` in the stream's directory first. Damage that \
a server serves around needs no repair. The logs of durable cursors (cursors/0, cursors/1, ...) are repaired like streams.

The server must be stopped. Without --yes it is asked before anything is changed. With --dry-run nothing is written, and the \
right to read is enough.

Examples:
  trunkline log repair --dry-run                  # what would be done
  trunkline log repair orders
  trunkline log repair --data /var/lib/trunkline --yes --json

Exit codes: 0 every stream can be opened, now or as it was; 1 a stream needs repair and was not repaired, or cannot be; 6 a \
server has the directory, or files cannot be read or written. What cannot be read is named, and keeps no other stream from being looked at.")]
pub(super) struct Repair {
    #[command(flatten)]
    selection: Selection,

    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// `--json`.
#[derive(Serialize)]
struct Found {
    /// Whether every stream can be opened now.
    sound: bool,
    streams: Vec<Stream>,
}

#[derive(Serialize)]
struct Stream {
    name: String,
    state: State,
    /// What is damaged, as far as it was looked at.
    damages: Vec<Harm>,
    /// Records that will not come.
    lost_records: u64,
    /// There may have been more: nothing tells what some of the missing files held.
    may_have_lost_more: bool,
    /// What is to be done, or was.
    changes: Vec<String>,
    /// Bytes that are copied to quarantine, because they are overwritten.
    copied: Vec<Copied>,
    copied_bytes: u64,
    quarantine: PathBuf,
    /// Why it cannot be repaired, or was not to the end.
    problem: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It can be opened as it is.
    Sound,
    /// It cannot, and was not changed; or not to the end, where there is a problem.
    Damaged,
    Repaired,
    /// It cannot, and nothing is known to help.
    Hopeless,
    /// Its files cannot be read.
    Unreadable,
}

#[derive(Serialize)]
struct Copied {
    segment: u64,
    first_byte: u64,
    end_byte: u64,
}

/// A stream and what is to be done about it.
struct Case {
    stream: Stream,
    files: StreamDir,
    plan: Option<trunkline_log::Repair>,
}

impl Repair {
    pub(super) fn run(&self) -> Outcome {
        let path = &self.selection.data;
        // Held to the end: no server starts meanwhile. Who only looks leaves no trace, and cannot hold what is not his to write.
        let _held = match self.dry_run {
            true => None,
            false => Some(DataDir::open_existing(path).map_err(machine)?),
        };
        let view = View::open(path).map_err(machine)?;
        if view.is_one_stream() {
            let path = path.clone();
            return Err(machine(StorageError::OneStream { path }));
        }
        if self.dry_run {
            view.refuse_served().map_err(machine)?;
        }
        let missing = view.missing().map_err(machine)?;
        // Where nothing is left of cursors, there is nothing to repair, and a server begins new ones. Who cannot tell looks at what is there.
        let lost = view.lost_cursors().unwrap_or_default();
        let mut cases = Vec::new();
        for name in self.selection.names(&view, true)? {
            if lost.contains(&name) {
                cases.push(Case::sound(&view, name));
                continue;
            }
            let gone = missing.contains(&name).then(|| view.gone(&name));
            cases.push(look_at(&view, name, gone)?);
        }
        if self.dry_run {
            // One that has started meanwhile has written under our eyes.
            view.refuse_served().map_err(machine)?;
        }
        let needed = cases.iter().filter(|case| case.plan.is_some()).count() as u64;
        let mut output = Output::new();
        if !self.json {
            for case in &cases {
                case.stream.print(&mut output)?;
            }
            output.flush()?;
        }
        let mut failed = Vec::new();
        let question = format!("Repair {}?", counted(needed, "stream"));
        if needed > 0 && !self.dry_run && (self.yes || confirmed(&question)?) {
            for case in &mut cases {
                // One that fails keeps no other from being repaired.
                if let Err(problem) = case.repair() {
                    failed.push(format!("stream {}: {problem}", case.stream.name));
                    case.stream.problem = Some(problem);
                }
                if !self.json && case.stream.state == State::Repaired {
                    output.line(&format!("{}: repaired", case.stream.name))?;
                }
            }
        }
        let is_sound = |case: &Case| matches!(case.stream.state, State::Sound | State::Repaired);
        let sound = cases.iter().all(is_sound);
        let hopeless: Vec<&str> = cases
            .iter()
            .filter(|case| case.stream.state == State::Hopeless)
            .map(|case| case.stream.name.as_str())
            .collect();
        let unread: Vec<String> = cases
            .iter()
            .filter(|case| case.stream.state == State::Unreadable)
            .filter_map(|case| {
                let problem = case.stream.problem.as_ref()?;
                Some(format!("stream {}: {problem}", case.stream.name))
            })
            .collect();
        let needs_more = cases
            .iter()
            .any(|case| matches!(case.stream.state, State::Damaged | State::Hopeless));
        let is_hopeless = !hopeless.is_empty();
        let why = if is_hopeless {
            format!("cannot be repaired: {}", hopeless.join(", "))
        } else if self.dry_run {
            format!(
                "{} to repair: leave --dry-run away",
                counted(needed, "stream")
            )
        } else {
            format!(
                "{} to repair, and nothing was changed: give --yes",
                counted(needed, "stream")
            )
        };
        if self.json {
            let streams = cases.into_iter().map(|case| case.stream).collect();
            output.json(&Found { sound, streams })?;
        }
        output.flush()?;
        if !failed.is_empty() {
            failed.extend(unread);
            failed.extend(is_hopeless.then_some(why));
            return Err(Failure::Machine(failed.join("; ")));
        }
        match (sound, unread.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => Err(Failure::Absent(why)),
            (false, false) if needs_more => Err(Failure::Absent(format!(
                "{why}; not everything can be read: {}",
                unread.join("; ")
            ))),
            (false, false) => Err(Failure::Machine(unread.join("; "))),
        }
    }
}

/// Plans a repair; nothing is changed.
fn look_at(view: &View, name: String, gone: Option<StorageError>) -> Result<Case, Failure> {
    let mut case = Case::sound(view, name);
    let (stream, files) = (&mut case.stream, &mut case.files);
    if let Some(gone) = gone {
        stream.state = State::Hopeless;
        stream.problem = Some(gone.to_string());
        return Ok(case);
    }
    let random = entropy().map_err(|error| Failure::Machine(error.to_string()))?;
    let planned = plan_repair(files, random, progress("bytes looked at"));
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => {
            (stream.state, stream.problem) = match error {
                RepairError::Open(error @ OpenError::Io { .. }) => {
                    let problem = unread(view, &stream.name, &error);
                    (State::Unreadable, Some(problem))
                }
                error => (State::Hopeless, Some(error.to_string())),
            };
            return Ok(case);
        }
    };
    stream.damages = plan.damages.iter().map(Harm::new).collect();
    stream.lost_records = plan.records_lost();
    stream.may_have_lost_more = plan.may_have_lost_more();
    if plan.is_needless() {
        return Ok(case);
    }
    stream.state = State::Damaged;
    stream.changes = plan.changes.iter().map(ToString::to_string).collect();
    let copied = plan.kept.iter().map(|kept| Copied {
        segment: kept.segment,
        first_byte: kept.start,
        end_byte: kept.end,
    });
    stream.copied = copied.collect();
    stream.copied_bytes = plan.bytes_kept();
    case.plan = Some(plan);
    Ok(case)
}

impl Case {
    /// A stream for which nothing is to be done.
    fn sound(view: &View, name: String) -> Self {
        let files = view.files(&name);
        let stream = Stream {
            name,
            state: State::Sound,
            damages: Vec::new(),
            lost_records: 0,
            may_have_lost_more: false,
            changes: Vec::new(),
            copied: Vec::new(),
            copied_bytes: 0,
            quarantine: files.quarantine(),
            problem: None,
        };
        Self {
            stream,
            files,
            plan: None,
        }
    }

    /// Repairs it, and looks at it once more. Otherwise, why not.
    fn repair(&mut self) -> Result<(), String> {
        let Some(plan) = self.plan.take() else {
            return Ok(());
        };
        let failed = |error: &dyn std::fmt::Display| {
            format!("{error}; what was overwritten is in quarantine, and repair can be tried again")
        };
        plan.apply(&mut self.files)
            .map_err(|error| failed(&error))?;
        let again = plan_repair(&mut self.files, 0, |_, _| {});
        match again {
            Ok(again) if again.is_needless() => {}
            Ok(_) => return Err(failed(&"it cannot be opened yet")),
            Err(error) => return Err(failed(&error)),
        }
        self.stream.state = State::Repaired;
        self.stream
            .receipt()
            .and_then(|line| self.files.remember_repair(&line))
            .map_err(|error| failed(&error))
    }
}

impl Stream {
    /// The line that is kept beside the copies: what was done, and when.
    fn receipt(&self) -> std::io::Result<String> {
        #[derive(Serialize)]
        struct Entry<'a> {
            time: String,
            #[serde(flatten)]
            stream: &'a Stream,
        }
        let entry = Entry {
            time: time(wall_ns()),
            stream: self,
        };
        Ok(serde_json::to_string(&entry)?)
    }

    fn print(&self, output: &mut Output) -> Outcome {
        if self.state == State::Sound {
            let but = match self.lost_records {
                0 => String::new(),
                count => format!(
                    "; readers are told of {} in it that cannot be had back, and nothing more can be done",
                    counted(count, "damaged record")
                ),
            };
            return output.line(&format!("{}: can be served as it is{but}", self.name));
        }
        let what = match self.state {
            State::Unreadable => "cannot be read",
            _ => "cannot be served",
        };
        output.line(&format!("{}: {}", self.name, output.paint(what, "31")))?;
        if let Some(problem) = &self.problem {
            return output.line(&format!("  {problem}"));
        }
        for damage in &self.damages {
            output.line(&format!("  {}", damage.message))?;
        }
        output.line("  to be done:")?;
        for change in &self.changes {
            output.line(&format!("    {change}"))?;
        }
        for copied in &self.copied {
            output.line(&format!(
                "    segment {}: bytes {}..{} are copied to {} first",
                copied.segment,
                copied.first_byte,
                copied.end_byte,
                self.quarantine.display()
            ))?;
        }
        let lost = match self.lost_records {
            _ if self.may_have_lost_more => {
                "nothing tells how many records are lost; none of the sequences that they can have had is given out again"
                    .to_owned()
            }
            0 => "no record is lost".to_owned(),
            count => format!(
                "{} {} lost, and subscribers will be told",
                counted(count, "record"),
                if count == 1 { "is" } else { "are" }
            ),
        };
        output.line(&format!("  {lost}"))
    }
}
