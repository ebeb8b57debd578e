//! What goes wrong on the way, and that the same command again mends it: one run, launched once, nothing lost.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use git_agile::deployment::protocol::Nonce;
use git_agile::deployment::scripts;
use git_agile::model::config::Launcher;
use rustix::process::Signal;
use serde_json::Value;

use support::script::{KILL_THE_SCRIPT, Script, answer_of, has, one_run, through};
use support::{Direction, Lab, Outcome, Running, Server, configuration, holds_within, wait_until};

/// An experiment that leaves a line for each launch, and ends at once.
const NOTE: &str = "echo {lr} >>~/launches";

/// A laboratory with one server that has fetched the commit and built its environment.
#[track_caller]
fn ready(command: &str) -> (Lab, std::sync::Arc<Server>) {
    let lab = Lab::new();
    let server = lab.server("box");
    let text = configuration(&["box"], "grid = { lr = [0] }");
    lab.project_with(&text.replace("python train.py --lr {lr}", command));
    lab.git(&["push", "--quiet", "-u", "origin", "main"])
        .succeeds();
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["deploy"]).succeeds();
    (lab, server)
}

/// `git agile deploy` of one more setting.
fn deploy(lab: &Lab, lr: usize) -> Outcome {
    lab.agile(&["deploy", "--set", &format!("lr={lr}")])
}

#[track_caller]
fn runs(lab: &Lab) -> Vec<Value> {
    let Value::Array(runs) = lab.agile(&["status", "--all", "--json"]).succeeds().json() else {
        panic!("status --json prints an array");
    };
    runs
}

