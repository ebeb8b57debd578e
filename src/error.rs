//! What went wrong, to which thing, and what mends it.

use std::fmt;

/// Why a command ends without success. The kind alone decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A check found something, or a run failed: exit status 1.
    Check,
    /// The command line names something that does not exist or does not fit: exit status 2.
    Usage,
    /// The repository or its configuration does not allow it: exit status 3.
    Config,
    /// A server could not be reached: exit status 4.
    Unreachable,
    /// A step on a server (or on this machine) failed: exit status 5.
    Step,
    /// The person interrupted: exit status 130.
    Interrupted,
    /// A child process has already said what is wrong; only its status travels up.
    Child(u8),
}

impl Kind {
    /// The documented exit status of this kind.
    pub fn status(self) -> u8 {
        match self {
            Kind::Check => 1,
            Kind::Usage => 2,
            Kind::Config => 3,
            Kind::Unreachable => 4,
            Kind::Step => 5,
            Kind::Interrupted => 130,
            Kind::Child(status) => status,
        }
    }
}

/// Every documented exit status, with what it says.
pub fn statuses() -> [(u8, &'static str); 7] {
    let of = |kind: Kind, what| (kind.status(), what);
    [
        (0, "done"),
        of(Kind::Check, "a check or a run failed"),
        of(Kind::Usage, "usage"),
        of(Kind::Config, "configuration"),
        of(Kind::Unreachable, "a server could not be reached"),
        of(Kind::Step, "a step failed"),
        of(Kind::Interrupted, "interrupted"),
    ]
}

/// An error as the person reads it: `error: MESSAGE`, then a `caused by:` line for each cause, then a `hint:`
/// line for each hint. The texts may hold bytes from elsewhere; they are cleaned when printed.
#[derive(Clone, Debug)]
pub struct Error {
    /// Decides the exit status.
    pub kind: Kind,
    /// One sentence without a full stop; empty when a child has already printed it.
    pub message: String,
    /// What lay beneath, outermost first.
    pub causes: Vec<String>,
    /// What to do next, each a sentence or a command.
    pub hints: Vec<String>,
}

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The command line is wrong (exit status 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The repository or its configuration is wrong (exit status 3).
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// A server cannot be reached (exit status 4).
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, message)
    }

    /// A step failed (exit status 5).
    pub fn step(message: impl Into<String>) -> Self {
        Self::new(Kind::Step, message)
    }

    /// Nothing more to say: a child printed its own error and ended with `status`.
    pub fn child(status: u8) -> Self {
        Self::new(Kind::Child(status), "")
    }

    /// The same error with a hint: what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same error; with this hint when it has none.
    #[must_use]
    pub fn or_hint(self, hint: impl Into<String>) -> Self {
        if self.hints.is_empty() {
            self.hint(hint)
        } else {
            self
        }
    }

    /// The same error with what lay beneath it; one that says nothing is none.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        let cause = cause.to_string();
        self.causes.extend(Some(cause).filter(|it| !it.is_empty()));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns a lower error into ours, with the sentence that says what was being done.
pub trait Context<T> {
    /// The error becomes the cause of a [`Kind::Step`] error that says `message`.
    fn or_step(self, message: impl FnOnce() -> String) -> Result<T>;
    /// The error becomes the cause of a [`Kind::Config`] error that says `message`.
    fn or_config(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn or_step(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::step(message()).cause(error))
    }

    fn or_config(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::config(message()).cause(error))
    }
}
