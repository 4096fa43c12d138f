//! `trunkline sub`: prints records.

use clap::{Args, ValueEnum};

use super::connect::Target;
use super::exit::Outcome;
use super::values::From;
use crate::config::Span;

/// Subscribe to records and print them
#[derive(Debug, Args)]
#[command(after_help = "\
In PATTERN, * stands for one token and > at the end for one or more. Quote it: the shell knows both.

Examples:
  trunkline sub 'orders.>'                              # from now on, until Ctrl-C
  trunkline sub 'orders.>' --from first                 # everything that is held, then live
  trunkline sub 'orders.*.new' --from -10m              # the last ten minutes, then live
  trunkline sub 'orders.>' --from time:2026-11-21T08:00:00Z
  trunkline sub 'orders.>' --from seq:42 --stream main
  trunkline sub 'pkg.>' --from first --raw --count 1000 --timeout 5s > first-1000.txt
  trunkline sub 'jobs.>' --group workers                # each record to one member of the group
  trunkline sub 'jobs.>' --cursor audit                 # goes on where the cursor of this name stands

Exit codes: 0 when --count records came, or at Ctrl-C without --count; 1 when --timeout ran out; 130 at Ctrl-C before
--count records came.")]
pub(super) struct Subscribe {
    /// The pattern of subjects
    pattern: String,

    /// Where to start: first, last, new, seq:N, time:RFC3339, or an age such as -10m
    #[arg(
        long,
        value_name = "START",
        default_value = "new",
        allow_hyphen_values = true
    )]
    from: From,

    /// End after so many records
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End, with exit code 1, when it has taken so long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,

    /// Print payloads only, one on each line
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// Print one JSON object for each record
    #[arg(long)]
    json: bool,

    /// Only this stream
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,

    /// Share the records with the other members of this group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,

    /// Keep the place under this name in the server; the next time it goes on there
    #[arg(long, value_name = "NAME")]
    cursor: Option<String>,

    /// What happens to this subscription when it is slower than the records come
    #[arg(long, value_name = "POLICY", default_value = "spill")]
    policy: PolicyWord,

    #[command(flatten)]
    target: Target,
}

/// What a server does when a subscription is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PolicyWord {
    /// Go on from the stored records; nothing is lost while retention keeps it
    Spill,
    /// Make the publishers wait
    Block,
    /// Leave out what does not fit
    DropNewest,
    /// Leave out what has waited longest
    DropOldest,
    /// End the subscription
    Disconnect,
}

impl Subscribe {
    pub(super) fn run(self) -> Outcome {
        let _ = (
            &self.pattern,
            self.from,
            self.count,
            self.timeout,
            self.raw,
            self.json,
        );
        let _ = (&self.stream, &self.group, &self.cursor, self.policy);
        self.target.connect().map(|_| ())
    }
}
