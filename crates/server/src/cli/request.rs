//! `trunkline request` and `trunkline reply`: calls and their answers.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use trunkline_client::{Error, ErrorCode, Event, PublishError};

use super::connect::{Line, Target, refused};
use super::exit::{Failure, Outcome};
use super::output::{Output, base64};
use super::publish::everything;
use super::values::call_time;
use crate::config::Span;

/// Call a service and print its answer
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trunkline request svc.echo 'hi'
  trunkline request svc.resize --timeout 30s < picture.png > small.png
  trunkline request '$sys.stream.list' ''  # the server answers below $sys.

Exit codes: 0 answered; 1 nobody listens, the responder failed or went away, or the time ran out; 4 the server itself does \
not answer.")]
pub(super) struct Request {
    /// The subject
    subject: String,

    /// The payload; standard input when absent
    payload: Option<String>,

    /// How long to wait for the connection and the answer: at most 1m, after which every server gives up
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = call_time)]
    timeout: Span,

    /// Print a JSON object with the answer and the time it took
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

/// Answer calls with the output of a command
#[derive(Debug, Args)]
#[command(after_help = "\
The command is run by the shell for each call, one at a time: the payload is its standard input, its standard output is the \
answer, and TRUNKLINE_SUBJECT is the subject. When it fails, its exit code and the first line of its standard error go to the caller. \
An answer that is longer than a record may be fails with code 10.

Examples:
  trunkline reply svc.echo --exec cat
  trunkline reply 'svc.upper.*' --exec 'tr a-z A-Z'
  trunkline reply svc.date --exec 'date -u' --count 1")]
pub(super) struct Reply {
    /// The subject, or a pattern
    subject: String,

    /// The command that answers
    #[arg(long, value_name = "CMD")]
    exec: String,

    /// End after so many calls
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print one JSON object for each call
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

/// `request --json`.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    seconds: f64,
}

/// `reply --json`.
#[derive(Serialize)]
struct Answered<'a> {
    subject: &'a str,
    request_bytes: usize,
    answer_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    seconds: f64,
}

impl Request {
    pub(super) fn run(self) -> Outcome {
        let payload = match &self.payload {
            Some(payload) => payload.clone().into_bytes(),
            None => everything()?,
        };
        let end = Instant::now() + self.timeout.duration();
        let within = self.timeout.duration();
        let mut line = self.target.connect_within("request", within)?;
        let begin = Instant::now();
        let left = end.saturating_duration_since(begin);
        let answer = call(&mut line, &self.subject, &payload, left)?;
        let seconds = begin.elapsed().as_secs_f64();
        line.close();
        let mut output = Output::new();
        if self.json {
            let payload = std::str::from_utf8(&answer).ok();
            let payload_base64 = payload.is_none().then(|| base64(&answer));
            output.json(&Answer {
                payload,
                payload_base64,
                seconds,
            })?;
        } else {
            output.write(&answer)?;
            // A prompt should not stand behind the answer; a file gets the bytes alone.
            if io::stdout().is_terminal() && !answer.ends_with(b"\n") {
                output.write(b"\n")?;
            }
        }
        output.flush()
    }
}

/// Calls a service and waits for its answer.
pub(super) fn call(
    line: &mut Line,
    subject: &str,
    payload: &[u8],
    timeout: Duration,
) -> Result<Vec<u8>, Failure> {
    let refusal = |error: Error| Failure::Refused(error.to_string());
    let request = line
        .connection
        .call(subject, payload, timeout)
        .map_err(refusal)?;
    // The server keeps the time; this one only covers for a server that does not.
    let end = Instant::now() + timeout + GRACE;
    let mut answered: Option<Result<Vec<u8>, Failure>> = None;
    loop {
        let came = line.turn(|event| match event {
            Event::Answer {
                request: which,
                payload,
            } if which == request => answered = Some(Ok(payload.to_vec())),
            Event::Failed {
                request: which,
                error,
            } if which == request => answered = Some(Err(refused(&error))),
            Event::ResponderFailed {
                request: which,
                failure,
            } if which == request => {
                let (code, message) = (failure.code, failure.message);
                answered = Some(Err(Failure::Absent(format!(
                    "the responder failed: {message} (code {code})"
                ))));
            }
            _ => {}
        })?;
        if let Some(answer) = answered {
            return answer;
        }
        if !came {
            line.wait(None, Some(end))?;
        }
        if Instant::now() >= end {
            return Err(Failure::Connection(format!(
                "{} does not answer: not even that `{subject}` gave no answer in time",
                line.server()
            )));
        }
    }
}

