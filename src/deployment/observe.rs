//! From what a server says to what is known. Pure: a run ends only on evidence, and a look that shows nothing changes
//! nothing.

use std::collections::BTreeMap;

use super::protocol::Answer;
use crate::model::names::RunId;
use crate::model::run::{Known, RunState};

/// What the script did with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It was launched, and its runner said so.
    Started,
    /// It waits for a slot.
    Queued,
    /// It had been launched before.
    Existed,
    /// It was only looked at.
    Looked,
    /// It was stopped.
    Stopped,
    /// It was to be stopped, and processes are left.
    Resisted,
    /// It had ended before it was to be stopped.
    HadEnded,
}

/// What a server says of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// What was done.
    pub deed: Deed,
    /// The run's folder, or nothing when there is none.
    pub facts: Option<Facts>,
}

/// The contents of a run's folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    state: Option<RunState>,
    since: Option<i64>,
    exit: Option<i32>,
    process: Process,
}

/// What was seen of the run's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// It lives.
    Alive,
    /// It is gone.
    Gone,
    /// It is gone after a person had asked for its end.
    Killed,
    /// The machine has rebooted since.
    Rebooted,
    /// It is on another machine that shares the folder.
    Elsewhere,
    /// A runner has claimed the run and not yet said who it is.
    Claimed,
    /// A person stopped the run before it began.
    Refused,
    /// Nobody looked, or there is nothing to look at.
    Unknown,
}

/// The runs that an answer speaks of, and the server's clock.
///
/// Lines that are not understood are passed over: a newer script may say more.
pub fn sightings(answer: &Answer) -> (BTreeMap<RunId, Sighting>, Option<i64>) {
    let mut seen = BTreeMap::new();
    let mut clock = None;
    for line in answer {
        let fields: Vec<&str> = line.iter().map(String::as_str).collect();
        match fields.as_slice() {
            ["clock", time] => clock = time.parse().ok(),
            ["run", id, deed, facts @ ..] => {
                if let (Ok(id), Some(deed)) = (RunId::new(*id), parse_deed(deed)) {
                    seen.insert(
                        id,
                        Sighting {
                            deed,
                            facts: parse_facts(facts),
                        },
                    );
                }
            }
            _ => {}
        }
    }
    (seen, clock)
}

fn parse_deed(word: &str) -> Option<Deed> {
    Some(match word {
        "started" => Deed::Started,
        "queued" => Deed::Queued,
        "exists" => Deed::Existed,
        "look" => Deed::Looked,
        "stopped" => Deed::Stopped,
        "ended" => Deed::HadEnded,
        _ if word.starts_with("stopped ") => Deed::Resisted,
        _ => return None,
    })
}

fn parse_facts(fields: &[&str]) -> Option<Facts> {
    let [state, since, exit, process] = fields else {
        return None;
    };
    let state = match *state {
        "queued" => Some(RunState::Queued),
        "running" => Some(RunState::Running),
        "succeeded" => Some(RunState::Succeeded),
        "failed" => Some(RunState::Failed),
        "stopped" => Some(RunState::Stopped),
        "timed-out" => Some(RunState::TimedOut),
        _ => None,
    };
    let process = match *process {
        "alive" => Process::Alive,
        "gone" => Process::Gone,
        "killed" => Process::Killed,
        "rebooted" => Process::Rebooted,
        "elsewhere" => Process::Elsewhere,
        "claimed" => Process::Claimed,
        "refused" => Process::Refused,
        _ => Process::Unknown,
    };
    Some(Facts {
        state,
        since: since.parse().ok(),
        exit: exit.parse().ok(),
        process,
    })
}

