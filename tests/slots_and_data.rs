//! Slots, GPUs, time limits and data sets of a server.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use sha2::{Digest, Sha256};

use support::{Lab, Server, wait_until};

/// State by value of the parameter `n`, as `git agile status --json` shows it.
#[track_caller]
fn states(lab: &Lab) -> Vec<(u64, String)> {
    let json = lab.agile(&["status", "--all", "--json"]).succeeds().json();
    let runs = json.as_array().expect("an array");
    let state = |run: &Value| {
        (
            run["parameters"]["n"].as_u64().unwrap(),
            run["state"].as_str().unwrap().to_string(),
        )
    };
    let mut states: Vec<_> = runs.iter().map(state).collect();
    states.sort();
    states
}

fn count(states: &[(u64, String)], word: &str) -> usize {
    states.iter().filter(|(_, state)| state == word).count()
}

/// A project on `box` whose runs write `n`, their GPUs and slot into `$HOME/order`, then wait at the gate of that run.
fn project(lab: &Lab, server_keys: &str, experiment: &str) {
    let text = format!(
        "[servers.box]\nhost = \"box\"\npath = \"~/agile/proj\"\n{server_keys}\n\
         [experiments.train]\ncommand = \"sh work.sh {{n}}\"\n{experiment}\n"
    );
    lab.project_with(&text);
    lab.write(
        "work.sh",
        "echo \"$1 ${CUDA_VISIBLE_DEVICES-none} $AGILE_SLOT\" >> \"$HOME/order\"\n\
         while [ ! -e \"$HOME/open-$1\" ]; do sleep 0.02; done\n",
    );
    lab.commit("Work in turn");
    lab.agile(&["trust", "--all"]).succeeds();
}

fn order(server: &Server) -> Vec<String> {
    let text = fs::read_to_string(server.home().join("order")).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

fn open(server: &Server, n: u64) {
    fs::write(server.home().join(format!("open-{n}")), "").unwrap();
}

#[test]
fn runs_take_turns_without_a_daemon() {
    let lab = Lab::new();
    let server = lab.server("box");
    project(
        &lab,
        "slots = 2\ngpus = [0, 1, 2, 3]\n",
        "grid = { n = [1, 2, 3, 4] }",
    );
    lab.agile(&["push", "-u", "origin", "main"])
        .succeeds()
        .complains("waits for a slot");
    let before = states(&lab);
    assert_eq!(
        (count(&before, "running"), count(&before, "queued")),
        (2, 2),
        "{before:?}"
    );
    wait_until(5, "the first two", || order(&server).len() == 2);
    // The two started at the same time.
    let mut first = order(&server);
    first.sort();
    assert_eq!(first, ["1 0,1 1", "2 2,3 2"]);

    // A second push waits behind the first one.
    lab.write("note.txt", "more");
    lab.commit("One more");
    lab.agile(&["push"]).succeeds();
    assert_eq!(count(&states(&lab), "queued"), 6);

    // Whoever ends starts the next, in the freed slot; nobody looks meanwhile.
    open(&server, 2);
    wait_until(10, "the third", || order(&server).len() == 3);
    assert_eq!(order(&server)[2], "3 2,3 2");

    // A run that waits can be stopped, and never starts.
    let waiting = lab.agile(&["status", "--all", "--json"]).json();
    let fourth = waiting
        .as_array()
        .unwrap()
        .iter()
        .find(|run| run["parameters"]["n"] == 4)
        .unwrap()
        .clone();
    lab.agile(&["stop", "--yes", fourth["id"].as_str().unwrap()])
        .succeeds();
    for n in [1, 3, 4] {
        open(&server, n);
    }
    lab.agile(&["wait", "--all", "--timeout", "60"])
        .ends_with(1)
        .complains("1 of 8 runs did not succeed");
    let after = states(&lab);
    assert_eq!(
        (count(&after, "succeeded"), count(&after, "stopped")),
        (7, 1),
        "{after:?}"
    );
    let mut ran: Vec<_> = order(&server)
        .iter()
        .map(|line| line[..1].to_string())
        .collect();
    // Both slots may have become free at the same time.
    ran[3..5].sort();
    assert_eq!(
        ran[3..5],
        ["1", "2"],
        "the second push runs in its order: {ran:?}"
    );
    assert_eq!(ran.len(), 7);
}

#[test]
fn after_a_reboot_who_comes_by_starts_what_waits() {
    let lab = Lab::new();
    let server = lab.server("box");
    project(&lab, "slots = 1\n", "grid = { n = [1, 2] }");
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    wait_until(5, "the first", || order(&server).len() == 1);
    server.reboot();
    let seen = states(&lab);
    assert_eq!(seen[0].1, "lost", "{seen:?}");
    wait_until(10, "the second", || order(&server).len() == 2);
    assert_eq!(order(&server), ["1 none 1", "2 none 1"]);
    open(&server, 2);
    lab.agile(&["wait", "--all", "--timeout", "30"])
        .ends_with(1);
    assert_eq!(states(&lab)[1].1, "succeeded");
}

#[test]
fn time_is_over_for_the_whole_tree() {
    let lab = Lab::new();
    let server = lab.server("box");
    let text = "[servers.box]\nhost = \"box\"\npath = \"~/agile/proj\"\n[experiments.train]\n\
                command = \"sh work.sh {n}\"\nset = { n = 1 }\nstop = { timeout = \"1s\" }\n";
    lab.project_with(text);
    lab.write("work.sh", "sleep 1000 & echo $! > \"$HOME/child\"; wait\n");
    lab.commit("Too long");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait", "--timeout", "30"]).ends_with(1);
    assert_eq!(states(&lab), [(1, "timed-out".to_string())]);
    let child = fs::read_to_string(server.home().join("child")).unwrap();
    // Whoever adopted it may not have buried it yet.
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

/// A web server that gives `content` to everybody and counts the requests.
fn web(content: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/data.bin", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            counter.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                content.len()
            );
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(content));
        }
    });
    (address, requests)
}

