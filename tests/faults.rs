//! What goes wrong on the way, and that the same command again mends it: one run, launched once, nothing lost.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git_agile::deployment::scripts;
use serde_json::Value;

use support::script::{Script, has, one_run, through};
use support::{Direction, Lab, Outcome, Server, configuration, holds_within, wait_until};

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
echo >>{here}/count
n=$(/usr/bin/wc -l <{here}/count)
{around}
"#
        );
        server.shim(name, &shim);
    }
}

/// Counts from 1 again; until [`count_no_more`], the shims only pass on.
fn count(server: &Server) {
    fs::write(server.folder().join("count"), "").expect("start counting");
}

fn count_no_more(server: &Server) -> usize {
    let path = server.folder().join("count");
    let text = fs::read_to_string(&path).expect("it was counted");
    fs::remove_file(path).expect("stop counting");
    text.lines().count()
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
        let (answer, outcome) = Script::start(&server, &["sh"], &call).finish();
        let tools = count_no_more(&server);
        let is_hit = tools >= number;
        assert!(is_hit || answer.is_some(), "{outcome}");
        let (answer, outcome) = through(&server, &["sh"], &call);
        assert!(
            has(&answer, &["run", &name, "started"]) || has(&answer, &["run", &name, "exists"]),
            "killed at tool {number}: {answer:?}\n{outcome}"
        );
        let base = server.home().join(&folder);
        let exit = base.join("runs").join(&name).join("exit");
        wait_until(10, "the run's end", || exit.exists());
        assert!(number < 200, "no end");
        holds_within(Duration::from_secs(5), || litter(&base).is_empty());
        assert_eq!(litter(&base), [] as [PathBuf; 0], "killed at tool {number}");
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
    a_killed_script_is_mended_by_the_same(
        r#"read -r at <"${LAB_SHIM%/shim}/at"; if [ "$n" -eq "$at" ]; then kill -9 $PPID; fi; tool "$@""#,
    );
}
