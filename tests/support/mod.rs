//! A laboratory for the integration tests: real git, a real sshd per server, real screen and tmux, and a home of its
//! own for everybody. Nothing is faked except distance.
//!
//! ```ignore
//! let lab = Lab::new();
//! let server = lab.server("box"); // an sshd on a loopback port, with a home of its own
//! lab.project(&["box"]); //          a repository whose `origin` is reached by ssh
//! lab.agile(&["push"]).succeeds();
//! wait_until(10, "the launch", || server.launches() == 1);
//! ```
//!
//! Everything stands in one short folder under `/tmp` and ends with the [`Lab`]: sshd, sessions, screens, detached
//! runs. `GIT_AGILE_KEEP_LAB=1` keeps the files and prints where they are. It needs Linux (`/proc`) and what
//! `script/bootstrap` installs, and runs as root and as an ordinary user alike.
#![allow(dead_code, unused_imports)] // every test binary uses a part of it

mod git_host;
mod lab;
mod outcome;
mod project;
pub mod script;
mod server;
mod slurm;
mod terminal;

pub use git_host::GitHost;
pub use lab::{Lab, write_program};
pub use outcome::{Outcome, Running, run};
pub use project::configuration;
pub use server::{Direction, Server, sshd_gives_terminals};
pub use slurm::Slurm;
pub use terminal::Terminal;

use std::time::{Duration, Instant};

/// How much longer than on an idle machine a test waits for what must come.
const BUSY: u64 = 6;

/// Polls until `condition` holds; fails the test when it does not even `seconds` times [`BUSY`] later, naming what it
/// waited for.
#[track_caller]
pub fn wait_until(seconds: u64, what: &str, condition: impl FnMut() -> bool) {
    let seconds = BUSY * seconds;
    assert!(
        holds_within(Duration::from_secs(seconds), condition),
        "waited {seconds} s in vain for {what}"
    );
}

/// Polls until `condition` holds or the time is over; says which.
pub fn holds_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() >= time {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}
