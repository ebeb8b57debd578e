//! What did not come home, and why.

use std::fmt;

use super::path::BadPath;
use crate::terminal::clean_bytes;

/// A result that was not fetched. Any of them makes the command end with exit status 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the runs asked for, counted from 0.
    pub run: usize,
    /// Its path as the server wrote it, `.` for the run as a whole; clean it before showing it.
    pub path: Vec<u8>,
    /// Why.
    pub reason: Reason,
}

/// Why a result was not fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A symbolic link that does not lead to a file among the same run's results.
    Link,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
    /// A git folder, or something that a file system may take for one.
    Git,
    /// Files that together make a bare repository, whose configuration git would obey.
    Repository,
    /// Nested deeper, or named longer, than file systems allow.
    Deep,
    /// The server cannot read it.
    Unreadable,
    /// It was changing while it was read or sent, or arrived damaged.
    Changed,
    /// It is larger than one file may be.
    Large,
    /// The run still writes to it.
    Moving,
    /// The run has not begun, so nobody knows what is new.
    NotLaunched,
    /// Its path leads out of the folder or is no path.
    Outside,
    /// The name is one that git-agile uses while files arrive.
    Reserved,
    /// The list names it twice, or as a file and as a folder.
    Twice,
    /// Another name differs from it only by case, and this file system does not tell them apart.
    Twin,
    /// A link or something else that is no plain file or folder lies in its place here.
    InTheWay,
    /// Edited here, and so was the newer version saved beside it.
    Edited,
    /// The file here changed during the fetch.
    ChangedHere,
    /// The run has more files than one fetch takes.
    Many,
    /// The server has no folder of the run.
    Gone,
    /// The server could not list or send the run.
    Run(String),
}

impl Reason {
    /// Whether the same fetch, repeated later, may succeed without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Reason::Changed
                | Reason::ChangedHere
                | Reason::Moving
                | Reason::Many
                | Reason::Gone
                | Reason::Run(_)
        )
    }

    /// The reason that a server means by `word` in a `refused` line.
    pub(super) fn from_word(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"link" => Reason::Link,
            b"fifo" => Reason::Fifo,
            b"socket" => Reason::Socket,
            b"device" => Reason::Device,
            b"git" => Reason::Git,
            b"deep" => Reason::Deep,
            b"unreadable" => Reason::Unreadable,
            b"changed" => Reason::Changed,
            b"large" => Reason::Large,
            b"moving" => Reason::Moving,
            b"launch" => Reason::NotLaunched,
            _ => return None,
        })
    }
}

impl From<BadPath> for Reason {
    fn from(bad: BadPath) -> Self {
        match bad {
            BadPath::Outside => Reason::Outside,
            BadPath::Git => Reason::Git,
            BadPath::Long => Reason::Deep,
            BadPath::Ours => Reason::Reserved,
        }
    }
}

/// The rest of a sentence that begins with the path, cleaned.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Reason::Link => "is a link that leads to no file among the results",
            Reason::Fifo => "is a named pipe",
            Reason::Socket => "is a socket",
            Reason::Device => "is a device",
            Reason::Git => "would be taken for a git folder",
            Reason::Repository => "is part of what git would take for a repository",
            Reason::Deep => "is nested too deep or named too long",
            Reason::Unreadable => "cannot be read on the server",
            Reason::Changed => "changed while it was copied",
            Reason::Large => "is larger than one file may be",
            Reason::Moving => "is still being written",
            Reason::NotLaunched => "has not begun, so nothing of it is new",
            Reason::Outside => "leads out of the results folder",
            Reason::Reserved => "has a name that git-agile uses itself",
            Reason::Twice => "is in the server's list twice",
            Reason::Twin => "differs from another name only by case",
            Reason::InTheWay => "is blocked here by a link or something else that is no plain file",
            Reason::Edited => "was edited here, and so was the version saved beside it",
            Reason::ChangedHere => "changed here during the fetch",
            Reason::Many => "has more files than one fetch takes",
            Reason::Gone => "is not there any more",
            Reason::Run(why) => {
                return write!(f, "could not be fetched: {}", clean_bytes(why.as_bytes()));
            }
        };
        f.write_str(text)
    }
}

/// `PATH REASON`, cleaned.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", clean_bytes(&self.path), self.reason)
    }
}
