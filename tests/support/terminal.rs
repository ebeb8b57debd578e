//! A terminal with a person at it: a real tmux.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::holds_within;
use super::lab::{Lab, write};
use super::outcome::{Outcome, run};

/// Runs a command and leaves its status in a file: tmux 3.3 now and then misses that a program ended. ^C is for the
/// command alone, and it gets it unchanged.
const WITH_STATUS: &str = r#"trap : INT QUIT; "$@"; echo $? >"$0.new"; mv "$0.new" "$0""#;

/// A command that runs on a terminal of 120 columns and 40 lines.
pub struct Terminal {
    what: String,
    status: PathBuf,
    tmux: Box<dyn Fn() -> Command + Send>,
}

impl Terminal {
    pub(super) fn start(lab: &Lab, line: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let socket = lab.root().join(format!("me/run/t{number}"));
        let config = lab.root().join("me/tmux.conf");
        write(
            &config,
            "set -g remain-on-exit on\nset -g default-terminal screen\nset -g history-limit 20000\n\
             set -g status off\nset -g escape-time 0\nset -g update-environment ''\n",
        );
        let program = lab.command("tmux");
        let variables: Vec<_> = program
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let folder = program.get_current_dir().expect("it was set").to_owned();
        let tmux = move || {
            let mut command = Command::new("tmux");
            command
                .env_clear()
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .current_dir(&folder)
                .arg("-S")
                .arg(&socket)
                .arg("-f")
                .arg(&config);
            command
        };
        let status = lab.root().join(format!("me/run/t{number}.status"));
        let terminal = Self {
            what: line.join(" "),
            status: status.clone(),
            tmux: Box::new(tmux),
        };
        let mut arguments = vec!["new-session", "-d", "-x", "120", "-y", "40"];
        let status = status.to_string_lossy();
        arguments.extend(["/bin/sh", "-c", WITH_STATUS, &status]);
        arguments.extend(line);
        terminal.ask(&arguments).succeeds();
        terminal
    }

    /// Presses keys, by tmux's names: `"Enter"`, `"C-c"`, `"C-a"`, `"Down"`, `"y"`.
    #[track_caller]
    pub fn keys(&self, keys: &[&str]) -> &Self {
        let mut arguments = vec!["send-keys", "--"];
        arguments.extend(keys);
        self.ask(&arguments).succeeds();
        self
    }

    /// Types a text as it is, and Enter.
    #[track_caller]
    pub fn enter(&self, text: &str) -> &Self {
        self.types(text).keys(&["Enter"])
    }

    /// Types a text as it is.
    #[track_caller]
    pub fn types(&self, text: &str) -> &Self {
        self.ask(&["send-keys", "-l", "--", text]).succeeds();
        self
    }

    /// What stands on the screen now, spaces behind a text among it.
    #[track_caller]
    pub fn visible(&self) -> String {
        self.ask(&["capture-pane", "-p", "-N"]).stdout
    }

    /// What stands on the screen, with what scrolled off above; long lines are joined.
    #[track_caller]
    pub fn capture(&self) -> String {
        let text = self.ask(&["capture-pane", "-p", "-J", "-S", "-"]).stdout;
        text.lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
            .trim_end()
            .to_owned()
    }

    /// Waits until the text is to be seen.
    #[track_caller]
    pub fn shows(&self, text: &str) -> &Self {
        let seen = holds_within(Duration::from_secs(120), || self.capture().contains(text));
        assert!(seen, "no {text:?} on the terminal of {self}");
        self
    }

    /// The status the command ended with, once it has.
    pub fn ended(&self) -> Option<i32> {
        let text = fs::read_to_string(&self.status).ok()?;
        Some(text.trim().parse().expect("a status"))
    }

    /// Waits for its end and says its status.
    #[track_caller]
    pub fn ends(&self) -> i32 {
        let ended = holds_within(Duration::from_secs(240), || self.ended().is_some());
        assert!(ended, "no end of {self}");
        self.ended().expect("it has just ended")
    }

    /// The window is closed: the command gets SIGHUP.
    pub fn close(self) {}

    #[track_caller]
    fn ask(&self, arguments: &[&str]) -> Outcome {
        run((self.tmux)().args(arguments))
    }
}

impl std::fmt::Display for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`:\n{}", self.what, self.capture())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = (self.tmux)().arg("kill-server").output();
    }
}