/// The launches of each setting.
fn launches(server: &Server) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(server.home().join("launches"))
        .unwrap_or_default()
        .lines()
    {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

/// Whether this is the mark of a lock whose holder lives; a dead one's is taken over by whoever comes next.
fn is_held(name: &str) -> bool {
    let fields: Vec<_> = name.split(',').collect();
    fields[0] == "held" && Path::new("/proc").join(fields[3]).exists()
}

/// What no finished deployment leaves behind: locks that are held, files half written.
fn litter(base: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![base.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_litter = is_held(&name)
                || name.starts_with("tmp_")
                || name.starts_with("probe")
                || name.contains(".tmp")
                || name.contains(".new")
                || name.ends_with(".lock")
                || (folder.ends_with("locks") && name.ends_with(".log"))
                || (folder == base
                    && !["repo.git", "runs", "envs", "data", "queue", "locks"].contains(&&*name));
            if is_litter {
                found.push(path.clone());
            }
            let is_ours = !name.starts_with("code") && !path.join("pyvenv.cfg").exists();
            if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    found
}

/// After all: every setting was launched once, every run is known and has succeeded, and nothing lies about.
#[track_caller]
fn all_is_well(lab: &Lab, server: &Server, settings: usize) {
    lab.agile(&["wait", "--all"]).succeeds();
    let counts = launches(server);
    assert_eq!(counts.len(), settings, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!(runs(lab).len(), settings);
    wait_until(10, "the scripts' end", || {
        litter(&server.home().join("agile/proj")).is_empty()
    });
    let locks = lab.run("find", &[".git", "-name", "*.lock"]);
    assert_eq!(locks.stdout, "");
}

// ---- the line ------------------------------------------------------------------------------------------------------

/// So many places of a stream of `length` bytes, its first and last byte among them.
fn places(length: u64, count: u64) -> Vec<u64> {
    let mut places: Vec<u64> = (0..count)
        .map(|i| 1 + i * (length - 1) / (count - 1))
        .collect();
    places.dedup();
    places
}

/// Cuts a deployment after each of many bytes; the same command then does what is left to do.
fn a_cut_line_is_mended_by_the_same_command(direction: Direction) {
    let (lab, server) = ready(NOTE);
    lab.kill_masters();
    server.meter();
    deploy(&lab, 1).succeeds();
    let (up, down) = server.bytes();
    let length = if direction == Direction::Up { up } else { down };
    let mut unanswered = 0;
    let places = places(length, 36);
    for (number, at) in places.iter().enumerate() {
        lab.kill_masters();
        server.cut(direction, *at);
        let first = deploy(&lab, 2 + number);
        server.uncut();
        match first.code {
            // The closing frame had come already.
            Some(0) => assert!(*at > length * 9 / 10, "{first}"),
            _ => {
                first.ends_with(4).explains("box: ", "");
                unanswered += 1;
            }
        }
        deploy(&lab, 2 + number).succeeds().complains("box: ");
    }
    assert!(unanswered >= places.len() - 2, "only {unanswered} were cut");
    all_is_well(&lab, &server, 2 + places.len());
}

#[test]
fn a_line_cut_on_the_way_up() {
    a_cut_line_is_mended_by_the_same_command(Direction::Up);
}

#[test]
fn a_line_cut_on_the_way_down() {
    a_cut_line_is_mended_by_the_same_command(Direction::Down);
}

// ---- the script ----------------------------------------------------------------------------------------------------

/// What the scripts call.
const TOOLS: &[&str] = &[
    "awk", "basename", "cat", "cksum", "cut", "date", "dirname", "git", "grep", "mkdir", "mv",
    "python3", "rm", "screen", "sed", "sleep", "tail", "tr", "uname", "wc",
];

/// Puts a shim before every tool. `around` is shell text that runs the tool as `tool "$@"`, with `$n` its number among
/// those that the script called. The runner, in screen, calls its tools undisturbed.
fn around_each_tool(server: &Server, around: &str) {
    let here = server.folder().display();
    for name in TOOLS {
        let shim = format!(
            r#"#!/bin/sh
tool() {{ PATH=${{PATH#"$LAB_SHIM:"}} command {name} "$@"; }}
if [ -n "${{STY-}}" ] || [ ! -e {here}/count ]; then tool "$@"; exit; fi
set -C
n=1
until {{ true >{here}/count/$n; }} 2>/dev/null; do
    [ -e {here}/count ] || {{ tool "$@"; exit; }}
    n=$((n + 1))
done
set +C
{around}
"#
        );
        server.shim(name, &shim);
    }
}

/// Counts from 1 again; until [`count_no_more`], the shims only pass on.
fn count(server: &Server) {
    fs::create_dir(server.folder().join("count")).expect("nobody counts");
}

fn count_no_more(server: &Server) -> usize {
    let (from, to) = (
        server.folder().join("count"),
        server.folder().join("counted"),
    );
    fs::rename(from, &to).expect("it was counted");
    let count = fs::read_dir(&to).expect("it is a folder").count();
    fs::remove_dir_all(&to).expect("it can be removed");
    count
}

/// Kills the script at its first tool, at its second, and so on until it comes to its end; the same script again then
/// launches the run that has not been launched.
fn a_killed_script_is_mended_by_the_same(around: &str) {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project(&["box"]);
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
    let url = lab.origin().home().join("proj.git").display().to_string();
    around_each_tool(&server, around);
    let mut number = 0;
    loop {
        number += 1;
        let name = format!("train-{number}");
        let folder = format!("agile/p{number}");
        let command = format!("echo {number} >>~/launches");
        let call = scripts::deploy(&one_run(
            &format!("~/{folder}"),
            &url,
            &lab.head(),
            &name,
            &command,
        ));
        fs::write(server.folder().join("at"), number.to_string()).expect("say when");
        count(&server);
        let mut first = Script::start(&server, &["sh"], &call);
        wait_until(60, "the first script's end", || first.ended());
        let tools = count_no_more(&server);
        // At once, while the tool may still be at work.
        let (answer, outcome) = through(&server, &["sh"], &call);
        let is_hit = tools >= number;
        let (whole, cut) = first.finish();
        assert!(is_hit || whole.is_some(), "{cut}");
        assert!(
            has(&answer, &["run", &name, "started"]) || has(&answer, &["run", &name, "exists"]),
            "killed at tool {number}: {answer:?}\n{outcome}"
        );
        let base = server.home().join(&folder);
        let run = base.join("runs").join(&name);
        // What a killed script left running has not taken it away again.
        let whole = "git -C \"$1/code\" diff --exit-code HEAD && \"$(sed -n \"s/^VIRTUAL_ENV='\\(.*\\)'$/\\1/p\" \"$1/environment\")/bin/python\" -c ''";
        lab.run("sh", &["-c", whole, "sh", &run.to_string_lossy()])
            .succeeds();
        let exit = run.join("exit");
        wait_until(10, "the run's end", || exit.exists());
        assert!(number < 200, "no end");
        // A `mkdir` or `mv` that outlives its script leaves the beginning of a lock, which the next one to lock removes.
        let left = || {
            let mut left = litter(&base);
            left.retain(|path| {
                !path.to_string_lossy().contains(".new.") || fs::remove_dir_all(path).is_err()
            });
            left
        };
        holds_within(Duration::from_secs(120), || left().is_empty());
        assert_eq!(left(), [] as [PathBuf; 0], "killed at tool {number}");
        if !is_hit {
            break;
        }
    }
    assert!(number > 20, "only {number} tools were seen");
    let counts = launches(&server);
    assert_eq!(counts.len(), number, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn a_script_killed_before_each_of_its_tools() {
    a_killed_script_is_mended_by_the_same(
        r#"read -r at <"${LAB_SHIM%/shim}/at"; if [ "$n" -eq "$at" ]; then kill -9 0; fi; tool "$@""#,
    );
}

#[test]
fn a_script_killed_while_each_of_its_tools_goes_on() {
    a_killed_script_is_mended_by_the_same(&format!(
        r#"read -r at <"${{LAB_SHIM%/shim}}/at"; if [ "$n" -eq "$at" ]; then {KILL_THE_SCRIPT}; fi; tool "$@""#
    ));
}

/// What dies beside a script that goes on.
#[derive(Clone, Copy)]
enum Victim {
    /// The ssh process that holds the connection here.
    Master,
    /// The server's end of it.
    Connection,
    /// The command.
    Client,
}

/// At the first tool of a deployment that has the commit to fetch, at the second, and so on, the victim dies; the same
/// command again then does what is left to do.
fn killed_at_each_tool_of_the_script(victim: Victim) {
    let (lab, server) = ready(NOTE);
    around_each_tool(
        &server,
        r#"here=${LAB_SHIM%/shim}
read -r at <"$here/at"
if [ "$n" -eq "$at" ]; then
    : >"$here/reached.$at"
    until [ -e "$here/go.$at" ]; do /usr/bin/sleep 0.01; done
fi
tool "$@""#,
    );
    let place = |name: String| server.folder().join(name);
    let mut number = 0;
    loop {
        number += 1;
        assert!(number < 200, "no end");
        server.sh("rm -rf agile/proj/repo.git").succeeds();
        fs::write(place("at".into()), number.to_string()).expect("say when");
        count(&server);
        let mut first = lab.start_agile(&["deploy", "--set", &format!("lr={number}")]);
        wait_until(20, "the tool", || {
            place(format!("reached.{number}")).exists() || first.ended()
        });
        let is_hit = !first.ended();
        let killed = match victim {
            _ if !is_hit => 1,
            Victim::Master => lab.kill_masters(),
            Victim::Connection => server.kill_connections(),
            Victim::Client => {
                first.signal(Signal::KILL);
                1
            }
        };
        assert!(killed >= 1, "nothing to kill at tool {number}");
        fs::write(place(format!("go.{number}")), "").expect("let it go on");
        let first = first.finish();
        let ends: &[_] = match victim {
            _ if !is_hit => &[Some(0)],
            // A line that was open before is replaced, and the script called again.
            Victim::Master | Victim::Connection => &[Some(0), Some(4)],
            Victim::Client => &[None],
        };
        assert!(ends.contains(&first.code), "{first}");
        count_no_more(&server);
        deploy(&lab, number).succeeds().complains("box: ");
        if !is_hit {
            break;
        }
    }
    assert!(number > 20, "only {number} tools were seen");
    all_is_well(&lab, &server, 1 + number);
    assert!(lab.masters().len() <= 1, "{:?}", lab.masters());
}

#[test]
fn a_line_killed_here_at_each_tool_of_the_script() {
    killed_at_each_tool_of_the_script(Victim::Master);
}

#[test]
fn a_line_killed_there_at_each_tool_of_the_script() {
    killed_at_each_tool_of_the_script(Victim::Connection);
}

#[test]
fn a_client_killed_at_each_tool_of_the_script() {
    killed_at_each_tool_of_the_script(Victim::Client);
}

#[test]
fn a_client_killed_at_any_time() {
    const KILLS: usize = 20;
    let (lab, server) = ready(NOTE);
    // How long a command takes depends on what else this machine does: the first that ends before its moment was quick.
    let mut whole = deploy(&lab, 1).succeeds().took;
    let (mut kills, mut number) = (0, 1);
    while kills < KILLS {
        number += 1;
        assert!(number < 10 * KILLS, "only {kills} were killed");
        let begun = Instant::now();
        let mut first = lab.start_agile(&["deploy", "--set", &format!("lr={number}")]);
        let time = whole.mul_f64(kills as f64 / KILLS as f64);
        holds_within(time.saturating_sub(begun.elapsed()), || first.ended());
        first.signal(Signal::KILL);
        let first = first.finish();
        if first.signal.is_some() {
            kills += 1;
        } else {
            whole = whole.mul_f64(0.8);
        }
        deploy(&lab, number).succeeds().complains("box: ");
    }
    all_is_well(&lab, &server, 1 + number);
}

#[test]
fn another_attempt_is_asked_for_once() {
    let (lab, server) = ready(NOTE);
    lab.kill_masters();
    server.cut(Direction::Down, 3000);
    lab.agile(&["deploy", "--again"]).ends_with(4);
    server.uncut();
    lab.agile(&["deploy", "--again"])
        .succeeds()
        .complains("-a2");
    lab.agile(&["wait"]).succeeds();
    assert_eq!(launches(&server)["0"], 2);
    lab.agile(&["deploy", "--again"])
        .succeeds()
        .complains("-a3");
    lab.agile(&["wait"]).succeeds();
    assert_eq!(launches(&server)["0"], 3);
}

// ---- several at once -----------------------------------------------------------------------------------------------

#[test]
fn many_deployments_at_once_are_one() {
    let (lab, server) = ready(NOTE);
    // Somebody else on the same account, with a clone and an ssh connection of their own.
    let home = lab.root().join("me2");
    let other = |arguments: &[&str]| {
        let mut command = lab.command("git");
        for (name, folder) in [
            ("HOME", "home"),
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_CONFIG_HOME", "home/.config"),
            ("XDG_CACHE_HOME", "home/.cache"),
            ("XDG_DATA_HOME", "home/.local/share"),
            ("XDG_STATE_HOME", "home/.local/state"),
        ] {
            command.env(name, home.join(folder));
        }
        command.args(arguments).stdin(std::process::Stdio::null());
        let clone = home.join("home/proj");
        command.current_dir(if clone.exists() {
            clone
        } else {
            home.join("home")
        });
        Running::start(&mut command)
    };
    for folder in ["home", "run"] {
        let folder = home.join(folder);
        lab.run("install", &["-d", "-m", "700", &folder.to_string_lossy()])
            .succeeds();
    }
    fs::copy(lab.home().join(".gitconfig"), home.join("home/.gitconfig")).expect("copy it");
    other(&["clone", "--quiet", "origin:proj.git"])
        .finish()
        .succeeds();
    other(&["agile", "trust", "--all"]).finish().succeeds();

    for lr in ["1", "2", "3"] {
        let line = ["deploy", "--set", &format!("lr={lr}")];
        let mut all: Vec<_> = (0..3).map(|_| lab.start_agile(&line)).collect();
        all.extend((0..3).map(|_| other(&["agile", line[0], line[1], line[2]])));
        for one in all {
            one.finish().succeeds().complains("box: ");
        }
    }
    // Two pushes of the same commit.
    lab.write("notes.txt", "four\n");
    lab.write(
        "agile.toml",
        &lab.read("agile.toml").replace("lr = [0]", "lr = [4]"),
    );
    lab.commit("Four");
    let pushes = [lab.start_agile(&["push"]), lab.start_agile(&["push"])];
    let codes = pushes.map(|push| push.finish().code);
    assert!(codes.contains(&Some(0)), "{codes:?}");
    all_is_well(&lab, &server, 5);
    other(&["agile", "wait", "--all"]).finish().succeeds();
}

// ---- ends without a word -------------------------------------------------------------------------------------------

/// A run of the example that waits at the gate.
#[track_caller]
fn waiting(lab: &Lab, server: &Server, arguments: &[&str]) -> String {
    let before = server.launches();
    let mut line = vec!["deploy"];
    line.extend(arguments);
    lab.agile(&line).succeeds();
    wait_until(20, "the launch", || server.launches() == before + 1);
    let newest = lab.agile(&["show", "--json", "@"]).succeeds().json();
    assert_eq!(newest["state"], "running");
    newest["id"].as_str().expect("an id").to_owned()
}

/// `git agile show`: the state, and why.
#[track_caller]
fn shown(lab: &Lab, run: &str) -> (String, String) {
    let run = lab.agile(&["show", "--json", run]).succeeds().json();
    let text = |key: &str| run[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("note"))
}

/// The process of a run: `runner` or `program`.
fn process(server: &Server, run: &str, who: &str) -> i32 {
    let file = if who == "runner" {
        "process"
    } else {
        "program"
    };
    let path = server.home().join("agile/proj/runs").join(run).join(file);
    let text = fs::read_to_string(path).expect("the run has begun");
    let line = text
        .lines()
        .find(|line| line.starts_with(who))
        .expect("it is named");
    line.split(' ')
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}

#[test]
fn a_run_ends_only_on_evidence() {
    let lab = Lab::new();
    let server = lab.server("box");
    // In screen a program does not outlive its runner: the terminal hangs up.
    let text = configuration(&["box"], "grid = { lr = [0.1] }");
    lab.project_with(&text.replace("[servers.box]\n", "[servers.box]\nlauncher = \"nohup\"\n"));
    lab.git(&["push", "--quiet", "-u", "origin", "main"])
        .succeeds();
    lab.agile(&["trust", "--all"]).succeeds();
    server.close_gate();
    let first = waiting(&lab, &server, &[]);

    // A server that is not seen changes nothing.
    server.stop();
    server.kill_connections();
    lab.agile(&["status"])
        .ends_with(4)
        .says("running")
        .complains("box: cannot connect");
    let waits = lab.start_agile(&["wait", &first]);
    server.start();
    assert_eq!(shown(&lab, &first).0, "running");

    // The power fails.
    server.reboot();
    assert_eq!(waits.finish().code, Some(1));
    let (state, note) = shown(&lab, &first);
    assert_eq!((&*state, &*note), ("lost", "the server has rebooted"));
    lab.agile(&["deploy"])
        .succeeds()
        .complains("already finished");
    assert_eq!(server.launches(), 1);
    let second = waiting(&lab, &server, &["--again"]);
    assert_eq!(second, format!("{first}-a2"));

    // The runner dies: its program goes on, and nobody will say how it ends.
    let kill = |who| {
        let pid = process(&server, &second, who).to_string();
        server.sh(&format!("kill -9 {pid}")).succeeds();
    };
    kill("runner");
    assert_eq!(shown(&lab, &second).0, "running");
    kill("program");
    wait_until(10, "the end to be seen", || {
        shown(&lab, &second).0 != "running"
    });
    let (state, note) = shown(&lab, &second);
    assert!(
        state == "lost" && note.contains("left no exit status"),
        "{state} {note}"
    );

    // The program dies: the runner says how.
    let third = waiting(&lab, &server, &["--again"]);
    let pid = process(&server, &third, "program");
    server.sh(&format!("kill -9 {pid}")).succeeds();
    lab.agile(&["wait", &third]).ends_with(1);
    let (state, note) = shown(&lab, &third);
    assert!(
        state == "failed" && note.contains("signal 9"),
        "{state} {note}"
    );

    // The runner dies between its claim and its first word.
    server.shim(
        "mv",
        "#!/bin/sh\ncase \"$*\" in */process) kill -9 $PPID ;; esac\nPATH=${PATH#\"$LAB_SHIM:\"} command mv \"$@\"\n",
    );
    let deploying = lab.start_agile(&["deploy", "--again"]);
    let fourth = format!("{first}-a4");
    let folder = server.home().join("agile/proj/runs").join(&fourth);
    wait_until(20, "the claim", || folder.join("started").exists());
    wait_until(10, "the end to be seen", || {
        shown(&lab, &fourth).0 == "lost"
    });
    deploying.signal(Signal::KILL);
    deploying.finish();
    server.remove_shim("mv");
    assert_eq!(server.launches(), 3);
}

// ---- stop ----------------------------------------------------------------------------------------------------------

/// Takes no notice of TERM, and has descendants that are hard to find.
const STUBBORN: &str = r#"
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
notes = pathlib.Path.home()
def note():
    with open(notes / f"pids-{os.environ['AGILE_RUN']}", "a") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        time.sleep(0.05)
for kind in ("child", "daemon"):
    if os.fork() == 0:
        if kind == "daemon":
            os.setsid()
            if os.fork():
                os._exit(0)
        note()
subprocess.Popen(["env", "-i", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
with open(notes / "launches", "a") as file:
    file.write("launched\n")
note()
"#;

#[test]
fn stop_ends_the_whole_tree_and_no_other() {
    let lab = Lab::new();
    let server = lab.server("box");
    let text = configuration(&["box"], "grid = { lr = [0.1] }");
    lab.project_with(&text.replace("python train.py --lr {lr}", "python stubborn.py {lr}"));
    lab.write("stubborn.py", STUBBORN);
    lab.commit("Be stubborn");
    lab.git(&["push", "--quiet", "-u", "origin", "main"])
        .succeeds();
    lab.agile(&["trust", "--all"]).succeeds();
    let first = waiting(&lab, &server, &[]);
    let second = waiting(&lab, &server, &["--again"]);
    assert_eq!(second, format!("{first}-a2"));
    let pids = |run: &str| {
        let path = server.home().join(format!("pids-{run}"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let alive = |run: &str| {
        let pids = pids(run);
        let of_run = format!("runs/{run}/code");
        let here = fs::read_dir("/proc")
            .expect("Linux has /proc")
            .flatten()
            .filter(|entry| {
                let is_there =
                    fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.ends_with(&of_run));
                let is_noted = pids.iter().any(|pid| entry.file_name() == **pid);
                let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                (is_there || is_noted) && !stat.is_empty() && !stat.contains(") Z ")
            });
        here.count()
    };
    for run in [&first, &second] {
        wait_until(10, "the whole family", || {
            pids(run).len() == 3 && alive(run) >= 4
        });
    }
    let before = alive(&second);
    lab.agile(&["stop", &first]).ends_with(2).complains("--yes");
    lab.agile(&["stop", "--yes", "--grace", "1", &first])
        .succeeds()
        .complains(&format!("{first}: stopped"));
    assert_eq!(alive(&first), 0);
    assert_eq!(shown(&lab, &first).0, "stopped");
    assert!(alive(&second) >= before.min(4));
    assert_eq!(shown(&lab, &second).0, "running");
    let sessions = || server.sh("screen -ls").stdout;
    wait_until(5, "the window to close", || {
        !sessions().contains(&format!(".{first}\t"))
    });
    assert!(sessions().contains(&format!(".{second}\t")));
    // Again, and a run that has none of it left.
    lab.agile(&["stop", "--yes", &first])
        .succeeds()
        .complains("None of these runs");
    lab.agile(&["stop", "--yes", "--grace", "0", &second])
        .succeeds();
    assert_eq!(alive(&second), 0);

    // A program that cleans up when it is told to end, and says that all is well, was stopped all the same.
    lab.write(
        "stubborn.py",
        "import pathlib, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n\
        open(pathlib.Path.home() / 'launches', 'a').write('launched\\n')\ntime.sleep(600)\n",
    );
    lab.commit("Be tidy");
    lab.git(&["push", "--quiet"]).succeeds();
    let third = waiting(&lab, &server, &[]);
    lab.agile(&["stop", "--yes", &third]).succeeds();
    assert_eq!(shown(&lab, &third).0, "stopped");
}

// ---- no room -------------------------------------------------------------------------------------------------------

/// In a mount namespace of its own: a server whose folder holds `$1` KiB is asked, is given room, and is asked again.
const NO_ROOM: &str = r#"
. "$0/environment"
cd && mkdir -p agile && mount -t tmpfs -o "size=$1k" tmpfs agile || exit 77
sh -s <"$0/first" >"$0/said"
find agile -size 0 -type f ! -path '*/code/*' ! -path '*/repo.git/*' ! -path '*/envs/*/lib*' ! -path '*/lock*/*' \
    ! -name '*log' >"$0/empty"
mount -o remount,size=16m agile || exit 77
sh -s <"$0/second" >"$0/said-later" || exit
n=0
until [ -s "$HOME/agile/proj/runs/train-1/exit" ] || [ "$n" -gt 300 ]; do
    sleep 0.05
    n=$((n + 1))
done
cat "$HOME/agile/proj/runs/train-1/state"
find agile -name 'held,*' -o -name '*.tmp' -o -name '*.new*' -o -name 'tmp_*' -o -name 'probe*'
"#;

#[test]
fn a_full_disk_is_said_and_mended_by_room() {
    let lab = Lab::new();
    let server = lab.server("box");
    if !lab.may_mount() {
        return;
    }
    lab.project(&["box"]);
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
    let url = lab.origin().home().join("proj.git").display().to_string();
    let mut deployment = one_run(
        "~/agile/proj",
        &url,
        &lab.head(),
        "train-1",
        "echo x >>~/launches",
    );
    deployment.launcher = Launcher::Nohup; // screen gets no terminal in such a namespace
    let call = scripts::deploy(&deployment);
    let (mut full, mut size) = (0, 40);
    loop {
        let _ = fs::remove_file(server.home().join("launches"));
        let nonces = ["first", "second"].map(|name| {
            let nonce = Nonce::fresh().expect("random numbers");
            fs::write(
                server.folder().join(name),
                call.text(&nonce).expect("no NUL"),
            )
            .expect("write the call");
            nonce
        });
        let folder = server.folder().to_string_lossy().into_owned();
        let outcome = lab.run(
            "unshare",
            &["-rm", "sh", "-c", NO_ROOM, &folder, &size.to_string()],
        );
        if outcome.code == Some(77) {
            eprintln!("skipped: a file system cannot be made larger here by an ordinary user");
            return;
        }
        let said = |name: &str, nonce: &Nonce| {
            let bytes = fs::read(server.folder().join(name)).expect("it was said");
            answer_of(&bytes, nonce).unwrap_or_else(|| {
                panic!(
                    "{size} KiB: no whole answer: {}\n{outcome}",
                    String::from_utf8_lossy(&bytes)
                )
            })
        };
        let first = said("said", &nonces[0]);
        let later = said("said-later", &nonces[1]);
        assert!(
            has(&later, &["run", "train-1"]),
            "{size} KiB: {later:?}\n{outcome}"
        );
        let state = outcome.succeeds().stdout.clone();
        assert!(
            state.starts_with("succeeded ") && state.lines().count() == 1,
            "{size} KiB: {outcome}"
        );
        assert_eq!(launches(&server)["x"], 1, "{size} KiB");
        let empty = fs::read_to_string(server.folder().join("empty")).expect("it was written");
        assert_eq!(empty, "", "{size} KiB");
        if has(&first, &["run", "train-1", "started"]) {
            break;
        }
        full += 1;
        let blames = has(&first, &["error", "disk"])
            || has(&first, &["failed", "train-1", "disk"])
            || has(&first, &["hint", "free some space on the server's disk"]);
        assert!(blames, "{size} KiB: {first:?}");
        size += 12;
    }
    assert!(full > 5, "only {full} disks were full");
}

/// A script that died while git made a work tree, or a server whose power was cut then, leaves it with empty files.
#[test]
fn a_work_tree_left_half_made_is_nobodys() {
    let (lab, server) = ready(NOTE);
    let half = server.home().join("agile/proj/repo.git/worktrees/half");
    let leave = || {
        fs::create_dir(&half).expect("nobody has it");
        let folder = server.home().join("agile/proj/runs/half/code/.git\n");
        for (name, text) in [("gitdir", &*folder.to_string_lossy()), ("commondir", "")] {
            fs::write(half.join(name), text).expect("leave it");
        }
    };
    leave();
    deploy(&lab, 1).succeeds();
    if !half.exists() {
        leave();
    }
    lab.write("more.py", "");
    lab.commit("More");
    lab.git(&["push", "--quiet"]).succeeds();
    deploy(&lab, 2).succeeds();
    all_is_well(&lab, &server, 3);
}

#[test]
fn a_lock_left_by_a_killed_command_is_nobodys() {
    let lab = Lab::new();
    lab.project(&["local"]);
    lab.agile(&["trust", "--all"]).succeeds();
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
    let gate = lab.home().join("gate");
    fs::write(&gate, "").expect("keep the run going");
    lab.agile(&["deploy"]).succeeds();
    let refs = lab.git(&["for-each-ref", "--format=%(refname)", "refs/agile/runs"]);
    let lock = lab
        .project_folder()
        .join(format!(".git/{}.lock", refs.stdout.trim()));
    fs::write(&lock, "").expect("leave a lock");
    fs::remove_file(gate).expect("it was there");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert!(!lock.exists());
    assert!(lab.git(&["fsck", "--strict"]).succeeds().stderr.is_empty());
}

/// A lab whose runs wait at the gate.
fn at_the_gate(server_keys: &str, design: &str) -> (Lab, std::sync::Arc<Server>) {
    let lab = Lab::new();
    let server = lab.server("box");
    let text = configuration(&["box"], design);
    lab.project_with(&text.replace("host = ", &format!("{server_keys}host = ")));
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.commit("Nothing to install");
    lab.git(&["push", "--quiet", "-u", "origin", "main"])
        .succeeds();
    lab.agile(&["trust", "--all"]).succeeds();
    server.close_gate();
    (lab, server)
}

fn states(lab: &Lab) -> Vec<String> {
    let word = |run: &Value| run["state"].as_str().expect("a word").to_owned();
    runs(lab).iter().map(word).collect()
}

/// The answer is lost, and then the network: whether there is a run, nobody knows.
#[test]
fn what_nobody_knows_is_not_called_unlaunched() {
    let (lab, server) = at_the_gate("", "grid = { lr = [0.1] }");
    // The answer's end comes late.
    server.shim(
        "cksum",
        "#!/bin/sh\nsleep 5\nPATH=${PATH#\"$LAB_SHIM:\"}\nexec cksum \"$@\"\n",
    );
    let client = lab.start_agile(&["deploy"]);
    wait_until(60, "the launch", || server.launches() == 1);
    client.signal(Signal::KILL);
    client.finish();
    server.remove_shim("cksum");
    server.stop();
    lab.kill_masters();
    lab.agile(&["deploy"]).ends_with(4);
    let status = lab.agile(&["status", "--all", "--json"]);
    assert!(!status.stdout.contains("cannot connect"), "{status}");
    server.start();
    assert_eq!(states(&lab), ["running"]);
    lab.agile(&["stop", "--yes"]).succeeds();
    assert_eq!(
        (states(&lab), server.launches()),
        (vec!["stopped".to_owned()], 1)
    );
}

/// Who said that a session did not start keeps it from starting after all; the same command starts one that does.
#[test]
fn a_session_that_comes_too_late_does_not_start() {
    let (lab, server) = at_the_gate("launcher = \"nohup\"\n", "grid = { lr = [0.1] }");
    server.shim(
        "setsid",
        "#!/bin/sh\nsleep 13\nPATH=${PATH#\"$LAB_SHIM:\"}\nexec setsid \"$@\"\n",
    );
    lab.agile(&["deploy"])
        .ends_with(5)
        .complains("the session did not start within 10 seconds");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(server.launches(), 0);
    // Who looks, also from another clone, sees no end that could be taken back.
    let looked = lab.agile(&["status"]);
    looked
        .says("the session did not start")
        .never_says("failed");
    server.remove_shim("setsid");
    lab.agile(&["deploy"]).succeeds().complains("1 run started");
    assert_eq!(
        (states(&lab), server.launches()),
        (vec!["running".to_owned()], 1)
    );
    server.open_gate();
}

/// The step that fails for a later run says nothing against those before.
#[test]
fn a_later_failure_hides_no_launch() {
    let (lab, server) = at_the_gate("", "grid = { lr = [0.1, 0.2] }");
    let would = lab.agile(&["deploy", "--dry-run"]);
    let would = would.succeeds().stdout.clone();
    let ids: Vec<&str> = would
        .split_whitespace()
        .filter(|word| word.starts_with("train-"))
        .collect();
    server
        .sh(&format!(
            "mkdir -p agile/proj/runs && echo >agile/proj/runs/{}",
            ids[1]
        ))
        .succeeds();
    lab.agile(&["deploy"])
        .ends_with(5)
        .complains("1 run started")
        .complains("cannot make the lock");
    assert_eq!(states(&lab)[0], "running");
    server.open_gate();
}

/// Changes the record of the only run as somebody may who shares records: by a command for sed.
fn forge(lab: &Lab, edit: &str) -> Outcome {
    const FORGE: &str = "name=$(git for-each-ref --format='%(refname)' refs/agile/runs) &&
        run=$(git show $name:run.json | sed \"$1\" | git hash-object -w --stdin) &&
        tree=$({ git ls-tree $name | grep -v run.json; printf '100644 blob %s\\trun.json\\n' $run; } | git mktree) &&
        git update-ref $name $(git commit-tree -p $name -m forged $tree) && git show $name:run.json";
    lab.run("sh", &["-c", FORGE, "sh", edit])
}

/// What a wrong clock has put into the future is not for ever the newest.
#[test]
fn a_run_of_the_future_is_not_the_newest() {
    let (lab, server) = at_the_gate("", "grid = { lr = [0.1] }");
    server.open_gate();
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    forge(
        &lab,
        "s/\"asked\": *[0-9]*/\"asked\": 4000000000/; s/\"sprint\": *\"..../\"sprint\": \"2096/",
    )
    .succeeds()
    .says("4000000000");
    server.close_gate();
    lab.commit_nothing("Later");
    lab.agile(&["push"]).succeeds();
    lab.agile(&["status"])
        .says("running")
        .never_says("succeeded");
    lab.agile(&["wait", "--timeout", "1"]).ends_with(5);
    server.open_gate();
}

/// A colleague's record says what a run is called and how it fared, and not what is executed.
#[test]
fn a_record_from_somebody_else_is_not_obeyed() {
    let (lab, server) = at_the_gate("", "grid = { lr = [0.1] }");
    server.stop();
    lab.agile(&["deploy"]).ends_with(4);
    let edit = "s/\"command\": *\"[^\"]*\"/\"command\": \"touch ~\\/taken\"/";
    forge(&lab, edit).succeeds().says("touch ~/taken");
    server.start();
    server.open_gate();
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    assert!(!server.home().join("taken").exists());
    assert_eq!(server.launches(), 1);
}

/// Without room nothing can be started, and nothing is given up.
#[test]
fn without_room_those_who_wait_go_on_waiting() {
    let (lab, server) = at_the_gate("slots = 1\n", "grid = { lr = [0.1, 0.2] }");
    lab.agile(&["deploy"]).succeeds();
    // As on a full disk, nothing can be written there.
    server.sh("mkdir agile/proj/queue/slot-1.tmp").succeeds();
    server.open_gate();
    lab.agile(&["wait", "--timeout", "4"])
        .ends_with(5)
        .complains("1 of 2 runs had not ended");
    assert_eq!(states(&lab), ["succeeded", "queued"]);
    lab.agile(&["logs"])
        .succeeds()
        .complains("has printed nothing yet");
    server.sh("rmdir agile/proj/queue/slot-1.tmp").succeeds();
    lab.agile(&["status"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    assert_eq!(server.launches(), 2);
}

/// However the path of a server is written, it is the same place.
#[test]
fn another_spelling_of_a_path_launches_nothing_anew() {
    let (lab, server) = at_the_gate("", "grid = { lr = [0.1] }");
    lab.agile(&["deploy"]).succeeds();
    lab.write(
        "agile.local.toml",
        "[servers.box]\npath = \"agile//proj/\"\n",
    );
    lab.agile(&["deploy"])
        .succeeds()
        .complains("nothing new to start");
    assert_eq!(server.launches(), 1);
    // Another place is another launch, which is said.
    lab.write("agile.local.toml", "[servers.box]\npath = \"~/other\"\n");
    lab.agile(&["deploy"])
        .succeeds()
        .complains("1 run may still be going on where box was before")
        .complains("1 run started");
    server.open_gate();
}

/// A time limit is time that has passed, whatever the clock is set to.
#[test]
fn a_clock_that_is_set_ends_no_run() {
    let (lab, server) = at_the_gate("", "grid = { lr = [0.1] }\nstop = { timeout = \"1h\" }");
    server.shim(
        "date",
        "#!/bin/sh\nPATH=${PATH#\"$LAB_SHIM:\"}\ncase $1 in +%s) [ ! -e ~/jump ] || { echo $(($(date +%s) + 9000)); exit; } ;; esac\n\
         exec date \"$@\"\n",
    );
    lab.agile(&["deploy"]).succeeds();
    server.sh("touch jump && date +%s").succeeds();
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(states(&lab), ["running"]);
    server.open_gate();
    lab.agile(&["wait"]).succeeds();
}
