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
    /// The run whose record this one repeats, to see whether its metrics come out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduces: Option<RunId>,
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
    /// What of its metric ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
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

/// What of a metric ends a run. At least one of `below`, `above` and `patience` is there, and `mode` with `patience`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The metric; names that are nested have dots between them.
    pub metric: String,
    /// It ends the run when it falls below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// It ends the run when it rises above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// So many values in a row that are no better than the best one before end the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// Which values are better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Smaller ones.
    Min,
    /// Larger ones.
    Max,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        let bounds = [("below", self.below), ("above", self.above)];
        let mut parts: Vec<String> = bounds
            .into_iter()
            .filter_map(|(word, bound)| Some(format!(" {word} {}", bound?)))
            .collect();
        parts.extend(
            self.patience
                .map(|values| format!(" not better in {values} values")),
        );
        f.write_str(&parts.join(" or"))
    }
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

impl Place {
    /// Whether it is the folder `path` of `host`, however that is written.
    pub fn is_at(&self, host: &Host, path: &RemotePath) -> bool {
        self.host == *host && self.path.parts().eq(path.parts())
    }
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
    /// Whether it is an archive whose content is wanted as a folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpack: bool,
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
    /// Ended because a person stopped it, or its own rule did ([`Known::ended_by`]).
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
    /// Which of its own rules ended the run: its metric's, or its time was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// What the runner says of the machine and of what the run took, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<Report>>,
    /// When the server was last asked, by this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<i64>,
    /// When its results came home, by this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<i64>,
    /// When it was removed from the server, by this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<i64>,
}

/// What a runner says of the machine that it was on, and of what its run took. All of it is what the server says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The machine's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Kernel, its release, and the machine's architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The processor's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Its cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Its memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The GPUs that the run saw, with their driver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// The id of the image that its container was started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The version of Python that the run had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// How long the program took, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<f64>,
    /// Processor time of the program and all that it waited for, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_seconds: Option<f64>,
    /// The same within the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_seconds: Option<f64>,
    /// The most memory that was seen in use by the program's processes together, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
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
            ended_by: None,
            report: None,
            seen: None,
            fetched: None,
            removed: None,
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

    /// Whether its results are on the server and not here.
    pub fn is_to_fetch(&self) -> bool {
        self.state.is_end() && self.fetched.is_none() && self.removed.is_none()
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

    /// The same, given up by a person at `time` (seconds since 1970), since its server has nothing of it any more.
    #[must_use]
    pub fn given_up(&self, time: i64) -> Self {
        Known {
            state: RunState::Stopped,
            since: None,
            note: Some("by a person; its folder was gone".into()),
            removed: Some(time),
            ..self.clone()
        }
    }

    /// What two who looked at the same run know together. Whose knowledge is `self` does not matter.
    ///
    /// The state is the later one in a run's life; of two ends the one with an exit status, then the one that was
    /// seen last. What one of them alone knows stays.
    #[must_use]
    pub fn joined(&self, other: &Known) -> Known {
        let rank = |known: &Known| {
            let life = match known.state {
                RunState::Asked => 0,
                RunState::Queued => 1,
                RunState::Running => 2,
                RunState::Lost => 3,
                _ => 4,
            };
            let words = (known.state, known.since, known.exit, known.note.clone());
            (life, known.exit.is_some(), known.seen, words)
        };
        let (later, earlier) = match rank(self) >= rank(other) {
            true => (self, other),
            false => (other, self),
        };
        let is_same = later.state == earlier.state;
        let agreed = is_same.then_some(earlier);
        Known {
            state: later.state,
            since: later.since.or(agreed.and_then(|known| known.since)),
            started: later.started.or(earlier.started),
            exit: later.exit.or(agreed.and_then(|known| known.exit)),
            note: later
                .note
                .clone()
                .or_else(|| agreed.and_then(|known| known.note.clone())),
            ended_by: later.ended_by.clone().or_else(|| earlier.ended_by.clone()),
            report: later.report.clone().or_else(|| earlier.report.clone()),
            seen: later.seen.max(earlier.seen),
            fetched: later.fetched.max(earlier.fetched),
            removed: later.removed.max(earlier.removed),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn known(state: RunState, since: i64) -> Known {
        Known {
            state,
            since: Some(since),
            seen: Some(since),
            ..Known::asked()
        }
    }

    #[test]
    fn two_know_more_than_one() {
        let running = Known {
            started: Some(5),
            seen: Some(90),
            ..known(RunState::Running, 5)
        };
        let ended = Known {
            exit: Some(0),
            ..known(RunState::Succeeded, 50)
        };
        let fetched = Known {
            fetched: Some(70),
            ..known(RunState::Lost, 60)
        };
        let all = [
            Known::asked(),
            known(RunState::Queued, 1),
            running,
            ended,
            fetched,
        ];
        for a in &all {
            assert_eq!(a.joined(a), *a);
            for b in &all {
                assert_eq!(a.joined(b), b.joined(a));
            }
        }
        let together = all.iter().fold(Known::asked(), |sum, one| sum.joined(one));
        assert_eq!(
            together,
            Known {
                started: Some(5),
                exit: Some(0),
                seen: Some(90),
                fetched: Some(70),
                ..known(RunState::Succeeded, 50)
            }
        );
    }
}