impl Reply {
    pub(super) fn run(self) -> Outcome {
        let mut line = self.target.connect("reply")?;
        let refusal = |error: Error| Failure::Refused(error.to_string());
        let (_, request) = line.connection.respond_to(&self.subject).map_err(refusal)?;
        // A worker runs the command while this thread keeps the connection alive; a byte on the socket pair says that it is
        // done.
        let (done, finished) =
            UnixStream::pair().map_err(|error| Failure::Machine(error.to_string()))?;
        finished
            .set_nonblocking(true)
            .map_err(|error| Failure::Machine(error.to_string()))?;
        let mut waiting: VecDeque<Asked> = VecDeque::new();
        let mut running: Option<std::thread::JoinHandle<(Asked, Executed)>> = None;
        let mut output = Output::new();
        let (mut taken, mut answered) = (0_u64, 0_u64);
        let ended = loop {
            let mut failure = None;
            let came = line.turn(|event| match event {
                Event::Call { correlation, call }
                    if self.count.is_none_or(|count| taken < count) =>
                {
                    taken += 1;
                    waiting.push_back(Asked {
                        correlation,
                        subject: call.subject.to_owned(),
                        payload: call.payload.to_vec(),
                        begin: Instant::now(),
                    });
                }
                Event::Failed {
                    request: which,
                    error,
                } if which == request => failure = Some(refused(&error)),
                _ => {}
            });
            if let Err(lost) = came {
                break Err(lost);
            }
            if let Some(failure) = failure {
                break Err(failure);
            }
            if let Some(handle) = running.take_if(|handle| handle.is_finished()) {
                let mut byte = [0];
                let _ = (&finished).read(&mut byte);
                let Ok((asked, answer)) = handle.join() else {
                    break Err(Failure::Machine("the command's thread ended".to_owned()));
                };
                if let Err(failure) = self.answer(&mut line, &mut output, &asked, answer) {
                    break Err(failure);
                }
                answered += 1;
                if self.count == Some(answered) {
                    break Ok(());
                }
                continue;
            }
            if running.is_none()
                && let Some(asked) = waiting.pop_front()
            {
                let (command, mut done) = (self.exec.clone(), done.try_clone());
                running = Some(std::thread::spawn(move || {
                    let answer = execute(&command, &asked);
                    if let Ok(done) = &mut done {
                        let _ = done.write(&[1]);
                    }
                    (asked, answer)
                }));
            }
            if matches!(came, Ok(false)) {
                // The thread writes its byte just before it ends; a short sleep covers the difference.
                let soon = running
                    .is_some()
                    .then(|| Instant::now() + Duration::from_millis(20));
                if let Err(interrupted) = line.wait(Some(finished.as_fd()), soon) {
                    break Err(interrupted);
                }
            }
        };
        match ended {
            Err(Failure::Interrupted) if self.count.is_none() => {
                line.close();
                Ok(())
            }
            Ok(()) => {
                line.close();
                Ok(())
            }
            ended => ended,
        }
    }