fn data_project(lab: &Lab, url: &str, sha256: &str) {
    lab.project_with(&format!(
        "[servers.box]\nhost = \"box\"\npath = \"~/agile/proj\"\n\
         [data.set]\nurl = \"{url}\"\nsha256 = \"{sha256}\"\npath = \"data/set.bin\"\n\
         [experiments.train]\ncommand = \"sh work.sh {{n}}\"\ngrid = {{ n = [1, 2] }}\ndata = [\"set\"]\n"
    ));
    lab.write(
        "work.sh",
        "cat data/set.bin > copy.bin; echo started >> \"$HOME/order\"\n",
    );
    lab.commit("Read the data");
    lab.agile(&["trust", "--all"]).succeeds();
}

#[test]
fn data_is_downloaded_once_and_checked() {
    let lab = Lab::new();
    let server = lab.server("box");
    let content = b"ten thousand digits";
    let sha256: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (url, requests) = web(content);
    data_project(&lab, &url, &sha256);
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait", "--timeout", "30"]).succeeds();
    lab.write("note.txt", "again");
    lab.commit("Again");
    lab.agile(&["push"]).succeeds();
    lab.agile(&["wait", "--timeout", "30"]).succeeds();
    assert_eq!(
        requests.load(Ordering::SeqCst),
        1,
        "one download for four runs"
    );
    assert_eq!(
        fs::read(
            server
                .home()
                .join("agile/proj/data")
                .join(&sha256)
                .join("file")
        )
        .unwrap(),
        content
    );
    // The link to the data is no result; what was made of it is.
    lab.agile(&["fetch-results"]).succeeds();
    let results = lab.run(
        "sh",
        &[
            "-c",
            "cd results && find . -type f | sed 's,^./[^/]*/,,' | sort | uniq -c",
        ],
    );
    let found: Vec<_> = results.stdout.lines().map(str::trim).collect();
    assert_eq!(found, ["4 copy.bin", "4 log"]);
}

#[test]
fn wrong_data_never_reaches_an_experiment() {
    let lab = Lab::new();
    let server = lab.server("box");
    let (url, _) = web(b"<html>Please log in</html>");
    data_project(&lab, &url, &"0".repeat(64));
    lab.agile(&["push", "-u", "origin", "main"])
        .ends_with(5)
        .complains("has the SHA-256");
    assert!(!server.home().join("order").exists());
    let left = server.sh("cd ~/agile/proj/data && find . -type f ! -name '*.log'");
    assert_eq!(left.stdout, "", "nothing that looks like data");
}