/// What is known of a run after a look at time `now` (seconds since 1970, by this machine's clock), given what was
/// `known` before.
pub fn learn(known: &Known, facts: Option<&Facts>, now: i64) -> Known {
    let mut learnt = Known {
        seen: Some(now),
        ..known.clone()
    };
    let Some(facts) = facts else {
        // No folder: it was never launched, or was cleaned away after its end. Neither changes what is known.
        return learnt;
    };
    let (state, note) = match (facts.exit, facts.process) {
        (Some(exit), _) => {
            let state = ended(facts, exit);
            (state, exit_note(exit).filter(|_| state == RunState::Failed))
        }
        (None, Process::Alive | Process::Elsewhere) => (RunState::Running, None),
        (None, Process::Killed | Process::Refused) => (RunState::Stopped, None),
        (None, Process::Gone) => (
            RunState::Lost,
            Some(
                "its processes are gone and left no exit status (killed, or out of memory?)".into(),
            ),
        ),
        (None, Process::Rebooted) => (RunState::Lost, Some("the server has rebooted".into())),
        (None, Process::Claimed) => (RunState::Asked, None),
        (None, Process::Unknown) => (facts.state.unwrap_or(RunState::Asked), None),
    };
    if facts.state == Some(RunState::Running) && learnt.started.is_none() {
        learnt.started = facts.since;
    }
    if state == RunState::Lost && known.state == RunState::Lost {
        return learnt;
    }
    learnt.state = state;
    learnt.since = if state == RunState::Lost {
        None
    } else {
        facts.since
    };
    learnt.exit = facts.exit;
    learnt.note = note;
    learnt
}

fn ended(facts: &Facts, exit: i32) -> RunState {
    match facts.state {
        Some(state) if state.is_end() => state,
        // The runner wrote `exit` and was killed before it wrote the state.
        _ if exit == 0 => RunState::Succeeded,
        _ => RunState::Failed,
    }
}

fn exit_note(exit: i32) -> Option<String> {
    match exit {
        137 => Some("killed (signal 9; out of memory?)".into()),
        139 => Some("crashed (signal 11)".into()),
        126 | 127 => Some("the command was not found or is not executable".into()),
        129..=159 => Some(format!("ended by signal {}", exit - 128)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(fields: [&str; 4]) -> Known {
        learn(&Known::asked(), parse_facts(&fields).as_ref(), 1000)
    }

    #[test]
    fn a_run_ends_only_on_evidence() {
        use RunState::*;
        for (fields, state) in [
            (["running", "5", "-", "alive"], Running),
            (["running", "5", "-", "elsewhere"], Running),
            (["running", "5", "-", "rebooted"], Lost),
            (["running", "5", "-", "gone"], Lost),
            (["running", "5", "-", "killed"], Stopped),
            (["-", "-", "-", "claimed"], Asked),
            (["-", "-", "-", "-"], Asked),
            (["-", "-", "-", "refused"], Stopped),
            (["succeeded", "9", "0", "-"], Succeeded),
            (["failed", "9", "1", "-"], Failed),
            (["stopped", "9", "143", "-"], Stopped),
            (["running", "5", "0", "-"], Succeeded),
            (["running", "5", "3", "-"], Failed),
            (["what", "x", "y", "z"], Asked),
        ] {
            assert_eq!(after(fields).state, state, "{fields:?}");
        }
    }

    #[test]
    fn no_folder_changes_nothing_but_the_look() {
        let known = Known {
            state: RunState::Succeeded,
            exit: Some(0),
            ..Known::asked()
        };
        let learnt = learn(&known, None, 7);
        assert!(!learnt.differs(&known));
        assert_eq!(learnt.seen, Some(7));
    }

    #[test]
    fn hostile_lines_are_passed_over() {
        let answer = vec![
            vec!["run".into(), "../../x".into(), "started".into()],
            vec!["run".into(), "ok-1".into(), "look".into(), "absent".into()],
            vec![],
            vec!["clock".into(), "12".into()],
        ];
        let (seen, clock) = sightings(&answer);
        assert_eq!(seen.keys().map(RunId::as_str).collect::<Vec<_>>(), ["ok-1"]);
        assert_eq!(clock, Some(12));
    }
}
