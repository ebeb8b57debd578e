//! Slots, GPUs, time limits and data sets of a server.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use sha2::{Digest, Sha256};

use git_agile::deployment::protocol::Nonce;
use git_agile::deployment::scripts;
use git_agile::model::config::Launcher;
use git_agile::model::names::RelPath;
use git_agile::model::run::DataKey;
use support::script::{Script, answer_of, has, one_run, through};
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
        .complains("n=4; waits for a slot");
    let terminal = lab.agile_in_terminal(&["attach", "@"]);
    terminal.shows("cannot be attached: queued");
    terminal.shows("git agile status --watch");
    assert_eq!(terminal.ends(), 2, "{terminal}");
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
    lab.agile(&["wait", "--all", "--timeout", "300"])
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
    lab.agile(&["wait", "--all", "--timeout", "300"])
        .ends_with(1);
    assert_eq!(states(&lab)[1].1, "succeeded");
}

#[test]
fn stopping_all_starts_none() {
    let lab = Lab::new();
    let server = lab.server("box");
    project(&lab, "slots = 2\n", "grid = { n = [1, 2, 3, 4, 5, 6] }");
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    wait_until(5, "the first two", || order(&server).len() == 2);
    lab.agile(&["stop", "--yes", "--all"]).succeeds();
    let after = states(&lab);
    assert_eq!(count(&after, "stopped"), 6, "{after:?}");
    // What is left of the queue would be started by whoever comes by.
    lab.agile(&["deploy"]).succeeds();
    assert_eq!(order(&server).len(), 2);
}

#[test]
fn fewer_slots_than_there_were() {
    fewer_slots_than("slots = 3\n");
}

/// What has gone on without a slot counts where there are some.
#[test]
fn slots_where_there_were_none() {
    fewer_slots_than("");
}

fn fewer_slots_than(slots: &str) {
    let lab = Lab::new();
    let server = lab.server("box");
    project(&lab, slots, "grid = { n = [1, 2, 3] }");
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    wait_until(5, "all three", || order(&server).len() == 3);
    open(&server, 1);
    wait_until(10, "the end of the first", || {
        count(&states(&lab), "succeeded") == 1
    });

    let text = lab.read("agile.toml");
    let text = text
        .replace(slots, "")
        .replace("path = ", "slots = 1\npath = ")
        .replace("[1, 2, 3]", "[4]");
    lab.write("agile.toml", &text);
    lab.commit("Take turns");
    lab.agile(&["push"]).succeeds();
    for n in [2, 3] {
        assert_eq!(
            (order(&server).len(), count(&states(&lab), "queued")),
            (3, 1),
            "{n}"
        );
        open(&server, n);
        wait_until(10, "an end", || {
            count(&states(&lab), "succeeded") == n as usize
        });
    }
    wait_until(10, "the fourth", || order(&server).len() == 4);
    open(&server, 4);
    lab.agile(&["wait", "--all", "--timeout", "300"]).succeeds();
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
    lab.agile(&["wait", "--timeout", "300"]).ends_with(1);
    assert_eq!(states(&lab), [(1, "timed-out".to_string())]);
    let child = fs::read_to_string(server.home().join("child")).unwrap();
    // Whoever adopted it may not have buried it yet.
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

/// A web server that gives `content` to everybody, or the part that is asked for, and counts the requests. The first so
/// many answers, `cut`, end in the middle; without `continues`, everybody is given all of it.
fn web_that_cuts(content: Vec<u8>, cut: usize, continues: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/data.bin", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
            let from = request
                .split_once("range: bytes=")
                .and_then(|(_, rest)| rest.split('-').next()?.parse().ok());
            let from = from.filter(|_| continues);
            let from: usize = from.unwrap_or(0).min(content.len());
            let rest = &content[from..];
            let head = match from {
                0 => "HTTP/1.1 200 OK".to_string(),
                from => format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
                    content.len() - 1,
                    content.len()
                ),
            };
            let head = format!(
                "{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                rest.len()
            );
            let end = if number < cut {
                rest.len() / 2
            } else {
                rest.len()
            };
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&rest[..end]));
        }
    });
    (address, requests)
}

