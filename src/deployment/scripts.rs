//! The texts that run on a server, embedded when the program is built, and the calls that may be made of them.

use crate::model::names::{RemotePath, RunId};
use crate::model::run::DataKey;

use super::protocol::Call;

const LIB: &str = include_str!("scripts/lib.sh");
const DEPLOY: &str = include_str!("scripts/deploy.sh");
const RUNNER: &str = include_str!("scripts/runner.sh");
const STATUS: &str = include_str!("scripts/status.sh");
const STOP: &str = include_str!("scripts/stop.sh");
const LOGS: &str = include_str!("scripts/logs.sh");
const LAUNCH: &str = include_str!("scripts/launch.sh");
const QUEUE: &str = include_str!("scripts/queue.sh");
const DATA: &str = include_str!("scripts/data.sh");
const PYTHON: &str = include_str!("scripts/python.sh");

/// The runner as it lies in a run's folder.
fn runner() -> String {
    let parts = [LIB, STATUS, STOP, LAUNCH, QUEUE, RUNNER].map(compact);
    format!("{}agile_runner \"$0\" \"$@\"\n", parts.concat())
}

/// A script without its comments and indentation, which are half of it: what is sent should fit into the first packets of
/// a connection. No string of the scripts has a line that begins with `#` or a tab.
pub(super) fn compact(script: &str) -> String {
    let lines = script.lines().map(|line| line.trim_start_matches('\t'));
    let kept = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// One run as the deployment script takes it.
#[derive(Clone, Debug)]
pub struct RunFiles {
    /// The run's id.
    pub id: RunId,
    /// `run.json`.
    pub json: String,
    /// The command, shell text.
    pub command: String,
    /// Lines that export the run's variables, shell text.
    pub variables: String,
    /// The server's `setup`, shell text.
    pub setup: String,
    /// The longest it may take, in seconds.
    pub limit: Option<u64>,
    /// The data it needs.
    pub data: Vec<DataKey>,
}

/// What a deployment asks of a server.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The project's folder.
    pub path: RemotePath,
    /// Where the commit is fetched from.
    pub url: String,
    /// The commit, 40 or 64 hexadecimal digits.
    pub commit: String,
    /// The branch it was pushed to, for messages; may be empty.
    pub branch: String,
    /// The digest of the environment's description.
    pub environment: String,
    /// What builds the environment.
    pub manager: &'static str,
    /// The Python version asked for; may be empty.
    pub python: String,
    /// The launcher's word.
    pub launcher: &'static str,
    /// How many runs at once; without a number all of them.
    pub slots: Option<u16>,
    /// GPUs dealt out to the slots.
    pub gpus: Vec<u16>,
    /// Requirement files of the commit, the first being installed.
    pub requirements: Vec<String>,
    /// The runs.
    pub runs: Vec<RunFiles>,
}

/// The call that fetches the commit, builds the environment and launches the runs.
pub fn deploy(deployment: &Deployment) -> Call {
    let mut call = Call::new(&[LIB, STATUS, LAUNCH, QUEUE, DATA, DEPLOY], "agile_deploy")
        .arg(deployment.path.as_str())
        .arg(&deployment.url)
        .arg(&deployment.commit)
        .arg(&deployment.branch)
        .arg(&deployment.environment)
        .arg(deployment.manager)
        .arg(&deployment.python)
        .arg(deployment.launcher)
        .arg(settings(deployment))
        .arg(runner())
        .arg(deployment.requirements.len().to_string());
    for file in &deployment.requirements {
        call = call.arg(file);
    }
    call = call.arg(deployment.runs.len().to_string());
    for run in &deployment.runs {
        call = call
            .arg(run.id.as_str())
            .arg(&run.json)
            .arg(&run.command)
            .arg(&run.variables)
            .arg(&run.setup)
            .arg(run.limit.map_or(String::new(), |limit| limit.to_string()))
            .arg(data(&run.data));
    }
    call
}

