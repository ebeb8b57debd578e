//! The scripts that run on a server, called without a connection.

use std::io::Write;
use std::process::{Command, Stdio};

use git_agile::deployment::environment::Recipe;
use git_agile::deployment::protocol::{Answer, Call, Nonce, read_answer};
use git_agile::deployment::scripts::{Deployment, RunFiles};
use git_agile::model::config::{Launcher, Manager};
use git_agile::model::names::{RemotePath, RunId};

use super::outcome::{Outcome, Running};
use super::server::Server;

/// A call that a shell of the server is running.
pub struct Script {
    nonce: Nonce,
    running: Running,
}

impl Script {
    /// Starts it as a login does: in a session's environment, with a process group of its own.
    #[track_caller]
    pub fn start(server: &Server, shell: &[&str], call: &Call) -> Self {
        let nonce = Nonce::fresh().expect("random numbers");
        let text = call.text(&nonce).expect("no NUL");
        let mut command = Command::new("/bin/sh");
        let enter = ". \"$0\"/environment; cd && exec \"$@\" -s";
        command
            .args(["-c", enter, &server.folder().to_string_lossy()])
            .args(shell)
            .env_clear();
        let mut running = Running::start(command.stdin(Stdio::piped()));
        // A shell that is killed early does not read to the end.
        let _ = running.stdin().expect("piped").write_all(&text);
        Self { nonce, running }
    }

    /// Whether its shell has ended; what that left running may go on.
    pub fn ended(&mut self) -> bool {
        self.running.ended()
    }

    /// Waits for its end. Without a complete answer there is none.
    #[track_caller]
    pub fn finish(self) -> (Option<Answer>, Outcome) {
        let outcome = self.running.finish();
        let answer = answer_of(&outcome.bytes, &self.nonce);
        (answer, outcome)
    }
}

/// For a shim: kills the script that called for it, which leads its process group, and lets all else of it go on for a
/// while: a killed subshell alone would be a script that lives and lets go of its locks.
pub const KILL_THE_SCRIPT: &str = r#"{
    read -r stat </proc/self/stat
    stat=${stat#*) * * }
    kill -9 "${stat%% *}"
    /usr/bin/sleep 0.3
}"#;

/// The answer among what a script said, if it is whole.
pub fn answer_of(mut bytes: &[u8], nonce: &Nonce) -> Option<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime
        .block_on(read_answer(&mut bytes, nonce, |_| {}))
        .ok()
}

/// Runs a call through a shell of the server and gives its answer.
#[track_caller]
pub fn through(server: &Server, shell: &[&str], call: &Call) -> (Answer, Outcome) {
    let (answer, outcome) = Script::start(server, shell, call).finish();
    let answer = answer.unwrap_or_else(|| panic!("no complete answer:\n{outcome}"));
    (answer, outcome)
}

/// Whether the answer has a line that begins with these fields.
pub fn has(answer: &Answer, fields: &[&str]) -> bool {
    answer
        .iter()
        .any(|line| line.len() >= fields.len() && line[..fields.len()] == *fields)
}

/// What is asked of a server so that one run of `commit` is launched in its folder `path`, without requirements.
pub fn one_run(path: &str, url: &str, commit: &str, id: &str, command: &str) -> Deployment {
    Deployment {
        path: RemotePath::new(path).expect("a path"),
        url: url.into(),
        commit: commit.into(),
        credential: None,
        submodules: Vec::new(),
        lfs: None,
        branch: "main".into(),
        recipe: Recipe {
            key: "0123456789abcdef".into(),
            manager: Manager::Venv,
            ..Recipe::default()
        },
        launcher: Launcher::Auto,
        sbatch: Vec::new(),
        slots: None,
        gpus: Vec::new(),
        runs: vec![RunFiles {
            id: RunId::new(id).expect("a run id"),
            json: "{}".into(),
            command: command.into(),
            variables: String::new(),
            setup: String::new(),
            limit: None,
            watch: None,
            data: Vec::new(),
        }],
    }
}
