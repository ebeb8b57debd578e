//! `git agile fetch-results` over a real connection: what is chosen, what is cut, what still moves.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use support::{Direction, Lab, Server, configuration, wait_until};

/// A lab with one run on `box`; gives its id too.
fn one_run(is_over: bool) -> (Lab, Arc<Server>, String) {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project_with(&configuration(&["box"], "grid = { lr = [0.1] }"));
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.git(&["commit", "--quiet", "--amend", "--no-edit"])
        .succeeds();
    lab.agile(&["trust", "--all"]).succeeds();
    if !is_over {
        server.close_gate();
    }
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    if is_over {
        lab.agile(&["wait"]).succeeds();
    }
    let runs = lab.agile(&["status", "--json"]).succeeds().json();
    let run = runs[0]["id"].as_str().expect("an id").to_owned();
    (lab, server, run)
}

fn in_run(server: &Server, run: &str, command: &str) {
    server
        .sh(&format!("cd agile/proj/runs/{run}/code && {command}"))
        .succeeds();
}

fn home(lab: &Lab, run: &str) -> PathBuf {
    lab.project_folder().join("results").join(run)
}

fn is_fetched(lab: &Lab) -> bool {
    lab.agile(&["fetch-results"])
        .stderr
        .contains("Nothing to fetch")
}

/// After a cut in the middle of a file, the rest of it comes and nothing twice.
#[test]
fn a_cut_connection_costs_what_did_not_come() {
    const SIZE: u64 = 24 << 20;
    let (lab, server, run) = one_run(true);
    in_run(
        &server,
        &run,
        &format!("head -c {SIZE} /dev/urandom >results/big"),
    );
    let there = server
        .home()
        .join(format!("agile/proj/runs/{run}/code/results/big"));
    let content = fs::read(there).expect("it was made");
    let again = || {
        lab.kill_masters();
        lab.agile(&["fetch-results", "@"])
    };
    for part in 1..=20 {
        let at = SIZE * part / 21;
        server.cut(Direction::Down, at);
        let cut = again();
        assert_ne!(cut.code, Some(0), "{cut}");
        cut.complains("error: ").complains("hint: ");
        assert!(!home(&lab, &run).join("results/big").exists());
        server.meter();
        again().succeeds();
        let (_, down) = server.bytes();
        // What ssh had taken and not handed over is lost with it: at most its window of 2 MiB.
        assert!(down <= SIZE - at + (3 << 20), "{down} after {at}");
        assert!(fs::read(home(&lab, &run).join("results/big")).expect("it came") == content);
        fs::remove_dir_all(home(&lab, &run)).expect("remove what came");
    }
}

#[test]
fn a_person_chooses_what_comes() {
    let (lab, server, run) = one_run(true);
    lab.write(".gitignore", "/res/\n");
    in_run(
        &server,
        &run,
        "cd results && mkdir out && echo 1 >out/a.txt && head -c 5000 /dev/zero | tr '\\0' x >out/b.pt && echo 2 >c.pt",
    );
    let dry = lab.agile(&["fetch-results", "--dry-run"]);
    dry.succeeds().says(&format!("{run}: 5 files, "));
    dry.complains("box: 5 files, ");
    assert!(!lab.project_folder().join("results").exists());

    lab.agile(&["fetch-results", "--include", "*.pt", "--max-size", "1k"])
        .succeeds()
        .complains("left: ")
        .complains("results/out/b.pt is larger")
        .complains("(a part;")
        .complains("git does not ignore results/");
    assert!(home(&lab, &run).join("results/c.pt").exists());
    assert!(!home(&lab, &run).join("results/out").exists());
    lab.agile(&[
        "fetch-results",
        "--exclude",
        "/results/out",
        "--exclude",
        "log",
    ])
    .succeeds()
    .never_says("git does not ignore");
    assert!(home(&lab, &run).join("results/metrics.json").exists());
    assert!(
        !home(&lab, &run).join("results/out").exists() && !home(&lab, &run).join("log").exists()
    );

    // More than may come at once is said, with the way to have it.
    lab.agile(&["fetch-results", "--max-total", "4k"])
        .ends_with(5)
        .complains("hint: git agile fetch-results --max-total ");
    lab.agile(&["fetch-results", "--max-files", "3"])
        .ends_with(5)
        .complains("--max-files");
    // None of these was the whole of it.
    lab.agile(&["fetch-results"])
        .succeeds()
        .complains("box: 3 files");
    assert!(is_fetched(&lab));
    lab.agile(&["fetch-results", "--dry-run", "@"])
        .succeeds()
        .says(&format!("{run}: 0 files"));
    for bad in [["--max-size", "x"], ["--include", "!a"], ["--exclude", ""]] {
        lab.agile(&["fetch-results", bad[0], bad[1]]).ends_with(2);
    }
}