fn web(content: impl Into<Vec<u8>>) -> (String, Arc<AtomicUsize>) {
    web_that_cuts(content.into(), 0, true)
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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
    let sha256 = sha256(content);
    let (url, requests) = web(content);
    data_project(&lab, &url, &sha256);
    let curl = "ulimit -f >~/limit; PATH=${PATH#\"$LAB_SHIM:\"}; exec curl \"$@\"";
    server.shim("curl", &format!("#!/bin/sh\n{curl}\n"));
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    // One without end would leave some of the disk.
    let limit = fs::read_to_string(server.home().join("limit")).expect("curl was called");
    let limit: u64 = limit.trim().parse().expect("a limit in units of 512 bytes");
    let free = server.sh("df -Pk . | awk 'NR == 2 { print $4 }'");
    let free: u64 = free.stdout.trim().parse().expect("a number of KiB");
    assert!(limit / 2 < free, "{limit} {free}");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    lab.write("note.txt", "again");
    lab.commit("Again");
    lab.agile(&["push"]).succeeds();
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
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
    let (url, requests) = web(b"<html>Please log in</html>");
    data_project(&lab, &url, &"0".repeat(64));
    lab.agile(&["push", "-u", "origin", "main"])
        .ends_with(5)
        .complains("has the SHA-256");
    let asked = requests.load(Ordering::SeqCst);
    assert_eq!(asked, 1, "both runs want it");
    assert!(!server.home().join("order").exists());
    let left = server.sh("cd ~/agile/proj/data && find . -type f ! -name '*.log'");
    assert_eq!(left.stdout, "", "nothing that looks like data");
}

/// Whatever downloads: what a broken line has left is continued, not begun again.
#[test]
fn an_interrupted_download_is_continued() {
    let lab = Lab::new();
    let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    for (hidden, name, continues) in [
        (&[][..], "curl", true),
        (&["curl"], "wget", true),
        (&["curl", "wget"], "python3", true),
        // A server that cannot continue gives it once more.
        (&[], "curl-again", false),
        (&["curl", "wget"], "python-again", false),
    ] {
        let server = lab.server(name);
        server.hide(hidden);
        let (url, requests) = web_that_cuts(content.clone(), 1, continues);
        let call = |id: &str| {
            let url_of_commit = lab.origin().home().join("proj.git").display().to_string();
            let mut deployment = one_run(
                "~/agile/proj",
                &url_of_commit,
                &lab.head(),
                id,
                "cat data/set >copy",
            );
            deployment.runs[0].data.push(DataKey {
                url: url.clone(),
                sha256: Some(sha256(&content)),
                path: RelPath::new("data/set").unwrap(),
                unpack: false,
            });
            scripts::deploy(&deployment)
        };
        if !lab.project_folder().exists() {
            lab.project(&["curl"]);
            lab.git(&["push", "-q", "origin", "main"]).succeeds();
        }
        let mut tries = 0;
        while !has(
            &through(&server, &["/bin/sh"], &call("r-1")).0,
            &["run", "r-1"],
        ) {
            tries += 1;
            assert!(tries < 3, "{name}");
            let left = server
                .sh("cd agile/proj/data && cat $(ls part-* | grep -v log) | wc -c")
                .stdout;
            let half = content.len() / 2;
            assert_eq!(left.trim(), half.to_string(), "{name}");
        }
        let copy = server.home().join("agile/proj/runs/r-1/code/copy");
        wait_until(10, "the run", || {
            fs::read(&copy).is_ok_and(|copy| copy == content)
        });
        let asked = requests.load(Ordering::SeqCst);
        assert!(asked == 2 || !continues && asked == 3, "{name}: {asked}");
        let left = server.sh("ls agile/proj/data | grep part").stdout;
        assert_eq!(left, "", "{name}");
    }
}

/// In a mount namespace of its own: a server whose folder has room for all but the data, which is asked, is given room,
/// and is asked again.
const NO_ROOM: &str = r#"
. "$0/environment"
cd && mkdir -p agile && mount -t tmpfs -o size=1m tmpfs agile || exit 77
sh -s <"$0/first" >"$0/said"
find agile/proj/data -type f >"$0/left"
mount -o remount,size=16m agile || exit 77
sh -s <"$0/second" >"$0/said-later" || exit
n=0
until [ -s "$HOME/agile/proj/runs/train-1/exit" ] || [ "$n" -gt 600 ]; do
    sleep 0.05
    n=$((n + 1))
done
cat "$HOME/agile/proj/runs/train-1/log"
"#;

