//! Connections that are there and silent, and servers whose shell does something else.

mod support;

use std::sync::Arc;

use support::{Lab, Server, configuration, wait_until};

/// A server with a run that has ended, and an open connection.
fn connected() -> (Lab, Arc<Server>) {
    let lab = Lab::new();
    let server = lab.server("box");
    let text = configuration(&["box"], "grid = { lr = [0.1] }");
    lab.project_with(&text.replace("path = ", "source = \"direct\"\npath = "));
    lab.agile(&["trust", "--all"]).succeeds();
    server.close_gate();
    lab.agile(&["deploy"]).succeeds();
    wait_until(20, "the launch", || server.launches() == 1);
    (lab, server)
}

#[test]
fn a_silent_connection_is_replaced() {
    let (lab, server) = connected();
    // Only a new connection helps here: no master notices by itself that nobody answers any more.
    let wrapper = lab.root().join("bin/ssh");
    let text = std::fs::read_to_string(&wrapper).expect("there is one");
    let text = text.replace("\"$@\"", "-o ServerAliveInterval=0 \"$@\"");
    support::write_program(&wrapper, &text);
    lab.kill_masters();
    lab.agile(&["status"]).succeeds().says("running");
    let commands: [&[&str]; 3] = [&["status"], &["logs"], &["fetch-results", "--partial"]];
    for command in commands {
        let old = lab.masters();
        assert!(server.freeze_connections() > 0);
        lab.agile(command).succeeds();
        wait_until(20, "the end of the old one", || {
            let new = lab.masters();
            new.len() == 1 && new != old
        });
        // The next command finds the new one where it looks.
        server.reset_counts();
        lab.agile(&["status"]).succeeds().says("running");
        assert_eq!(server.connections(), 0, "{command:?}");
    }
    // The commit travels first.
    lab.commit_nothing("One more");
    server.freeze_connections();
    lab.agile(&["deploy"]).succeeds().complains("1 run started");
    server.open_gate();
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
    assert_eq!(server.launches(), 2);
}

#[test]
fn a_connection_stays_open_as_long_as_the_person_says() {
    let (lab, server) = connected();
    lab.kill_masters();
    let set = |value: &str| lab.git(&["config", "agile.idle", value]).succeeds().code;
    set("soon");
    lab.agile(&["status"])
        .ends_with(3)
        .complains("`soon` is no value of agile.idle")
        .complains("git config agile.idle 600");
    set("3");
    lab.agile(&["status"]).succeeds().says("running");
    wait_until(20, "the end of the connection", || lab.masters().is_empty());
    lab.agile(&["status"]).succeeds().says("running");
    server.open_gate();
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
}

#[test]
fn a_slow_answer_is_waited_for() {
    let (lab, server) = connected();
    server.set_filter("#!/bin/sh\nsleep 4\nexec /bin/sh -c \"$1\"\n");
    let old = lab.masters();
    lab.agile(&["status"]).succeeds().says("running");
    wait_until(20, "the end of what was tried", || {
        lab.masters().len() == old.len()
    });
    server.remove_filter();
    server.open_gate();
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
}

#[test]
fn a_script_that_dies_is_not_a_login_shell_that_speaks() {
    let (lab, server) = connected();
    let change = |what: &str| {
        server.set_filter(&format!("#!/bin/sh\nsed '{what}' | /bin/sh -c \"$1\"\n"));
        lab.agile(&["status"])
    };
    change("s/^answer_line clock/: $nobody_set_this; &/")
        .ends_with(5)
        .complains("box: the script ended before its answer was complete (status ")
        .complains("nobody_set_this")
        .never_says("start-up file");
    change("s/^agile_status() {/& (/")
        .ends_with(5)
        .complains("box: the shell there cannot run the script (status 2)")
        .complains("yntax error");
    change("s/^/echo Welcome; /")
        .complains("its login shell may print or read in its start-up file")
        .complains("Welcome");
    server.remove_filter();
    lab.agile(&["status"]).succeeds().says("running");
    server.open_gate();
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
}
