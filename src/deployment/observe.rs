//! From what a server says to what is known. Pure: a run ends only on evidence, and a look that shows nothing changes
//! nothing.

use std::collections::BTreeMap;

use super::protocol::Answer;
use super::slurm::Job;
use crate::model::names::RunId;
use crate::model::run::{Known, Report, RunState};

/// What the script did with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It was launched, and its runner said so.
    Started,
    /// It waits for a slot.
    Queued,
    /// Slurm took its job.
    Submitted,
    /// Slurm was given its job, and did not say whether it took it.
    Unconfirmed,
    /// It had been launched before.
    Existed,
    /// It was only looked at.
    Looked,
    /// It was stopped.
    Stopped,
    /// It was to be stopped, and processes are left.
    Resisted,
    /// It was to be stopped, and is on another machine that shares the folder.
    OutOfReach,
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
    /// What the packages of its environment are, a `name==version` line each, where the server says it.
    pub packages: Option<String>,
}

/// The contents of a run's folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    state: Option<RunState>,
    since: Option<i64>,
    exit: Option<i32>,
    process: Process,
    began: Option<i64>,
    rule: Option<String>,
    report: Option<Report>,
}

/// What was seen of the run's process.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Its session did not start, and cannot start any more unless the run is deployed again.
    Unbegun,
    /// What Slurm says of its job.
    Job(Job),
    /// Nobody looked, or there is nothing to look at.
    Unknown,
}

/// A server's clock may differ from ours by so many seconds before its times are taken for other than they are.
const JITTER: i64 = 5;

/// The runs that an answer speaks of. Where it was given `now`, seconds since 1970, and says what the server's clock showed, the
/// times are by this machine's clock.
///
/// Lines that are not understood are passed over: a newer script may say more.
pub fn sightings(answer: &Answer, now: Option<i64>) -> BTreeMap<RunId, Sighting> {
    let mut seen: BTreeMap<RunId, Sighting> = BTreeMap::new();
    let (mut clock, mut packages) = (None::<i64>, BTreeMap::new());
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
                            packages: None,
                        },
                    );
                }
            }
            ["packages", sum, names] => {
                let lines = names.split_whitespace().flat_map(|name| [name, "\n"]);
                packages.insert(sum.to_string(), lines.collect::<String>());
            }
            ["report", id, said @ ..] => {
                // It follows the line of its run, and the packages that it speaks of.
                let sighting = RunId::new(*id).ok().and_then(|id| seen.get_mut(&id));
                if let Some(sighting) = sighting {
                    let word = |word: &str| said.iter().find_map(|fact| value(fact, word));
                    sighting.packages = word("packages").and_then(|sum| packages.get(sum).cloned());
                    if let Some(facts) = &mut sighting.facts {
                        facts.rule = word("rule").map(shortened);
                        facts.report = Some(parse_report(said));
                    }
                }
            }
            _ => {}
        }
    }
    let ahead = now.zip(clock).map(|(now, clock)| now.saturating_sub(clock));
    if let Some(ahead) = ahead.filter(|ahead| ahead.saturating_abs() > JITTER) {
        for facts in seen.values_mut().filter_map(|seen| seen.facts.as_mut()) {
            for time in [&mut facts.since, &mut facts.began].into_iter().flatten() {
                *time = time.saturating_add(ahead);
            }
        }
    }
    seen
}

/// The value of a fact that is called `word`.
fn value<'a>(fact: &'a str, word: &str) -> Option<&'a str> {
    let (name, value) = fact.split_once(' ')?;
    (name == word).then_some(value)
}

/// What a server says in free words, no longer than a line.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

fn parse_report(said: &[&str]) -> Report {
    let word = |word: &str| said.iter().find_map(|fact| value(fact, word));
    let seconds = |name| word(name)?.parse::<f64>().ok().filter(|n| n.is_finite());
    let bytes = |name| word(name)?.parse::<u64>().ok()?.checked_mul(1024);
    let gpus = said.iter().filter_map(|fact| value(fact, "gpu"));
    Report {
        host: word("host").map(shortened),
        system: word("system").map(shortened),
        cpu: word("cpu").map(shortened),
        cores: word("cores").and_then(|cores| cores.parse().ok()),
        memory: bytes("memory"),
        gpus: gpus.take(64).map(shortened).collect(),
        image: word("image").map(shortened),
        python: word("python").map(shortened),
        wall_seconds: seconds("wall"),
        user_seconds: seconds("user"),
        system_seconds: seconds("system-time"),
        peak_memory: bytes("peak"),
    }
}

