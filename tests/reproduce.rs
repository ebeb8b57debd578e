//! `git agile reproduce`: what a record says, once more, and whether the metrics come out again.

mod support;

use std::fs;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};

use support::{Direction, Lab, Server, configuration, wait_until};

/// A lab whose one run, on `box`, has ended and is home; gives its id too.
fn one_run(more: &str) -> (Lab, Arc<Server>, String) {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project_with(&configuration(&["box"], more));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["fetch-results"]).succeeds();
    let runs = lab.agile(&["status", "--json"]).succeeds().json();
    let run = runs[0]["id"].as_str().expect("an id").to_owned();
    (lab, server, run)
}

const GRID: &str = "grid = { lr = [0.1] }";

/// The runs that reproduce another, as `git agile status --all --json` shows them.
fn reproductions(lab: &Lab) -> Vec<Value> {
    let all = lab.agile(&["status", "--all", "--json"]).succeeds().json();
    let all = all.as_array().expect("an array").clone();
    all.into_iter()
        .filter(|run| run.get("reproduces").is_some())
        .collect()
}

#[test]
fn what_was_recorded_comes_out_again() {
    let (lab, server, run) = one_run(GRID);
    // Neither what is edited nor what was committed since is any of it.
    lab.write("train.py", "raise SystemExit('edited')\n");
    lab.commit("Break it");
    lab.write("agile.toml", "nonsense\n");
    lab.agile(&["reproduce", "--dry-run", "@"])
        .succeeds()
        .says(&format!("  {run}-a2  python train.py --lr 0.1\n"));
    assert_eq!(server.launches(), 1);

    let first = lab.agile(&["reproduce", "@"]);
    first
        .succeeds()
        .complains("All 3 metrics agree (rtol 1e-5, atol 1e-8).");
    first
        .says(&format!("now       {run}-a2  succeeded  box"))
        .says("1 result file, the same");
    assert_eq!(server.launches(), 2);
    let again = reproductions(&lab);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0]["reproduces"], run.as_str());

    // The same words mean the same run, and compare; so do the ids of both.
    server.reset_counts();
    for name in [
        "@",
        &run[..run.len() - 2],
        run.as_str(),
        &format!("{run}-a2"),
    ] {
        let compared = lab.agile(&["reproduce", name, "--json"]).succeeds().json();
        assert_eq!(compared["agrees"], true);
        assert_eq!(compared["runs"][1], format!("{run}-a2"));
        assert_eq!(compared["metrics"]["loss"]["agrees"], true);
    }
    assert_eq!((server.launches(), server.sessions()), (2, 0));
    lab.agile(&["show", &format!("{run}-a2")])
        .says(&format!("reproduces   {run}"));

    lab.agile(&["log"]).says(&format!("    reproduces {run}\n"));

    // It is no push, and no second measurement: the statistics count it once.
    let log = lab.agile(&["log", "--json"]).succeeds().json();
    assert_eq!(log[0]["best"], json!([]));
    assert_eq!(log[1]["best"][0]["run"], json!(run));
    let rows = lab.agile(&["review", "--format", "json"]).succeeds().json();
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
    let words = ["review", "--all", "--group-by", "lr", "--format", "json"];
    let groups = lab.agile(&words).succeeds().json();
    assert_eq!(groups[0]["runs"], json!([run]));

    // One more is launched when that is said.
    lab.agile(&["reproduce", "--again", "@"])
        .succeeds()
        .says(&format!("{run}-a3"));
    assert_eq!(server.launches(), 3);
}

