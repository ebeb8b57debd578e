//! Commands of a test: started, bounded in time, and judged.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::holds_within;

/// No command of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(240);

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub what: String,
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Standard output as it came.
    pub bytes: Vec<u8>,
    pub took: Duration,
}

impl Outcome {
    /// It ended with status 0.
    #[track_caller]
    pub fn succeeds(&self) -> &Self {
        self.ends_with(0)
    }

    /// It ended with exactly this status.
    #[track_caller]
    pub fn ends_with(&self, code: i32) -> &Self {
        assert!(self.code == Some(code), "expected status {code}:\n{self}");
        self
    }

    /// Standard output contains the text.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} on standard output:\n{self}"
        );
        self
    }

    /// Standard error contains the text.
    #[track_caller]
    pub fn complains(&self, text: &str) -> &Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} on standard error:\n{self}"
        );
        self
    }

    /// Neither stream contains the text.
    #[track_caller]
    pub fn never_says(&self, text: &str) -> &Self {
        assert!(
            !self.stdout.contains(text) && !self.stderr.contains(text),
            "{text:?} is there:\n{self}"
        );
        self
    }

    /// One `error:` with this text and one `hint:` with that, as every failure has.
    #[track_caller]
    pub fn explains(&self, error: &str, hint: &str) -> &Self {
        let one = |prefix: &str, text: &str| {
            let lines: Vec<_> = self
                .stderr
                .lines()
                .filter(|l| l.starts_with(prefix))
                .collect();
            assert!(
                lines.len() == 1 && lines[0].contains(text),
                "expected one `{prefix} …{text}…`:\n{self}"
            );
        };
        one("error:", error);
        one("hint:", hint);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("not JSON ({error}):\n{self}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}", self.what)?;
        writeln!(f, "--- standard output\n{}", self.stdout)?;
        writeln!(f, "--- standard error\n{}", self.stderr)?;
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "--- status {code}, {:?}", self.took),
            (None, signal) => write!(f, "--- signal {signal:?}, {:?}", self.took),
        }
    }
}

/// A command that is still running.
pub struct Running {
    what: String,
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    started: Instant,
}

impl Running {
    /// Starts a command in a process group of its own, with nothing on standard input unless that was set.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let what = describe(command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        Self {
            what,
            stdout: drain(child.stdout.take().expect("piped")),
            stderr: drain(child.stderr.take().expect("piped")),
            child,
            started: Instant::now(),
        }
    }

    /// The pipe to its standard input, when the command was given one.
    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal; one that it is too late for is no mistake.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child has a pid");
        let _ = kill_process(pid, signal);
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits for the end. A command that takes too long, or leaves somebody behind who holds its output open (and so
    /// would hang `git agile … | less`), fails the test.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let in_time = holds_within(PATIENCE, || self.ended());
        let took = self.started.elapsed();
        if !in_time {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("it is our child");
        let late = PATIENCE;
        let bytes = self.stdout.recv_timeout(late);
        let errors = self.stderr.recv_timeout(late);
        assert!(
            bytes.is_ok() && errors.is_ok(),
            "`{}` ended, but a process that it left behind keeps its output open",
            self.what
        );
        let (bytes, errors) = (bytes.unwrap_or_default(), errors.unwrap_or_default());
        let outcome = Outcome {
            what: self.what,
            code: status.code(),
            signal: status.signal(),
            stdout: String::from_utf8_lossy(&bytes).into_owned(),
            stderr: String::from_utf8_lossy(&errors).into_owned(),
            bytes,
            took,
        };
        assert!(in_time, "no end after {PATIENCE:?}:\n{outcome}");
        outcome
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    Running::start(command.stdin(Stdio::null())).finish()
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Reads a stream to its end beside the test, so that no command blocks on a full pipe.
fn drain(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}
