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