#[test]
fn chance_is_found_out() {
    let (lab, server, run) = {
        let lab = Lab::new();
        let server = lab.server("box");
        lab.project_with(&configuration(&["box"], GRID));
        let train = lab.read("train.py").replace(
            "json.dumps({\"loss\": loss,",
            "json.dumps({\"loss\": loss, \"steps\": 20, \"noise\": random.SystemRandom().random(), \"never\": float(\"nan\"),",
        );
        lab.write("train.py", &train);
        lab.commit("Roll a die");
        lab.agile(&["trust", "--all"]).succeeds();
        lab.agile(&["push", "-u", "origin", "main"]).succeeds();
        lab.agile(&["wait"]).succeeds();
        let runs = lab.agile(&["status", "--json"]).succeeds().json();
        let run = runs[0]["id"].as_str().expect("an id").to_owned();
        (lab, server, run)
    };
    // Results that nobody has fetched yet are fetched for it.
    let differs = lab.agile(&["reproduce", &run]);
    differs
        .ends_with(1)
        .complains("error: 1 of 6 metrics does not agree: noise")
        .complains("hint: ")
        .says("differs")
        .says("0 result files the same, 1 not: results/metrics.json");
    lab.agile(&["reproduce", &run, "--ignore", "noise"])
        .succeeds()
        .complains("All 5 metrics agree")
        .says("not counted");
    lab.agile(&["reproduce", &run, "--atol", "1"])
        .succeeds()
        .complains("All 6 metrics agree (rtol 1e-5, atol 1e0).");
    lab.agile(&["reproduce", &run, "--rtol", "-1"]).ends_with(2);
    assert_eq!(server.launches(), 2);
}

#[test]
fn whatever_happens_on_the_way_the_same_command_ends_it() {
    let (lab, server, run) = one_run(GRID);
    server.close_gate();
    // The line is cut on the way there, then further and further on the way back: in the end the server has launched it
    // and nobody hears.
    lab.kill_masters();
    server.cut(Direction::Up, 4_000);
    lab.agile(&["reproduce", &run]).ends_with(4);
    let places = (1_000..).step_by(600);
    let cut = places.map(|at| {
        lab.kill_masters();
        server.cut(Direction::Down, at);
        lab.agile(&["reproduce", &run, "--detach"])
    });
    let cuts = cut.take_while(|outcome| outcome.code == Some(4)).count();
    assert!(cuts > 2, "only {cuts}");
    server.uncut();
    lab.agile(&["reproduce", &run, "--detach"])
        .succeeds()
        .complains(&format!("git agile reproduce {run} compares"));
    wait_until(20, "the launch", || server.launches() == 2);
    // The command is ended while it waits. (Not by SIGINT, which a shell that started the tests behind `&` ignores.)
    let waiting = lab.start_agile(&["reproduce", &run, "--again"]);
    lab.agile(&["status"]).says("running");
    waiting.signal(Signal::TERM);
    assert_ne!(waiting.finish().code, Some(0));
    server.open_gate();
    lab.agile(&["reproduce", &run])
        .succeeds()
        .complains("All 3 metrics agree");
    assert_eq!(server.launches(), 2);
    assert_eq!(reproductions(&lab).len(), 1);

    // A server that is gone.
    lab.kill_masters();
    server.stop();
    lab.agile(&["reproduce", &run, "--again"]).ends_with(4);
    lab.agile(&["reproduce", &run, "--again"]).ends_with(4);
    server.start();
    lab.agile(&["reproduce", &run, "--again"]).succeeds();
    assert_eq!(server.launches(), 3);
    assert_eq!(reproductions(&lab).len(), 2);
}

#[test]
fn what_is_not_as_it_was_is_said_and_nothing_is_launched() {
    let (lab, server, run) = one_run(GRID);
    let records = || lab.git(&["for-each-ref", "refs/agile/runs"]).stdout.clone();
    let before = records();
    let refuses = |words: &[&str], code: i32, why: &str| {
        let mut line = vec!["reproduce"];
        line.extend(words);
        lab.agile(&line)
            .ends_with(code)
            .complains(why)
            .complains("hint: ");
    };
    refuses(
        &["nothing-like-it"],
        2,
        "error: there is no run `nothing-like-it`",
    );
    refuses(&[&run, "--server", "nowhere"], 2, "nowhere");

    let local = |text: &str| lab.write("agile.local.toml", text);
    local("[environment]\npython = \"3.9\"\n");
    refuses(&[&run], 3, "the environment of ");
    local("[servers.box]\nenv = { LEVEL = \"2\" }\n");
    refuses(
        &[&run],
        3,
        "`setup` or `env` of server `box` are not what they were",
    );
    local("[servers.box]\npath = \"~/elsewhere\"\n");
    refuses(&[&run], 3, "server `box` was box:~/agile/proj when ");
    local("[servers.box]\nhost = \"other\"\n");
    refuses(&[&run], 3, "and is now other:~/agile/proj");
    assert_eq!((records(), server.launches()), (before, 1));

    // On the server as it is now, when that is said.
    local("[servers.box]\npath = \"~/elsewhere\"\n");
    lab.agile(&["reproduce", &run, "--server", "box"])
        .succeeds();
    assert!(
        server
            .home()
            .join(format!("elsewhere/runs/{run}-a2/exit"))
            .exists()
    );
    fs::remove_file(lab.project_folder().join("agile.local.toml")).expect("it was written");

    // A run that never was has nothing to compare with; one that goes on has not yet.
    server.close_gate();
    lab.agile(&["deploy", "--set", "lr=0.2"]).succeeds();
    refuses(&["@"], 2, "is running: there is nothing to compare with");
    server.open_gate();
}