#[test]
fn a_disk_that_data_fills_is_said_and_mended_by_room() {
    let lab = Lab::new();
    let server = lab.server("box");
    if !lab.may_mount() {
        return;
    }
    let content = vec![b'x'; 3 << 20];
    let (url, _) = web(content.clone());
    lab.project(&["box"]);
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
    let origin = lab.origin().home().join("proj.git").display().to_string();
    let command = "wc -c <data.bin";
    let mut deployment = one_run("~/agile/proj", &origin, &lab.head(), "train-1", command);
    deployment.launcher = Launcher::Nohup; // screen gets no terminal in such a namespace
    deployment.runs[0].data.push(DataKey {
        url: url.clone(),
        sha256: Some(sha256(&content)),
        path: RelPath::new("data.bin").unwrap(),
        unpack: false,
    });
    let call = scripts::deploy(&deployment);
    let nonces = ["first", "second"].map(|name| {
        let nonce = Nonce::fresh().expect("random numbers");
        fs::write(server.folder().join(name), call.text(&nonce).unwrap()).unwrap();
        nonce
    });
    let folder = server.folder().to_string_lossy().into_owned();
    let outcome = lab.run("unshare", &["-rm", "sh", "-c", NO_ROOM, &folder]);
    if outcome.code == Some(77) {
        eprintln!("skipped: a file system cannot be made larger here by an ordinary user");
        return;
    }
    let said = |name: &str, nonce: &Nonce| {
        let bytes = fs::read(server.folder().join(name)).expect("it was said");
        answer_of(&bytes, nonce).unwrap_or_else(|| panic!("no whole answer\n{outcome}"))
    };
    let first = said("said", &nonces[0]);
    let full = format!("cannot download {url}: no space on the server's disk");
    assert!(
        has(&first, &["failed", "train-1", "data", &full])
            || has(&first, &["failed", "train-1", "disk", &full]),
        "{first:?}\n{outcome}"
    );
    assert!(!has(&first, &["run", "train-1"]), "{first:?}");
    // What cannot be completed does not take the room of others.
    let left = fs::read_to_string(server.folder().join("left")).unwrap();
    assert!(
        left.lines().all(|path| path.ends_with(".log")),
        "{left}\n{outcome}"
    );
    let later = said("said-later", &nonces[1]);
    assert!(has(&later, &["run", "train-1"]), "{later:?}\n{outcome}");
    assert_eq!(outcome.stdout.trim(), (3 << 20).to_string());
}

#[test]
fn two_deployments_at_once_share_a_download() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project(&["box"]);
    lab.git(&["push", "-q", "origin", "main"]).succeeds();
    let content = vec![b'x'; 3_000_000];
    let (url, requests) = web(content.clone());
    let calls = ["a-1", "b-1", "c-1"].map(|id| {
        let url_of_commit = lab.origin().home().join("proj.git").display().to_string();
        let mut deployment = one_run(
            "~/agile/proj",
            &url_of_commit,
            &lab.head(),
            id,
            "cat set >copy",
        );
        deployment.runs[0].data.push(DataKey {
            url: url.clone(),
            sha256: Some(sha256(&content)),
            path: RelPath::new("set").unwrap(),
            unpack: false,
        });
        (
            id,
            Script::start(&server, &["/bin/sh"], &scripts::deploy(&deployment)),
        )
    });
    for (id, script) in calls {
        let (answer, outcome) = script.finish();
        assert!(
            answer.is_some_and(|answer| has(&answer, &["run", id, "started"])),
            "{outcome}"
        );
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

/// Makes an archive by a Python program that gets its path as `sys.argv[1]`.
fn archive(lab: &Lab, program: &str) -> Vec<u8> {
    let path = lab.root().join("archive");
    let before = "import io, sys, tarfile, zipfile\npath = sys.argv[1]\n\
                  def entry(name, **more):\n  info = tarfile.TarInfo(name)\n  for key in more: setattr(info, key, more[key])\n  return info\n\
                  def file(tar, name, text, **more):\n  tar.addfile(entry(name, size=len(text), **more), io.BytesIO(text))\n";
    lab.run(
        "python3",
        &["-c", &format!("{before}{program}"), &path.to_string_lossy()],
    )
    .succeeds();
    fs::read(path).unwrap()
}

/// Unpacks an archive by the program that a server runs; the folder.
fn unpack(lab: &Lab, content: &[u8]) -> (support::Outcome, PathBuf) {
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/deployment/scripts/unpack.py"
    );
    let (path, target) = (lab.root().join("archive"), lab.root().join("unpacked"));
    lab.run(
        "sh",
        &[
            "-c",
            "chmod -R u+w \"$0\"; rm -rf \"$0\"",
            &target.to_string_lossy(),
        ],
    );
    fs::write(&path, content).unwrap();
    let outcome = lab.run(
        "python3",
        &[program, &path.to_string_lossy(), &target.to_string_lossy()],
    );
    (outcome, target)
}

