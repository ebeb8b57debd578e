//! A run: what was asked, what is known of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{
    CommitId, DataName, ExperimentName, Host, ParamName, RelPath, RemotePath, RunId, ServerName,
};
use super::value::Value;

/// The version of `run.json` that this program writes.
pub const SCHEMA: u32 = 1;

/// What was asked for, as `run.json` on the server and in the run's record. It never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// The run's id.
    pub id: RunId,
    /// The experiment's name.
    pub experiment: ExperimentName,
    /// The commit whose code runs.
    pub commit: CommitId,
    /// The first line of the commit's message.
    pub subject: String,
    /// 1, or more for a run that was asked for again.
    pub attempt: u32,
    /// The parameters.
    pub parameters: BTreeMap<ParamName, Value>,
    /// The command with the parameters in it, as the server's `sh` reads it.
    pub command: String,
    /// Where it runs.
    pub server: Place,
    /// The environment it runs in.
    pub environment: EnvironmentKey,
    /// The data it needs.
    pub data: BTreeMap<DataName, DataKey>,
    /// The longest it may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Which files are results; empty: every file the run created or changed.
    pub results: Vec<RelPath>,
    /// Which result files hold metrics.
    pub metrics: Vec<RelPath>,
    /// The push that asked for it: UTC date and time, and the commit. Sorts by time.
    pub sprint: String,
    /// Its place in the design, from 0.
    pub order: u32,
    /// When it was asked for, seconds since 1970 by the asking machine's clock.
    pub asked: i64,
    /// Who asked, as git knows them.
    pub by: String,
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The server's name in `agile.toml`.
    pub name: ServerName,
    /// Where the server is.
    pub host: Host,
    /// The project's folder there.
    pub path: RemotePath,
}

/// What an environment is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentKey {
    /// A digest of the rest and of the contents of the requirement files, 16 hexadecimal digits.
    pub key: String,
    /// The Python version asked for, if any.
    pub python: Option<String>,
    /// The requirement files, the first one being installed; empty when there are none.
    pub requirements: Vec<RelPath>,
}

/// A data set as the run needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataKey {
    /// Where it comes from.
    pub url: String,
    /// What it must be.
    pub sha256: Option<String>,
    /// Where the code finds it.
    pub path: RelPath,
}

/// The state of a run. `Asked` is ours alone: the intent is recorded, and no server has confirmed a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Asked for; whether it was launched is not known here.
    Asked,
    /// Waits for its turn on the server.
    Queued,
    /// Runs.
    Running,
    /// Ended with exit status 0.
    Succeeded,
    /// Ended with another status.
    Failed,
    /// Ended because a person stopped it.
    Stopped,
    /// Ended because its time was over.
    TimedOut,
    /// Ended without leaving an exit status: killed, or the server rebooted.
    Lost,
}

impl RunState {
    /// Whether nothing more will happen.
    pub fn is_end(self) -> bool {
        !matches!(self, RunState::Asked | RunState::Queued | RunState::Running)
    }

    /// The word that a server writes and a person reads.
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Asked => "asked",
            RunState::Queued => "queued",
            RunState::Running => "running",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Stopped => "stopped",
            RunState::TimedOut => "timed-out",
            RunState::Lost => "lost",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of a run: its state by the last evidence, and when that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The state.
    pub state: RunState,
    /// When the state began, seconds since 1970 by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// When the run was launched, by the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    /// The exit status, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// One sentence about why, where there is something to say. Of a run that is only asked for: why it was not
    /// launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the server was last asked, by this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<i64>,
    /// When its results came home, by this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<i64>,
}

impl Known {
    /// What is known before a server was asked.
    pub fn asked() -> Self {
        Known {
            state: RunState::Asked,
            since: None,
            started: None,
            exit: None,
            note: None,
            seen: None,
            fetched: None,
        }
    }

    /// Whether it is certain that the run was not launched.
    pub fn is_unlaunched(&self) -> bool {
        self.state == RunState::Asked && self.note.is_some()
    }

    /// Whether something may still happen to the run by itself.
    pub fn is_open(&self) -> bool {
        !self.state.is_end() && !self.is_unlaunched()
    }

    /// The same, with why the run was not launched, or without it when that is to be tried. What has been seen on a
    /// server stays.
    #[must_use]
    pub fn unlaunched(&self, why: Option<&str>) -> Self {
        let mut known = self.clone();
        if known.state == RunState::Asked {
            known.note = why.map(str::to_string);
        }
        known
    }

    /// Whether anything but the time of the last look differs.
    pub fn differs(&self, other: &Known) -> bool {
        Known {
            seen: None,
            ..self.clone()
        } != Known {
            seen: None,
            ..other.clone()
        }
    }
}