#[test]
fn a_running_run_comes_in_parts_and_then_whole() {
    let (lab, server, run) = one_run(false);
    in_run(
        &server,
        &run,
        "mkdir -p results && echo 1 >results/old && touch -d '1 hour ago' results/old && echo 2 >results/new",
    );
    lab.agile(&["fetch-results", &run])
        .succeeds()
        .complains("it is fetched when it has ended, or with --partial");
    lab.agile(&["fetch-results", "--partial", &run])
        .succeeds()
        .complains("results/new is still being written");
    assert!(home(&lab, &run).join("results/old").exists());
    assert!(!home(&lab, &run).join("results/new").exists());

    // What was seen last counts, though the record has not changed since it began.
    let seen = || lab.agile(&["status", "--json"]).json()[0]["seen"].clone();
    let before = seen();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let last = seen();
    assert_ne!(last, before);
    server.stop();
    lab.kill_masters();
    assert_eq!(seen(), last);
    server.start();

    let mut watching = lab.start_agile(&["fetch-results", "--watch"]);
    assert!(!watching.ended());
    server.open_gate();
    wait_until(60, "the watch ends", || watching.ended());
    watching.finish().succeeds().complains("verified");
    assert!(home(&lab, &run).join("results/new").exists());
    assert!(home(&lab, &run).join("results/metrics.json").exists());
    assert!(is_fetched(&lab));
}

/// What is wrong with one run keeps no other away, and what is lost is not asked for for ever.
#[test]
fn one_bad_run_keeps_no_other_away() {
    let (lab, server, run) = one_run(true);
    lab.agile(&["deploy", "--set", "lr=0.2"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    let elsewhere = lab.root().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    fs::create_dir_all(home(&lab, "")).expect("results/");
    std::os::unix::fs::symlink(&elsewhere, home(&lab, &run)).expect("a link");
    lab.agile(&["fetch-results"])
        .ends_with(5)
        .explains(&format!("results/{run} is a link"), "move results/")
        .complains("files, ");
    assert_eq!(elsewhere.read_dir().expect("the folder").count(), 0);
    fs::remove_file(home(&lab, &run)).expect("the link goes");

    // Somebody removed it there.
    server
        .sh(&format!("mv agile/proj/runs/{run} agile/elsewhere"))
        .succeeds();
    lab.agile(&["fetch-results"]).ends_with(5).explains(
        &format!("box: {run} is not there any more"),
        "git agile clean --runs box records that",
    );
    let runs = server.home().join("agile/proj/runs");
    fs::rename(&runs, server.home().join("agile/unmounted")).expect("the disk goes");
    lab.agile(&["clean", "--yes"])
        .complains("Nothing to remove.");
    fs::rename(server.home().join("agile/unmounted"), &runs).expect("the disk comes back");
    lab.agile(&["clean", "--runs", "--yes"])
        .succeeds()
        .says("gone already");
    lab.agile(&["fetch-results"])
        .succeeds()
        .complains("Nothing to fetch");
}

#[test]
fn who_watches_sees_a_cut_mended() {
    let (lab, server, run) = one_run(false);
    in_run(
        &server,
        &run,
        "mkdir -p results && head -c 6000000 /dev/urandom >results/big",
    );
    // Of each connection; what has come stays.
    lab.kill_masters();
    server.cut(Direction::Down, 3 << 20);
    let mut watching = lab.start_agile(&["fetch-results", "--watch"]);
    server.open_gate();
    wait_until(90, "the watch ends", || watching.ended());
    watching
        .finish()
        .succeeds()
        .complains("the connection was lost")
        .complains("verified");
    assert!(home(&lab, &run).join("results/big").exists());
}

#[test]
fn another_work_tree_has_results_of_its_own() {
    let (lab, _server, run) = one_run(true);
    lab.agile(&["fetch-results"]).succeeds();
    let other = lab.root().join("other");
    let path = other.to_str().expect("text");
    lab.git(&["worktree", "add", "--quiet", path]).succeeds();
    let there = |arguments: &[&str]| {
        let mut command = lab.command("git-agile");
        support::run(command.args(arguments).current_dir(&other))
    };
    there(&["fetch-results"]).succeeds().complains("verified");
    assert!(other.join("results").join(&run).join("log").exists());
    there(&["fetch-results"]).complains("Nothing to fetch");
    // What it remembers of its files leads nobody astray here.
    lab.agile(&["fetch-results", "--all"])
        .succeeds()
        .never_says("edited");
}