/// The project with an archive that is to be unpacked; what a push says.
fn unpacks(lab: &Lab, content: &[u8], message: &str) -> support::Outcome {
    let (url, _) = web(content);
    lab.write("agile.toml", &format!(
        "[servers.box]\nhost = \"box\"\npath = \"~/agile/proj\"\n\
         [data.set]\nurl = \"{url}\"\nsha256 = \"{}\"\npath = \"data/set\"\nunpack = true\n\
         [experiments.train]\ncommand = \"sh work.sh {{n}}\"\nset = {{ n = 1 }}\ndata = [\"set\"]\n",
        sha256(content)
    ));
    lab.commit(message);
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"])
}

#[test]
fn archives_are_unpacked_and_stay_inside() {
    let lab = Lab::new();
    let server = lab.server("box");
    project(&lab, "", "set = { n = 1 }");
    lab.write(
        "work.sh",
        "cat data/set/a/one data/set/two data/set/link; test -x data/set/run && echo done\n",
    );
    let good_tar = "with tarfile.open(path, MODE) as tar:\n  file(tar, './a/one', b'1\\n')\n  file(tar, 'two', b'2\\n')\n  \
                    file(tar, 'run', b'3\\n', mode=0o4755)\n  tar.addfile(entry('link', type=tarfile.SYMTYPE, linkname='a/../a/one'))\n  \
                    tar.addfile(entry('hard', type=tarfile.LNKTYPE, linkname='two'))\n";
    let zip = "with zipfile.ZipFile(path, 'w') as z:\n  z.writestr('a/one', '1\\n')\n  z.writestr('two', '2\\n')\n  i = zipfile.ZipInfo('run')\n  i.external_attr = 0o100755 << 16\n  \
               z.writestr(i, '3\\n')\n  i = zipfile.ZipInfo('link')\n  i.external_attr = 0o120777 << 16\n  z.writestr(i, 'a/one')\n";
    let mut good: Vec<(String, String)> = ["w", "w:gz", "w:bz2", "w:xz"]
        .map(|mode| {
            (
                mode.to_string(),
                good_tar.replace("MODE", &format!("'{mode}'")),
            )
        })
        .into();
    good.push(("zip".into(), zip.into()));
    if lab.run("zstd", &["--version"]).code == Some(0) {
        let program = format!(
            "{}import subprocess\nsubprocess.run(['zstd', '-q', '--rm', path, '-o', path + '.zst'], check=True)\nimport os\nos.rename(path + '.zst', path)\n",
            good_tar.replace("MODE", "'w'")
        );
        good.push(("zst".into(), program));
    }
    for (name, program) in &good {
        let (outcome, folder) = unpack(&lab, &archive(&lab, program));
        outcome.succeeds();
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(
            (read("a/one"), read("two"), read("link")),
            ("1\n".into(), "2\n".into(), "1\n".into()),
            "{name}"
        );
        let mode = fs::metadata(folder.join("run"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o555, "{name}: nobody may change it");
    }
    let content = archive(&lab, &good[1].1);
    unpacks(&lab, &content, "An archive").succeeds();
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    let log = lab.agile(&["logs", "@"]).stdout.clone();
    assert_eq!(log, "1\n2\n1\ndone\n");
    let left = server
        .sh(&format!("ls agile/proj/data/{}", sha256(&content)))
        .stdout;
    assert_eq!(left, "file\nok\nunpacked\n");

    let hostile = [
        (
            "tar.addfile(entry('/etc/x'))",
            "/etc/x leads out of the archive",
        ),
        (
            "file(tar, 'a/../../x', b'')",
            "a/../../x leads out of the archive",
        ),
        (
            "tar.addfile(entry('l', type=tarfile.SYMTYPE, linkname='../../..'))",
            "l links out of the archive",
        ),
        (
            "tar.addfile(entry('l', type=tarfile.SYMTYPE, linkname='/etc'))",
            "l links out of the archive",
        ),
        (
            "tar.addfile(entry('a/b/r', type=tarfile.SYMTYPE, linkname='../..')); tar.addfile(entry('l', type=tarfile.SYMTYPE, linkname='a/b/r/../x'))",
            "l links out of the archive",
        ),
        (
            "tar.addfile(entry('l', type=tarfile.LNKTYPE, linkname='../../ok'))",
            "../../ok leads out of the archive",
        ),
        (
            "tar.addfile(entry('l', type=tarfile.SYMTYPE, linkname='..')); file(tar, 'l/x', b'')",
            "l is a link and something else",
        ),
        (
            "tar.addfile(entry('d', type=tarfile.SYMTYPE, linkname='../outside')); tar.addfile(entry('d/new/x', type=tarfile.SYMTYPE, linkname='/etc/passwd'))",
            "d is a link and something else",
        ),
        (
            "tar.addfile(entry('f', type=tarfile.FIFOTYPE))",
            "f is no plain file",
        ),
        (
            "tar.addfile(entry('d', type=tarfile.CHRTYPE, devmajor=1, devminor=3))",
            "d is no plain file",
        ),
        (
            "file(tar, 'e\\033]0;x', b''); tar.addfile(entry('\\033[2J', type=tarfile.FIFOTYPE))",
            "is no plain file",
        ),
        (
            "tar.addfile(entry('bomb', size=1300 << 20))",
            "a hundred times its size",
        ),
    ];
    let outside = lab.root().join("outside");
    fs::create_dir(&outside).unwrap();
    let mut last = Vec::new();
    for (program, why) in hostile {
        last = archive(
            &lab,
            &format!("with tarfile.open(path, 'w:gz') as tar:\n  {program}\n"),
        );
        let (outcome, _) = unpack(&lab, &last);
        outcome.ends_with(1).complains(why);
        assert!(!outcome.stderr.contains('\u{1b}'), "{outcome}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    for (name, program) in &good {
        let content = archive(&lab, program);
        eprintln!("cut: {name}");
        unpack(&lab, &content[..content.len() / 3]).0.ends_with(1);
    }
    unpack(&lab, b"<html>")
        .0
        .ends_with(1)
        .complains("it is no zip or tar archive");

    unpacks(&lab, &last, "A bomb")
        .ends_with(5)
        .explains("box: cannot unpack http://", "leave out `unpack`")
        .complains("a hundred times its size");
    let left = server
        .sh(&format!("ls agile/proj/data/{}", sha256(&last)))
        .stdout;
    assert_eq!(left, "file\nok\n");
}

/// Without a checksum it is the first sight that counts: it is said once, with the line to add, and what comes later must
/// be the same.
#[test]
fn data_without_a_checksum_is_taken_at_first_sight() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project_with(
        "[servers.box]\nhost = \"box\"\npath = \"~/agile/proj\"\n\
         [data.set]\nurl = \"https://data.example/set\"\npath = \"data/set\"\n\
         [experiments.train]\ncommand = \"cat data/set\"\ndata = [\"set\"]\n",
    );
    lab.agile(&["trust", "--all"]).succeeds();
    // The shim stands for the way over TLS, which a test has not; it writes what curl would.
    let says = |text: &str| {
        server.shim("curl", &format!(
            "#!/bin/sh\ncase \" $* \" in *' --proto =https --proto-redir =https '*) ;; *) exit 9 ;; esac\n\
             while [ \"$1\" != -o ]; do shift; done\nprintf '{text}' >\"$2\"\n"
        ));
    };
    says("first");
    let sum = sha256(b"first");
    let pushed = lab.agile(&["push", "-u", "origin", "main"]);
    pushed
        .succeeds()
        .complains("warning: box: data.set has no sha256")
        .complains(&format!("sha256 = \"{sum}\" in [data.set]"));
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    lab.commit_nothing("Again");
    lab.agile(&["push"]).succeeds().never_says("has no sha256");
    says("second");
    server.sh("rm -rf agile/proj/data/*/").succeeds();
    server.sh(&format!("mkdir -p agile/proj/data/seen && echo {sum} >agile/proj/data/seen/$(printf %s https://data.example/set | git hash-object --stdin)")).succeeds();
    lab.commit_nothing("Once more");
    lab.agile(&["push"]).ends_with(5).explains(
        "box: https://data.example/set has the SHA-256",
        "it has changed since this server saw it first",
    );
}
