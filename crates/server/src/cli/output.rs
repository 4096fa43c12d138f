//! What is printed: results, tables, progress, complaints; and what is asked.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;

use super::exit::{Failure, Outcome};

/// Standard output with a buffer, where a closed pipe ends the command without a word; or a file.
pub(super) struct Output {
    to: BufWriter<Box<dyn Write>>,
    terminal: bool,
    /// What it is, where it is not standard output.
    file: Option<String>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            to: BufWriter::with_capacity(64 << 10, Box::new(io::stdout())),
            terminal: io::stdout().is_terminal(),
            file: None,
        }
    }

    /// A new file; one that is there is not overwritten.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let opened = OpenOptions::new().write(true).create_new(true).open(path);
        let file = opened.map_err(|error| {
            let shown = path.display();
            match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::Usage(format!(
                    "{shown} exists already; remove it, or name another"
                )),
                _ => Failure::Machine(format!("cannot create {shown}: {error}")),
            }
        })?;
        Ok(Self {
            to: BufWriter::with_capacity(64 << 10, Box::new(file)),
            terminal: false,
            file: Some(path.display().to_string()),
        })
    }

    /// Writes bytes as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Outcome {
        let written = self.to.write_all(bytes);
        written.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        match &self.file {
            Some(file) => Failure::Machine(format!("cannot write to {file}: {error}")),
            None => Failure::output(error),
        }
    }

    /// Writes text and ends the line.
    pub(super) fn line(&mut self, text: &str) -> Outcome {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// Writes one JSON value on one line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Outcome {
        let text =
            serde_json::to_string(value).map_err(|error| Failure::Machine(error.to_string()))?;
        self.line(&text)
    }

    /// Text in a colour, where that can be seen.
    pub(super) fn paint(&self, text: &str, code: &str) -> String {
        paint(text, code, self.terminal)
    }

    /// Lets everything be seen.
    pub(super) fn flush(&mut self) -> Outcome {
        let flushed = self.to.flush();
        flushed.map_err(|error| self.failed(&error))
    }
}

/// Asks on a terminal; elsewhere nobody can answer.
pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::Machine(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints a failure on standard error: in red on a terminal, or as JSON where the results are JSON.
pub(super) fn complain(failure: &Failure, json: bool) {
    let error = failure.to_string();
    if error.is_empty() {
        return;
    }
    let code = failure.number();
    let line = match serde_json::to_string(&Complaint {
        error: &error,
        code,
    }) {
        Ok(line) if json => line,
        _ => {
            let mark = paint("error:", "1;31", io::stderr().is_terminal());
            format!("{mark} {error}")
        }
    };
    // Nothing can be done when even this cannot be written.
    let _ = writeln!(io::stderr(), "{line}");
}

/// A failure for machines.
#[derive(Serialize)]
struct Complaint<'a> {
    error: &'a str,
    /// The exit code.
    code: u8,
}

/// Text in a colour, where `terminal` is one and colours are not switched off.
pub(super) fn paint(text: &str, code: &str, terminal: bool) -> String {
    if terminal && std::env::var_os("NO_COLOR").is_none() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// A count and a rate on standard error while something runs; nothing where that is not a terminal.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    shown: Instant,
    count: u64,
}

impl Progress {
    /// With `total`, how much is left is shown too.
    pub(super) fn new(what: &'static str, total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self {
                bar: None,
                shown: Instant::now(),
                count: 0,
            };
        }
        let target = ProgressDrawTarget::stderr_with_hz(8);
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{wide_bar} {human_pos}/{human_len} {msg}  {rate}  {eta} left",
            None => "{spinner} {human_pos} {msg}  {rate}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            // Its own has digits behind the point that change faster than anybody reads.
            let shown = |state: &ProgressState, text: &mut dyn fmt::Write| {
                let _ = text.write_str(&rate(state.per_sec()));
            };
            bar.set_style(style.with_key("rate", shown));
        }
        bar.set_message(what);
        Self {
            bar: Some(bar),
            shown: Instant::now(),
            count: 0,
        }
    }

    /// Counts; the screen is touched a few times a second only.
    pub(super) fn add(&mut self, count: u64) {
        self.count += count;
        if let Some(bar) = &self.bar {
            // Reading the clock for each record would cost more than sending it.
            let due = self.count & 0xff < count || self.count < 0x100;
            if due && self.shown.elapsed() > Duration::from_millis(100) {
                self.shown = Instant::now();
                bar.set_position(self.count);
            }
        }
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A table with columns as wide as needed; numbers to the right.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// Column titles; those that end in `>` hold numbers.
    pub(super) fn new(titles: &[&str]) -> Self {
        let right = titles.iter().map(|title| title.ends_with('>')).collect();
        let first = titles
            .iter()
            .map(|title| title.trim_end_matches('>').to_uppercase())
            .collect();
        Self {
            rows: vec![first],
            right,
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn print(&self, output: &mut Output) -> Outcome {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row.get(column).map_or(0, |cell| cell.chars().count()))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let space = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                let (before, after) = if self.right[column] {
                    (space.as_str(), "")
                } else {
                    ("", space.as_str())
                };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            output.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// `1 record`, `2,000 records`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Records per second as `3.21 M/s`.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2} M/s", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.1} k/s", rate / 1e3),
        rate => format!("{rate:.0}/s"),
    }
}

/// Nanoseconds since 1970 as RFC 3339 with microseconds.
pub(super) fn time(ns: u64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => ns.to_string(),
    }
}

/// Bytes as text, for JSON.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= group.len() {
                char::from(DIGITS[index])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn bytes_become_base64() {
        let text = |bytes: &[u8]| base64(bytes);
        assert_eq!(
            [text(b""), text(b"f"), text(b"fo"), text(b"foo")],
            ["", "Zg==", "Zm8=", "Zm9v"]
        );
        assert_eq!(text(&[255, 254, 0, 1]), "//4AAQ==");
    }

    #[test]
    fn times_are_printed_in_utc_with_microseconds() {
        assert_eq!(time(1_000_000_123_456), "1970-01-01T00:16:40.000123Z");
    }
}