#[test]
fn a_server_that_is_in_no_configuration_any_more() {
    let lab = Lab::new();
    let (old, new) = (lab.server("old"), lab.server("new"));
    let text = configuration(&["old"], GRID);
    let start = text.find("[experiments").expect("an experiment");
    lab.project_with(&text[start..]);
    let own = lab.home().join(".config/git-agile/config.toml");
    let configure = |more: &str| {
        fs::create_dir_all(own.parent().expect("a folder")).expect("make the folder");
        fs::write(&own, format!("{}{more}", &text[..start])).expect("write the configuration");
    };
    let forget = || fs::remove_file(&own).expect("it was written");
    configure("");
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["fetch-results"]).succeeds();
    forget();
    // The record tells where it was, and nothing else is needed; but for an `env` that no record has.
    lab.agile(&["reproduce", "@"])
        .succeeds()
        .complains("All 3 metrics agree");
    configure("[servers.old.env]\nLEVEL = \"2\"\n");
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    forget();
    lab.agile(&["reproduce", "@"])
        .ends_with(3)
        .complains("error: server `old`, where ")
        .complains("--server NAME");

    // The present commit has another one; the code that runs is that of the old.
    lab.write("train.py", "raise SystemExit('a later one')\n");
    lab.write("agile.toml", &configuration(&["new"], GRID));
    lab.commit("Move");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["reproduce", "@", "--server", "new"])
        .succeeds()
        .says("new     ")
        .complains("All 3 metrics agree");
    assert_eq!((old.launches(), new.launches()), (3, 1));
}

#[test]
fn a_commit_that_no_branch_has() {
    let (lab, server, run) = one_run(GRID);
    let other = lab.server("lab2");
    let commit = lab.head();
    lab.git(&[
        "commit",
        "--quiet",
        "--amend",
        "--allow-empty",
        "-m",
        "Another story",
    ])
    .succeeds();
    lab.git(&["push", "--quiet", "--force", "origin", "main"])
        .succeeds();
    let origin = lab.origin();
    origin.sh("git -C proj.git gc -q --prune=now").succeeds();
    let gone = origin.sh(&format!("git -C proj.git cat-file -e {commit}"));
    assert_ne!(gone.code, Some(0));
    lab.write(
        "agile.local.toml",
        "[servers.lab2]\nhost = \"lab2\"\npath = \"~/agile/proj\"\n",
    );
    lab.agile(&["trust", "--all"]).succeeds();
    for (server, words) in [(&server, vec![]), (&other, vec!["--server", "lab2"])] {
        let mut line = vec!["reproduce", run.as_str()];
        line.extend(words);
        lab.agile(&line)
            .succeeds()
            .complains("is on no branch of origin: it is sent from here")
            .complains("All 3 metrics agree");
        let there = format!("cat agile/proj/runs/{}*/commit | sort -u", &run[..14]);
        assert_eq!(server.sh(&there).stdout.trim(), commit);
    }
}

