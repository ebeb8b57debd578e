//! A git host by https: servers fetch with the person's own credential, which leaves no trace.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::{GitHost, Lab, Server, configuration, wait_until};

/// A token, and how it looks elsewhere: in an address, and in the header that `user` would send (base64).
struct Canary {
    token: String,
    encoded: String,
    header: String,
}

impl Canary {
    fn new(lab: &Lab, name: &str, user: &str) -> Self {
        let token = format!("canary-{name}-0fCZ4r%40x");
        let header = lab.run(
            "sh",
            &["-c", &format!("printf %s '{user}:{token}' | base64 -w 0")],
        );
        Canary {
            encoded: token.replace('%', "%25"),
            header: header.succeeds().stdout.trim_end_matches('=').to_string(),
            token,
        }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let forms = [&self.token, &self.encoded, &self.header];
        forms
            .iter()
            .any(|form| memchr::memmem::find(bytes, form.as_bytes()).is_some())
    }

    /// The files below `folder` that hold it.
    fn traces(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                found.extend(self.traces(&entry.path()));
            } else if kind.is_file() && self.is_in(&fs::read(entry.path()).unwrap_or_default()) {
                found.push(entry.path().display().to_string());
            }
        }
        found
    }
}

/// A project with one run on `box`, whose `origin` is the host, pushed there by hand.
fn project(lab: &Lab, url: &str) -> Arc<Server> {
    let server = lab.server("box");
    lab.project_with(&configuration(&["box"], "grid = { lr = [0.1] }"));
    lab.spy_on_environment();
    lab.git(&["remote", "set-url", "origin", &format!("{url}/proj.git")])
        .succeeds();
    lab.agile(&["trust", "--all"]).succeeds();
    server
}

/// The person's git knows this credential, in a file beside the home so that a search of the home finds no other copy.
fn know(lab: &Lab, url: &str, user: &str, encoded: &str) {
    let store = lab.root().join("store");
    let line = url.replace("https://", &format!("https://{user}:{encoded}@"));
    fs::write(&store, line + "\n").unwrap();
    lab.git(&[
        "config",
        "--global",
        "credential.helper",
        &format!("store --file {}", store.display()),
    ])
    .succeeds();
}

/// Looks at every process's arguments until it is told to stop; gives those that held the token.
struct Watch(Arc<AtomicBool>, Option<thread::JoinHandle<Vec<String>>>);

impl Watch {
    fn start(canary: &Arc<Canary>) -> Self {
        let canary = canary.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let look = move || {
            let mut found = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    let line = String::from_utf8_lossy(&line).replace('\0', " ");
                    if canary.is_in(line.as_bytes()) {
                        found.push(line);
                    }
                }
            }
            found
        };
        Watch(stop, Some(thread::spawn(look)))
    }

    fn end(mut self) -> Vec<String> {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

#[test]
fn the_persons_credential_is_lent_and_leaves_no_trace() {
    let lab = Lab::new();
    let host = GitHost::start(&lab, "host", None);
    let url = host.url("");
    let server = project(&lab, &url);
    let canary = Arc::new(Canary::new(&lab, "one", "ada"));
    host.set_password("ada", &canary.token);
    know(&lab, &url, "ada", &canary.encoded);
    // A helper of the server's own would keep what it is told, and a trace would show it.
    server
        .sh("git config --global credential.helper store")
        .succeeds();
    server.set_rc("export GIT_TRACE_CURL=$HOME/trace GIT_CURL_VERBOSE=1 GIT_TRACE_REDACT=0");

    let watch = Watch::start(&canary);
    let pushed = lab.agile(&["push", "-u", "origin", "main"]);
    pushed.succeeds().complains("1 run started");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    lab.agile(&["fetch-results"]).succeeds();
    assert_eq!(watch.end(), [""; 0]);

    let shown = lab
        .agile(&["show", "@", "--json"])
        .succeeds()
        .stdout
        .clone();
    assert!(!canary.is_in(shown.as_bytes()) && !canary.is_in(pushed.stderr.as_bytes()));
    assert_eq!(canary.traces(&server.home()), [""; 0]);
    assert_eq!(canary.traces(&lab.home()), [""; 0]);
    // The search finds what is there.
    assert_eq!(
        canary.traces(lab.root()).len(),
        2,
        "the store and the host's own file"
    );
    let environment = server.sh("cat ~/agile/proj/runs/*/code/environment").stdout;
    assert!(environment.contains("AGILE_RUN"), "{environment}");
    assert!(!environment.contains("AGILE_GIT_"), "{environment}");
}

#[test]
fn a_token_comes_from_the_environment_or_the_address() {
    let lab = Lab::new();
    let host = GitHost::start(&lab, "host", None);
    let canary = Canary::new(&lab, "two", "x-access-token");
    let server = project(&lab, &host.url(&format!("ada:{}@", canary.encoded)));
    host.set_password("ada", &canary.token);
    let pushed = lab.agile(&["push", "-u", "origin", "main"]);
    pushed.succeeds().complains("1 run started");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert_eq!(canary.traces(&server.home()), [""; 0]);

    host.set_password("x-access-token", &canary.token);
    lab.git(&[
        "remote",
        "set-url",
        "origin",
        &format!("{}/proj.git", host.url("")),
    ])
    .succeeds();
    lab.write("note.txt", "more");
    lab.commit("One more");
    let url = host.url(&format!("x-access-token:{}@", canary.encoded));
    lab.git(&["push", "--quiet", &format!("{url}/proj.git"), "main"])
        .succeeds();
    let refused = lab.agile(&["deploy"]);
    refused.ends_with(5).explains(
        "box: cannot fetch",
        "git here must know a credential for localhost",
    );
    let mut command = lab.command("git-agile");
    let deployed = support::run(command.arg("deploy").env("GIT_AGILE_TOKEN", &canary.token));
    deployed.succeeds().complains("1 run started");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert_eq!(canary.traces(&server.home()), [""; 0]);

    // One that is refused is not shown, although the host repeats it.
    host.set_password("x-access-token", "another");
    lab.write("note.txt", "still more");
    lab.commit("And another");
    let mut command = lab.command("git-agile");
    let refused = support::run(command.arg("deploy").env("GIT_AGILE_TOKEN", &canary.token));
    refused
        .ends_with(5)
        .explains("box: cannot fetch", "GIT_AGILE_TOKEN");
    assert!(!canary.is_in(refused.stderr.as_bytes()), "{refused}");
}

#[test]
fn a_credential_goes_to_its_own_host_alone() {
    let lab = Lab::new();
    let other = GitHost::start(&lab, "other", None);
    other.set_password("ada", "secret");
    let host = GitHost::start(&lab, "host", Some(&other.url("")));
    let server = project(&lab, &host.url(""));
    know(&lab, &host.url(""), "ada", "secret");
    lab.agile(&["deploy"])
        .ends_with(5)
        .explains("box: cannot fetch", "credential");
    wait_until(5, "the other host's log", || !other.users().is_empty());
    assert!(
        other.users().iter().all(|user| user == "-"),
        "{:?}",
        other.users()
    );
    assert_eq!(server.launches(), 0);
}