/// The lines of `queue/settings`: each slot gets its share of the GPUs, or they share one.
fn settings(deployment: &Deployment) -> String {
    let Deployment { gpus, launcher, .. } = deployment;
    let count = |gpus: &[u16]| u16::try_from(gpus.len()).ok().filter(|&count| count > 0);
    let Some(slots) = deployment.slots.or_else(|| count(gpus)) else {
        return String::new();
    };
    let mut lines = format!("launcher {launcher}\nslots {slots}\n");
    for slot in 0..usize::from(slots).min(if gpus.is_empty() { 0 } else { usize::MAX }) {
        let share: Vec<String> = match gpus.len() / usize::from(slots) {
            0 => vec![gpus[slot % gpus.len()].to_string()],
            each => gpus[slot * each..(slot + 1) * each]
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        lines.push_str(&format!("gpus {} {}\n", slot + 1, share.join(",")));
    }
    lines
}

/// A line for each data set: sum, path, address.
fn data(data: &[DataKey]) -> String {
    let line = |set: &DataKey| {
        format!(
            "{}\t{}\t{}\n",
            set.sha256.as_deref().unwrap_or("-"),
            set.path,
            set.url
        )
    };
    data.iter().map(line).collect()
}

/// The call that looks at runs.
pub fn status<'a>(path: &RemotePath, runs: impl IntoIterator<Item = &'a RunId>) -> Call {
    let call = Call::new(&[LIB, STATUS, LAUNCH, QUEUE], "agile_status").arg(path.as_str());
    runs.into_iter()
        .fold(call, |call, run| call.arg(run.as_str()))
}

/// The call that ends runs, `grace` seconds after the first signal by force.
pub fn stop<'a>(path: &RemotePath, grace: u32, runs: impl IntoIterator<Item = &'a RunId>) -> Call {
    let call = Call::new(&[LIB, STATUS, QUEUE, STOP], "agile_stop")
        .arg(path.as_str())
        .arg(grace.to_string());
    runs.into_iter()
        .fold(call, |call, run| call.arg(run.as_str()))
}

/// The call that gives the last `lines` lines of a run's log (all of them without a number), and more as it comes
/// with `follow`. Its answer is raw.
pub fn logs(path: &RemotePath, run: &RunId, lines: Option<u32>, follow: bool) -> Call {
    let lines = lines.map_or("all".to_string(), |lines| lines.to_string());
    Call::new(&[LIB, STATUS, LOGS], "agile_logs")
        .arg(path.as_str())
        .arg(run.as_str())
        .arg(lines)
        .arg(if follow { "follow" } else { "once" })
}

/// The call that becomes the Python `program` with the folder of the runs as its current folder. Its answer is raw.
pub fn python<A: AsRef<[u8]>>(
    path: &RemotePath,
    program: &str,
    args: impl IntoIterator<Item = A>,
) -> Call {
    let call = Call::new(&[LIB, PYTHON], "agile_python")
        .arg(path.as_str())
        .arg(program);
    args.into_iter().fold(call, |call, arg| call.arg(arg))
}

/// The command for `ssh -t` that brings a run's session to the terminal. Its text holds no single quote, `!` or line
/// break, so that every login shell passes it on unchanged.
pub fn attach(path: &RemotePath, run: &RunId) -> String {
    const TEXT: &str = concat!(
        "case $1 in \"~/\"*) b=$HOME/${1#??} ;; /*) b=$1 ;; *) b=$HOME/$1 ;; esac; r=$b/runs/$2; ",
        "if [ -s \"$r/exit\" ]; then echo \"run $2 has ended; git agile logs $2 shows its output\"; exit 6; fi; ",
        "l=$(sed -n \"s/^launcher //p\" \"$r/process\"); s=$(sed -n \"s/^session //p\" \"$r/process\"); ",
        "case $l in screen) exec screen -d -r \"$s\" ;; ",
        "tmux) exec tmux -L \"agile-$2\" attach-session -d -t \"=$2\" ;; ",
        "nohup) echo \"no screen or tmux there: following the log, ^C ends that\"; exec tail -n 100 -f \"$r/log\" ;; ",
        "*) echo \"run $2 has no session\"; exit 6 ;; esac"
    );
    format!("exec /bin/sh -c '{TEXT}' attach '{path}' '{run}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_functions_only() {
        // A statement outside a function would run when the script is cut after it.
        for text in [
            LIB, DEPLOY, RUNNER, STATUS, STOP, LOGS, LAUNCH, QUEUE, DATA, PYTHON,
        ] {
            let mut inside = false;
            for line in text.lines() {
                let opens = line.ends_with("() {") || line.ends_with("() (");
                let one_line = line.contains("() {") && line.ends_with('}');
                if line.starts_with(['\t', '#']) || line.is_empty() || one_line {
                    continue;
                }
                match line {
                    _ if opens => inside = true,
                    "}" | ")" => inside = false,
                    // Continuation lines of strings and of awk programs lie inside functions.
                    _ => assert!(inside, "outside a function: {line}"),
                }
            }
        }
    }

    #[test]
    fn the_attach_command_passes_every_login_shell() {
        let command = attach(
            &RemotePath::new("~/a b").unwrap(),
            &RunId::new("r-1").unwrap(),
        );
        assert_eq!(command.matches('\'').count(), 6);
        assert!(!command.contains(['!', '\n', '\\']));
    }
}