#[test]
fn data_that_is_other_data_by_now() {
    let lab = Lab::new();
    let (server, other) = (lab.server("box"), lab.server("lab2"));
    for (server, content) in [(&server, "first"), (&other, "second")] {
        server.shim(
            "curl",
            &format!(
                "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\nprintf {content} >\"$2\"\n"
            ),
        );
    }
    let sum = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e";
    let set = "[data.set]\nurl = \"https://data.example/set\"\npath = \"data/set\"\n";
    let text = configuration(&["box"], &format!("{GRID}\ndata = [\"set\"]"));
    let more = "[servers.lab2]\nhost = \"lab2\"\npath = \"~/agile/proj\"\n";
    lab.project_with(&format!("{more}{set}sha256 = \"{sum}\"\n{text}"));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    for _ in 0..2 {
        lab.agile(&["reproduce", "@", "--server", "lab2"])
            .ends_with(5)
            .complains("https://data.example/set has the SHA-256")
            .complains(&format!("and not {sum}"));
    }
    assert_eq!((server.launches(), other.launches()), (1, 0));
    lab.agile(&["reproduce", "@"]).succeeds();
}

/// What no lock pins may have moved on where the environment is built anew.
#[test]
fn packages_that_differ_are_shown() {
    let lab = Lab::new();
    lab.server("box");
    lab.server("lab2");
    let text = configuration(&["box"], GRID);
    let more = "[servers.lab2]\nhost = \"lab2\"\npath = \"~/agile/proj\"\n";
    lab.project_with(&format!("{more}{text}"));
    lab.wheel("tiny", "1.2");
    lab.write("requirements.txt", "tiny\n");
    lab.commit("Need something");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    lab.wheel("tiny", "1.3");
    let words = ["reproduce", "@", "--server", "lab2", "--json"];
    let compared = lab.agile(&words).succeeds().json();
    assert_eq!(compared["agrees"], true);
    assert_eq!(compared["packages"], json!({ "tiny": ["1.2", "1.3"] }));
    assert_eq!(compared["environment"]["server"], json!(["box", "lab2"]));
    let [one, other] = [0, 1].map(|place| compared["runs"][place].as_str().expect("an id"));
    let words = ["review", "--diff", one, other, "--format", "json"];
    let difference = lab.agile(&words).succeeds().json();
    assert_eq!(difference["installed"], json!({ "tiny": ["1.2", "1.3"] }));
    assert_eq!(difference["packages"], json!({}));
    lab.agile(&words[..4])
        .says("\npackages installed\n")
        .says("  tiny  1.2  1.3\n");
}

#[test]
fn a_run_that_fails() {
    let (lab, server, run) = one_run(GRID);
    // The code is what it was; what it finds on the server is not.
    fs::remove_file(server.home().join("launches")).expect("it was launched");
    fs::create_dir(server.home().join("launches")).expect("make a folder in the way");
    lab.agile(&["reproduce", &run])
        .ends_with(1)
        .complains(&format!("error: {run}-a2 failed (1), and {run} succeeded"))
        .complains(&format!("hint: git agile logs {run}-a2"));
    fs::remove_dir(server.home().join("launches")).expect("make way");
    // The same command says the same; a new attempt has to be asked for.
    lab.agile(&["reproduce", &run]).ends_with(1);
    lab.agile(&["reproduce", &run, "--again"]).succeeds();
}

/// Without the results there is no verdict.
#[test]
fn what_is_nowhere_any_more_is_not_judged() {
    let (lab, _server, run) = one_run(GRID);
    lab.agile(&["reproduce", "@"]).succeeds();
    lab.agile(&["clean", "--runs", "--yes"]).succeeds();
    fs::remove_dir_all(lab.project_folder().join("results").join(&run)).expect("they are here");
    lab.agile(&["reproduce", "@"])
        .ends_with(5)
        .explains(
            &format!("the results of {run} are not here"),
            "whoever fetched",
        )
        .never_says("differs");
}

/// What stays on the server for good keeps nobody from comparing the rest.
#[test]
fn a_result_that_is_refused_is_left_out_of_the_verdict() {
    let (lab, _server, _run) = one_run(GRID);
    let train = lab.read("train.py");
    lab.write(
        "train.py",
        &format!("import os\nos.makedirs('results', exist_ok=True)\nos.symlink('/etc', 'results/etc')\n{train}"),
    );
    lab.commit("Leave a link");
    lab.agile(&["push"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["reproduce", "@"])
        .succeeds()
        .complains("results/etc is a link")
        .complains("metrics agree");
}