fn parse_deed(word: &str) -> Option<Deed> {
    Some(match word {
        "started" => Deed::Started,
        "queued" => Deed::Queued,
        "submitted" => Deed::Submitted,
        "unconfirmed" => Deed::Unconfirmed,
        "exists" => Deed::Existed,
        "look" => Deed::Looked,
        "stopped" => Deed::Stopped,
        "ended" => Deed::HadEnded,
        "elsewhere" => Deed::OutOfReach,
        _ if word.starts_with("stopped ") => Deed::Resisted,
        _ => return None,
    })
}

fn parse_facts(fields: &[&str]) -> Option<Facts> {
    let [state, since, exit, process, began] = fields else {
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
        "unbegun" => Process::Unbegun,
        text => Job::parse(text).map_or(Process::Unknown, Process::Job),
    };
    Some(Facts {
        state,
        since: since.parse().ok(),
        exit: exit.parse().ok(),
        process,
        began: began.parse().ok(),
        rule: None,
        report: None,
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
    let (state, note) = match (facts.exit, &facts.process) {
        // Whoever did not answer has not been seen: what was known stays, with its age.
        (None, Process::Job(Job::Unseen)) => return known.clone(),
        (None, Process::Job(Job::Unconfirmed)) => (known.state, None),
        (None, Process::Job(Job::Waiting(reason))) => (
            RunState::Queued,
            reason.as_ref().map(|reason| format!("Slurm: {reason}")),
        ),
        (None, Process::Job(Job::Running)) => (RunState::Running, None),
        (None, Process::Job(Job::Over(state, why))) => (*state, Some(why.clone())),
        (Some(exit), Process::Job(Job::Over(_, why))) => (ended(facts, exit), Some(why.clone())),
        (Some(exit), _) => {
            let state = ended(facts, exit);
            let note = match state {
                RunState::Failed => exit_note(exit),
                RunState::Stopped if facts.rule.is_none() => Some(PERSON.into()),
                _ => None,
            };
            (state, note)
        }
        (None, Process::Alive | Process::Elsewhere) => (RunState::Running, None),
        (None, Process::Gone) => (
            RunState::Lost,
            Some(
                "its processes are gone and left no exit status (killed, or out of memory?)".into(),
            ),
        ),
        (None, Process::Killed | Process::Refused) => (RunState::Stopped, Some(PERSON.into())),
        (None, Process::Rebooted) => (RunState::Lost, Some("the server has rebooted".into())),
        (None, Process::Claimed) => (RunState::Asked, None),
        (None, Process::Unbegun) => (
            RunState::Asked,
            Some("the session did not start within 10 seconds".into()),
        ),
        (None, Process::Unknown) => (facts.state.unwrap_or(known.state), None),
    };
    learnt.started = facts.began.or(learnt.started);
    if learnt.report.is_none() {
        learnt.report = facts.report.clone().map(Box::new);
    }
    // An answer may be older than what another command has learnt meanwhile: an end stays, and only an exit status
    // says more than that a run was lost.
    let says_more = known.state == RunState::Lost && facts.exit.is_some();
    if known.state.is_end() && !says_more {
        return learnt;
    }
    learnt.state = state;
    // Who left no exit status has not said when it ended.
    let is_told = facts.exit.is_some() || !state.is_end();
    learnt.since = facts.since.filter(|_| is_told);
    learnt.exit = facts.exit;
    learnt.ended_by = facts.rule.clone();
    learnt.note = note;
    learnt
}

/// The note of a run that no rule of its own has stopped.
const PERSON: &str = "by a person";

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
        130 => Some("interrupted (^C)".into()),
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

    fn after(fields: [&str; 5]) -> Known {
        learn(&Known::asked(), parse_facts(&fields).as_ref(), 1000)
    }

    #[test]
    fn a_run_ends_only_on_evidence() {
        use RunState::*;
        for (fields, state) in [
            (["running", "5", "-", "alive", "4"], Running),
            (["running", "5", "-", "elsewhere", "4"], Running),
            (["running", "5", "-", "rebooted", "4"], Lost),
            (["running", "5", "-", "gone", "4"], Lost),
            (["running", "5", "-", "killed", "4"], Stopped),
            (["-", "-", "-", "claimed", "4"], Asked),
            (["-", "-", "-", "-", "4"], Asked),
            (["-", "-", "-", "refused", "4"], Stopped),
            (["succeeded", "9", "0", "-", "4"], Succeeded),
            (["failed", "9", "1", "-", "4"], Failed),
            (["stopped", "9", "143", "-", "4"], Stopped),
            (["running", "5", "0", "-", "4"], Succeeded),
            (["running", "5", "3", "-", "4"], Failed),
            (["what", "x", "y", "z", "4"], Asked),
            (["queued", "5", "-", "job PENDING None", "-"], Queued),
            (["running", "5", "-", "job RUNNING None", "4"], Running),
            (["running", "5", "-", "over NODE_FAIL", "4"], Lost),
            (["stopped", "5", "143", "over CANCELLED", "4"], Stopped),
            (["queued", "5", "-", "job UNCONFIRMED", "-"], Asked),
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
    fn a_slurm_that_does_not_answer_changes_nothing() {
        let known = learn(
            &Known::asked(),
            parse_facts(&["queued", "5", "-", "job PENDING Priority", "-"]).as_ref(),
            10,
        );
        assert_eq!(known.note.as_deref(), Some("Slurm: Priority"));
        let unseen = parse_facts(&["running", "9", "-", "job UNSEEN", "8"]);
        assert_eq!(learn(&known, unseen.as_ref(), 99), known);
        // What lies in the run's folder is evidence all the same.
        let ended = parse_facts(&["succeeded", "9", "0", "job UNSEEN", "8"]);
        assert_eq!(learn(&known, ended.as_ref(), 99).state, RunState::Succeeded);
    }

    #[test]
    fn an_old_answer_does_not_undo_an_end() {
        let running = parse_facts(&["running", "5", "-", "alive", "4"]);
        let ended = parse_facts(&["succeeded", "9", "0", "-", "4"]);
        let known = learn(&Known::asked(), ended.as_ref(), 10);
        assert_eq!(
            learn(&known, running.as_ref(), 11).state,
            RunState::Succeeded
        );
        let lost = Known {
            state: RunState::Lost,
            ..Known::asked()
        };
        assert_eq!(learn(&lost, running.as_ref(), 11).state, RunState::Lost);
        assert_eq!(learn(&lost, ended.as_ref(), 11).state, RunState::Succeeded);
    }

    #[test]
    fn an_end_is_reported_once_with_its_rule() {
        let line = |text: &str| text.split('|').map(str::to_string).collect::<Vec<_>>();
        let answer = vec![
            line("run|a-1|look|stopped|9|143|-|4"),
            line("packages|77-3|numpy==2.1 torch==2.5"),
            line(
                "report|a-1|host h|gpu A100, driver 5|gpu B|wall 1.5|user nan|peak 2|memory 99999999999999999999|packages 77-3|rule loss below 0.1 (0.05)",
            ),
            line("report|never-seen|host h"),
        ];
        let sighting = sightings(&answer, None).into_values().next().unwrap();
        assert_eq!(
            sighting.packages.as_deref(),
            Some("numpy==2.1\ntorch==2.5\n")
        );
        let known = learn(&Known::asked(), sighting.facts.as_ref(), 10);
        assert_eq!(
            (known.state, known.note.as_deref()),
            (RunState::Stopped, None)
        );
        assert_eq!(known.ended_by.as_deref(), Some("loss below 0.1 (0.05)"));
        let report = known.report.unwrap();
        assert_eq!(report.gpus, ["A100, driver 5", "B"]);
        assert_eq!(
            (report.wall_seconds, report.user_seconds),
            (Some(1.5), None)
        );
        assert_eq!((report.peak_memory, report.memory), (Some(2048), None));
        let person = after(["stopped", "9", "143", "-", "4"]);
        assert_eq!(person.note.as_deref(), Some("by a person"));
    }

    #[test]
    fn hostile_lines_are_passed_over() {
        let answer = vec![
            vec!["run".into(), "../../x".into(), "started".into()],
            vec!["run".into(), "ok-1".into(), "look".into(), "absent".into()],
            vec![],
            vec!["clock".into(), "12".into()],
        ];
        let seen = sightings(&answer, Some(12));
        assert_eq!(seen.keys().map(RunId::as_str).collect::<Vec<_>>(), ["ok-1"]);
    }

    #[test]
    fn times_are_by_the_clock_here() {
        let line = |text: &str| text.split('|').map(str::to_string).collect::<Vec<_>>();
        let answer = vec![
            line("run|a-1|look|running|1000|-|alive|990"),
            line("clock|1010"),
        ];
        let times = |now| {
            let seen = sightings(&answer, now).into_values().next().unwrap();
            let known = learn(&Known::asked(), seen.facts.as_ref(), 10);
            (known.started, known.since)
        };
        assert_eq!(times(Some(1012)), (Some(990), Some(1000)));
        assert_eq!(times(Some(4610)), (Some(4590), Some(4600)));
        assert_eq!(times(None), (Some(990), Some(1000)));
    }
}