    /// Sends what the command printed, or how it failed.
    fn answer(
        &self,
        line: &mut Line,
        output: &mut Output,
        asked: &Asked,
        answer: Executed,
    ) -> Outcome {
        let (connection, to) = (&mut line.connection, asked.correlation);
        let unsent = |error: Error| Failure::Connection(error.to_string());
        let answer = match answer {
            Ok(answer) => match connection.respond(to, &answer) {
                Ok(()) => Ok(answer),
                Err(Error::Publish(error)) => Err(Failed::from(error)),
                Err(error) => return Err(unsent(error)),
            },
            failed => failed,
        };
        if let Err(Failed { code, message }) = &answer {
            let _ = writeln!(io::stderr(), "no answer to {}: {message}", asked.subject);
            connection
                .respond_failed(to, *code, message)
                .map_err(unsent)?;
        }
        if self.json {
            output.json(&Answered {
                subject: &asked.subject,
                request_bytes: asked.payload.len(),
                answer_bytes: answer.as_ref().ok().map(Vec::len),
                error: answer.as_ref().err().map(|failed| &*failed.message),
                seconds: asked.begin.elapsed().as_secs_f64(),
            })?;
            output.flush()?;
        }
        Ok(())
    }
}

/// A call that waits for its answer.
struct Asked {
    correlation: u16,
    subject: String,
    payload: Vec<u8>,
    begin: Instant,
}

/// What the command printed, or how it failed.
type Executed = Result<Vec<u8>, Failed>;

struct Failed {
    /// Its exit code, as a shell says it: 128 and the signal's number for one that was killed. Or what is wrong with its answer.
    code: u32,
    /// The first line of its standard error.
    message: String,
}

impl From<PublishError> for Failed {
    /// The server would not take the answer.
    fn from(error: PublishError) -> Self {
        let message = match error {
            PublishError::TooLong {
                payload_bytes,
                payload_bytes_max,
            } => {
                format!(
                    "the answer has {payload_bytes} bytes, the server takes {payload_bytes_max}"
                )
            }
            error => error.to_string(),
        };
        Self {
            code: ErrorCode::RECORD_TOO_LONG.0.into(),
            message,
        }
    }
}

impl From<io::Error> for Failed {
    /// The shell could not be run.
    fn from(error: io::Error) -> Self {
        Self {
            code: NOT_RUN,
            message: error.to_string(),
        }
    }
}

/// Runs the command with the payload on its standard input.
fn execute(command: &str, asked: &Asked) -> Executed {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("TRUNKLINE_SUBJECT", &asked.subject)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let (output, first) = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command need not read what it is asked.
            let _ = stdin
                .take()
                .map(|mut stdin| stdin.write_all(&asked.payload));
        });
        let first = scope.spawn(|| stderr.map(pass_on).unwrap_or_default());
        (child.wait_with_output(), first.join().unwrap_or_default())
    });
    let output = output?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let killed = |signal| 128 + signal;
    let code = output.status.code().or(output.status.signal().map(killed));
    Err(Failed {
        code: code
            .and_then(|code| code.try_into().ok())
            .unwrap_or(NOT_RUN),
        message: if first.is_empty() {
            format!("the command failed: {}", output.status)
        } else {
            first
        },
    })
}

/// Passes what the command says to our own standard error, as it comes, and returns the first line that is not empty.
fn pass_on(stderr: impl Read) -> String {
    let mut stderr = BufReader::new(stderr);
    let (mut first, mut line) = (String::new(), Vec::new());
    while stderr
        .by_ref()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .is_ok_and(|bytes| bytes > 0)
    {
        let _ = io::stderr().write_all(&line);
        if first.is_empty() {
            first = String::from_utf8_lossy(&line).trim().to_owned();
        }
        line.clear();
    }
    first
}

/// What a shell ends with when it cannot run a command.
const NOT_RUN: u32 = 126;
/// A longer line of standard error counts as several.
const LINE_BYTES_MAX: u64 = 4096;
/// What the network and a busy server may add to a timeout.
const GRACE: Duration = Duration::from_secs(1);
