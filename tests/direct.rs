//! `source = "direct"`: commits travel over the connection that is open already.

mod support;

use support::{Lab, configuration, wait_until};

fn direct(lab: &Lab, server: &str) {
    let text = configuration(&[server], "grid = { lr = [0.1, 0.2] }");
    lab.project_with(&text.replace("path = ", "source = \"direct\"\npath = "));
    lab.agile(&["trust", "--all"])
        .succeeds()
        .complains("fetching from here");
}

#[test]
fn a_server_without_access_to_the_git_host_runs_the_commit() {
    let lab = Lab::new();
    let server = lab.server("box");
    direct(&lab, "box");
    // Nobody could fetch: there is not even a remote.
    lab.git(&["remote", "remove", "origin"]).succeeds();
    lab.agile(&["deploy"])
        .succeeds()
        .complains("2 runs started");
    wait_until(20, "the launches", || server.launches() == 2);
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    let connections = server.connections();

    lab.write("note.txt", "more");
    let second = lab.commit("One more");
    server.reset_counts();
    lab.agile(&["deploy"]).succeeds();
    assert_eq!(
        (server.connections(), server.sessions()),
        (0, 2),
        "one connection, two channels"
    );
    assert_eq!(connections, 1);
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    let heads = server.sh("cd ~/agile/proj/runs && for run in *; do git -C $run/code rev-parse HEAD; done | sort | uniq -c");
    assert!(heads.stdout.contains(&format!("2 {second}")), "{heads}");
    lab.agile(&["fetch-results", "--all"]).succeeds();
}

#[test]
fn every_login_shell_receives() {
    for shell in ["/usr/bin/tcsh", "/usr/bin/fish"] {
        let lab = Lab::new();
        let server = lab.server("box");
        server.set_login_shell(shell);
        direct(&lab, "box");
        lab.agile(&["deploy"]).succeeds();
        wait_until(20, "the launches", || server.launches() == 2);
        lab.agile(&["wait", "--timeout", "300"]).succeeds();
    }
}

#[test]
fn this_machine_receives_too() {
    let lab = Lab::new();
    direct(&lab, "local");
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
}

#[test]
fn a_shallow_clone_is_enough() {
    let lab = Lab::new();
    let server = lab.server("box");
    direct(&lab, "box");
    lab.write("note.txt", "more");
    lab.commit("One more");
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
    let folder = lab.project_folder();
    let url = lab
        .git(&["remote", "get-url", "origin"])
        .stdout
        .trim()
        .to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    lab.run(
        "sh",
        &[
            "-c",
            &format!(
                "cd / && git clone --quiet --depth 1 {url} {}",
                folder.display()
            ),
        ],
    );
    std::fs::metadata(folder.join(".git/shallow")).expect("a shallow clone");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["deploy"]).succeeds();
    wait_until(20, "the launches", || server.launches() == 2);
}

/// What a push would not launch is not sent either.
#[test]
fn nothing_is_sent_that_is_not_launched() {
    let lab = Lab::new();
    let server = lab.server("box");
    direct(&lab, "box");
    let whole = lab.read("agile.toml");
    let is_untouched = || !server.home().join("agile").exists();
    lab.agile(&["push", "--dry-run", "origin", "main"])
        .succeeds();
    assert!(is_untouched(), "a dry run");
    lab.write(
        "agile.toml",
        &format!("{whole}[push]\nbranches = [\"release*\"]\n"),
    );
    lab.commit("Only what is released");
    lab.agile(&["push", "origin", "main"])
        .succeeds()
        .complains("[push] does not name origin/main");
    assert!(is_untouched(), "a branch that is not meant");
    lab.git(&["config", "agile.launch", "never"]).succeeds();
    lab.agile(&["push", "origin", "main:release"])
        .succeeds()
        .complains("launch = \"never\"");
    assert!(is_untouched(), "nothing is launched");
    lab.git(&["config", "agile.launch", "auto"]).succeeds();

    // One commit on two branches, of which the second is meant.
    lab.agile(&["push", "origin", "main:wip", "main:release-2"])
        .succeeds()
        .complains("[push] does not name origin/wip")
        .complains("2 runs started");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
}
