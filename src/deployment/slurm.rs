//! What Slurm says of a run's job, and what that means for the run. The words are those of squeue and sacct
//! (squeue(1), JOB STATE CODES), and some of `slurm.sh`.

use super::protocol::Answer;
use crate::error::Error;
use crate::model::config::Server;
use crate::model::run::RunState;
use crate::terminal::clean;

/// What is known of the job of a run that left no exit status, or that a signal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Slurm did not answer, or was not asked: nothing is known.
    Unseen,
    /// It was sent, and nobody knows whether Slurm has it.
    Unconfirmed,
    /// It has not begun, or waits again.
    Waiting(Option<String>),
    /// It is going on.
    Running,
    /// It is over: the state that makes of a run without exit status, and why.
    Over(RunState, String),
}

impl Job {
    /// Reads `job STATE REASON` and `over STATE REASON`; nothing for other texts.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ')?;
        let (word, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let reason = Some(clean(reason)).filter(|reason| !matches!(reason.as_str(), "" | "None"));
        match (kind, word) {
            ("over", _) => Some(over(word, reason)),
            ("job", "UNSEEN" | "UNASKED") => Some(Job::Unseen),
            ("job", "UNCONFIRMED") => Some(Job::Unconfirmed),
            ("job", "RUNNING" | "COMPLETING" | "STAGE_OUT" | "SIGNALING" | "RESIZING") => {
                Some(Job::Running)
            }
            ("job", "SUSPENDED" | "STOPPED") => Some(Job::Running),
            // PENDING, CONFIGURING, and what was queued again.
            ("job", _) => Some(Job::Waiting(reason)),
            _ => None,
        }
    }
}

/// Whether `answer` is about a run of Slurm's, and the call came without what it takes to ask Slurm.
pub fn is_unasked(answer: &Answer) -> bool {
    answer.iter().flatten().any(|field| field == "job UNASKED")
}

/// What to tell the person when `server` has answered, and its Slurm has not.
pub fn unseen(server: &Server, answer: &Answer) -> Option<Error> {
    let why = answer.iter().find_map(|line| match line.as_slice() {
        [word, why, ..] if word == "unseen" => Some(clean(why)),
        _ => None,
    })?;
    let name = &server.name;
    let error = Error::step(format!("{name}: Slurm does not answer: {why}"));
    Some(error.hint(format!(
        "its jobs go on, their states are as last seen; `git agile ssh {name} sinfo` shows when it is back"
    )))
}

fn over(word: &str, reason: Option<String>) -> Job {
    use RunState::{Failed, Lost, Stopped, TimedOut};
    let (state, why) = match word {
        "CANCELLED" => (Stopped, "its Slurm job was cancelled"),
        "TIMEOUT" => (TimedOut, "Slurm's time limit was over"),
        "DEADLINE" => (TimedOut, "the deadline of its Slurm job has passed"),
        "OUT_OF_MEMORY" => (Failed, "out of memory, says Slurm"),
        "BOOT_FAIL" => (Failed, "its node did not boot"),
        "FAILED" => (Failed, "its Slurm job failed"),
        "NODE_FAIL" => (Lost, "its node failed"),
        "PREEMPTED" => (Lost, "Slurm preempted it for another job"),
        "REQUEUED" => (
            Lost,
            "Slurm requeued its job, and a run is started only once",
        ),
        "NEVER_BEGUN" => (
            Stopped,
            "its Slurm job was cancelled before it began, for Slurm no longer knows it",
        ),
        "FORGOTTEN" => (
            Lost,
            "Slurm no longer knows its job, and it left no exit status",
        ),
        _ => (Lost, "its Slurm job has ended, and it left no exit status"),
    };
    let is_told = matches!(word, "FAILED" | "BOOT_FAIL");
    match reason.filter(|_| is_told) {
        Some(reason) => Job::Over(state, format!("{why}: {reason}")),
        None => Job::Over(state, why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_ends_only_on_slurms_word() {
        use RunState::*;
        for (text, state) in [
            ("over CANCELLED None", Stopped),
            ("over TIMEOUT TimeLimit", TimedOut),
            ("over NODE_FAIL", Lost),
            ("over OUT_OF_MEMORY", Failed),
            ("over COMPLETED None", Lost),
            ("over FORGOTTEN", Lost),
            ("over NEVER_BEGUN", Stopped),
            ("over PREEMPTED", Lost),
            ("over DEADLINE", TimedOut),
            ("over WHATEVER", Lost),
        ] {
            assert!(
                matches!(Job::parse(text), Some(Job::Over(is, _)) if is == state),
                "{text}"
            );
        }
        assert_eq!(Job::parse("job UNSEEN"), Some(Job::Unseen));
        assert_eq!(
            Job::parse("job PENDING Resources"),
            Some(Job::Waiting(Some("Resources".into())))
        );
        assert_eq!(Job::parse("job RUNNING None"), Some(Job::Running));
        assert_eq!(
            Job::parse("over FAILED no such \u{1b}file"),
            Some(Job::Over(
                Failed,
                format!("its Slurm job failed: {}", clean("no such \u{1b}file"))
            ))
        );
        for text in ["alive", "-", "", "jobs PENDING"] {
            assert_eq!(Job::parse(text), None, "{text}");
        }
    }
}
