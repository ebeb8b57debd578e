//! `git agile doctor`, and the warning about servers that end what a person has left running.

mod support;

use std::fs;

use support::{Lab, configuration};

/// What logind says where nothing outlives a person.
const LOGIND: &str = "#!/bin/sh\ncase $1 in show-session) printf 'KillUserProcesses=yes\\nKillExcludeUsers=\\nKillOnlyUsers=\\n' ;; \
                      show-user) echo Linger=no ;; esac\n";

/// `where`, `level` and `check` of everything that is not well.
fn bad(lab: &Lab, arguments: &[&str]) -> Vec<String> {
    let json = lab
        .agile(&[&["doctor", "--json"], arguments].concat())
        .json();
    let findings = json.as_array().expect("an array").iter();
    findings
        .filter(|finding| finding["level"] != "ok")
        .map(|finding| {
            let word = |name: &str| finding[name].as_str().expect("a text").to_string();
            assert!(!word("mend").is_empty(), "{finding}");
            format!("{} {} {}", word("where"), word("level"), word("check"))
        })
        .collect()
}

#[test]
fn what_is_missing_is_found_and_nothing_is_changed() {
    let lab = Lab::new();
    let (good, poor) = (lab.server("good"), lab.server("poor"));
    poor.hide(&["screen", "tmux", "git", "curl", "wget", "git-lfs"]);
    poor.set_rc("echo Welcome to the cluster");
    let text = configuration(&["good", "poor", "off", "far"], "data = [\"set\"]")
        + "[data.set]\nurl = \"https://h/x\"\npath = \"x\"\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";
    lab.project_with(&text);
    for name in ["good", "poor", "off"] {
        lab.agile(&["trust", name]).succeeds();
    }
    lab.agile(&["install"]).succeeds();
    let found = bad(&lab, &[]);
    assert_eq!(
        found,
        [
            "far warning trust",
            "off error connect",
            "poor error git",
            "poor warning launcher",
            "poor error downloads",
            "poor warning shell"
        ]
    );
    let told = lab.agile(&["doctor", "good", "poor"]);
    told.ends_with(1)
        .says("this machine")
        .says("good (good:~/agile/proj)")
        .says("start-up files print: Welcome to the cluster")
        .says("sudo apt install git");
    assert!(
        told.stdout.lines().all(|line| line.chars().count() < 120),
        "{told}"
    );
    lab.agile(&["doctor", "good"]).succeeds();
    lab.agile(&["doctor", "nowhere"])
        .ends_with(2)
        .complains("there is no server `nowhere`");
    for server in [&good, &poor] {
        assert!(
            !server.home().join("agile").exists(),
            "nothing is made there"
        );
        assert_eq!(server.connections(), 1, "one connection for all of it");
    }
    assert!(lab.git(&["for-each-ref", "refs/agile"]).stdout.is_empty());
}

#[test]
fn this_machine_alone_is_looked_at_without_a_repository() {
    let lab = Lab::new();
    lab.agile(&["doctor"])
        .succeeds()
        .says("git version")
        .complains("not a git repository");
    lab.project(&["box"]);
    lab.git(&["remote", "set-url", "origin", "/nowhere/proj.git"])
        .succeeds();
    fs::write(
        lab.home().join(".gitconfig"),
        "[user]\n\tuseConfigOnly = true\n",
    )
    .expect("write it");
    let found = bad(&lab, &[]);
    assert_eq!(
        found,
        [
            " error identity",
            " warning hooks",
            " error git host",
            "box warning trust"
        ]
    );
    lab.write("agile.toml", "x = [");
    fs::write(
        lab.home().join(".gitconfig"),
        "[user]\n\tname = A\n\temail = a@b\n",
    )
    .expect("write it");
    lab.commit("Break it");
    assert!(bad(&lab, &[]).contains(&" error config".to_string()));
}

#[test]
fn a_server_that_ends_sessions_is_told_of() {
    let lab = Lab::new();
    let server = lab.server("box");
    server.shim("loginctl", LOGIND);
    lab.project(&["box"]);
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.commit("Nothing to install");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["install"]).succeeds();
    let pushed = lab.agile(&["push", "-u", "origin", "main"]);
    pushed
        .succeeds()
        .complains("warning: box: this server ends everything")
        .complains("hint: git agile ssh box loginctl enable-linger");
    assert_eq!(pushed.stderr.matches("KillUserProcesses").count(), 1);
    assert_eq!(bad(&lab, &[]), ["box error linger"]);
    // Whoever is exempt, or may linger, is not bothered.
    for (from, to) in [
        ("KillExcludeUsers=", "KillExcludeUsers=$(id -un)"),
        ("KillOnlyUsers=", "KillOnlyUsers=somebody"),
        ("Linger=no", "Linger=yes"),
        ("KillUserProcesses=yes", "KillUserProcesses=no"),
    ] {
        let shim = LOGIND
            .replace(from, to)
            .replace("printf '", "printf \"")
            .replace("\\n' ;;", "\\n\" ;;");
        server.shim("loginctl", &shim);
        assert_eq!(bad(&lab, &[]), [""; 0], "{to}");
    }
    lab.commit_nothing("Again");
    lab.agile(&["push"])
        .succeeds()
        .never_says("KillUserProcesses");
}
