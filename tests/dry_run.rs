//! `git agile deploy --dry-run`: what would be done, and nothing done.

mod support;

use serde_json::{Value, json};

use support::{Lab, Server, configuration, wait_until};

/// Everything in the home, with its times of change.
fn listing(server: &Server) -> String {
    let listed = server.sh("find . -printf '%p %y %s %T@\\n' | LC_ALL=C sort");
    listed.succeeds().stdout.clone()
}

fn foreseen(lab: &Lab, arguments: &[&str]) -> Value {
    let all = [&["deploy", "--dry-run", "--json"], arguments].concat();
    lab.agile(&all).succeeds().json()
}

/// A project that a server of each source runs, with one data set.
fn two_sources(lab: &Lab) {
    let text = configuration(
        &["fetching", "given"],
        "grid = { lr = [0.1, 0.2] }\ndata = [\"words\"]",
    );
    let path = "host = \"given\"\npath = ";
    let text = text.replace(path, &format!("source = \"direct\"\n{path}"));
    lab.project_with(&format!(
        "{text}\n[data.words]\nurl = \"https://127.0.0.1:1/words.txt\"\npath = \"words.txt\"\nsha256 = \"{}\"\n",
        "ab".repeat(32)
    ));
    lab.agile(&["trust", "--all"]).succeeds();
}

#[test]
fn of_servers_that_have_nothing() {
    let lab = Lab::new();
    let (fetching, given) = (lab.server("fetching"), lab.server("given"));
    let away = lab.server("away");
    two_sources(&lab);
    let before = [listing(&fetching), listing(&given)];
    for server in [&fetching, &given] {
        server.reset_counts();
    }
    let seen = foreseen(&lab, &[]);
    for server in [&fetching, &given] {
        assert_eq!(server.sessions(), 1, "one call");
    }
    for (index, source) in ["origin", "direct"].into_iter().enumerate() {
        let server = &seen[index];
        assert_eq!(server["source"], source);
        assert_eq!(server["error"], Value::Null);
        let commit = &server["commits"][0];
        assert_eq!(commit["id"], lab.head());
        assert_eq!(commit["there"], false);
        let objects = lab.git(&["rev-list", "--objects", "--count", "HEAD"]);
        assert_eq!(commit["pack"]["objects"].to_string(), objects.stdout.trim());
        assert_eq!(server["transfer"], commit["pack"]["bytes"]);
        assert_eq!(server["environment"]["ready"], false);
        assert_eq!(
            server["data"],
            json!([{ "name": "words", "state": "download", "bytes": null }])
        );
        assert_eq!(server["runs"].as_array().unwrap().len(), 2);
        assert_eq!(server["runs"][0]["action"], "launch");
        assert_eq!(server["runs"][0]["state"], Value::Null);
    }
    assert_eq!(before, [listing(&fetching), listing(&given)]);
    let refs = lab.git(&["for-each-ref", "refs/agile"]);
    assert_eq!(refs.stdout, "", "nothing was recorded");

    // One that cannot be reached is said, and the others are shown.
    let text = lab.read("agile.toml");
    let text = text.replace(
        "servers = [\"fetching\",",
        "servers = [\"away\", \"fetching\",",
    );
    lab.write(
        "agile.toml",
        &format!("[servers.away]\nhost = \"away\"\npath = \"~/x\"\n{text}"),
    );
    lab.commit("Use one more");
    lab.agile(&["trust", "--all"]).succeeds();
    away.stop();
    let shown = lab.agile(&["deploy", "--dry-run"]);
    shown
        .ends_with(4)
        .complains("away: cannot connect to away")
        .says("away (away:~/x)")
        .says("given (given:~/agile/proj)\n  commit")
        .says(": fetch from origin:proj.git: ")
        .says(": send: ")
        .says("data words: download")
        .says("): build\n")
        .complains("is not known to be on origin yet: git agile push");
    assert_eq!(before, [listing(&fetching), listing(&given)]);
}

#[test]
fn of_servers_that_have_all_or_some() {
    let lab = Lab::new();
    let server = lab.server("box");
    let text = configuration(&["box"], "grid = { lr = [0.1, 0.2] }");
    lab.project_with(&text.replace("path = ", "source = \"direct\"\npath = "));
    lab.agile(&["trust", "--all"]).succeeds();
    server.close_gate();
    lab.agile(&["deploy"]).succeeds();
    wait_until(20, "the launches", || server.launches() == 2);
    let seen = foreseen(&lab, &[]);
    assert_eq!(seen[0]["commits"][0]["there"], true);
    assert_eq!(seen[0]["transfer"], 0);
    assert_eq!(seen[0]["environment"]["ready"], true);
    let known = lab.agile(&["status", "--json"]).json();
    for (run, known) in [0, 1].map(|at| (&seen[0]["runs"][at], &known[at])) {
        assert_eq!(run["id"], known["id"]);
        assert_eq!(run["action"], Value::Null);
        assert_eq!(run["state"], "running");
    }
    server.open_gate();
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
    let shown = lab.agile(&["deploy", "--dry-run"]);
    shown.succeeds().says("already finished: succeeded");

    // The next commit builds on what is there, and needs another environment.
    lab.wheel("tiny", "1.0");
    lab.write("requirements.txt", "tiny==1.0\n");
    lab.commit("Need something");
    let before = listing(&server);
    let seen = foreseen(&lab, &[]);
    assert_eq!(
        seen[0]["commits"][0]["pack"]["objects"], 3,
        "a commit, a tree, a file"
    );
    assert_eq!(seen[0]["environment"]["ready"], false);
    assert_eq!(seen[0]["runs"][1]["action"], "launch");
    assert_eq!(listing(&server), before);
    let name = seen[0]["environment"]["name"].as_str().unwrap().to_string();
    let said = lab.agile(&["deploy"]);
    said.succeeds()
        .complains("2 runs started, environment built");
    server
        .sh(&format!("test -s ~/agile/proj/envs/{name}/ok"))
        .succeeds();
    lab.agile(&["wait", "--timeout", "60"]).succeeds();

    // What a deployment would fail of is said before.
    server.hide(&["git"]);
    lab.write("note.txt", "more");
    lab.commit("One more");
    lab.agile(&["deploy", "--dry-run"])
        .ends_with(5)
        .explains("box: there is no git on the server", "install git on box");
}

#[test]
fn of_many_servers_a_few_at_a_time() {
    let lab = Lab::new();
    let server = lab.server("box");
    let names: Vec<String> = (0..64).map(|number| format!("box{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    lab.project_with(
        &configuration(&names, "grid = { lr = [0.1] }")
            .replace("path = ", "source = \"direct\"\npath = "),
    );
    let alias = format!(
        "Host box?*\n  HostName 127.0.0.1\n  Port {}\n  HostKeyAlias box\n",
        server.port()
    );
    let known = std::fs::read_to_string(lab.ssh_config()).unwrap();
    std::fs::write(lab.ssh_config(), alias + &known).unwrap();
    lab.agile(&["trust", "--all"]).succeeds();
    let begun = server.home().join("begun");
    // Its end is noted before the client hears of it.
    server.set_filter(&format!(
        "#!/bin/sh\necho + >>{0}\nsaid=$(/bin/sh -c \"$1\")\necho - >>{0}\nprintf '%s\\n' \"$said\"\n",
        begun.display()
    ));
    for (value, said) in [("0", "`0` is no value"), ("many", "`many` is no value")] {
        lab.git(&["config", "agile.jobs", value]).succeeds();
        lab.agile(&["deploy", "--dry-run"])
            .ends_with(3)
            .explains(said, "git config agile.jobs 32");
    }
    lab.git(&["config", "agile.jobs", "3"]).succeeds();
    let seen = foreseen(&lab, &[]);
    let seen = seen.as_array().unwrap();
    assert_eq!(seen.len(), 64);
    assert!(seen.iter().all(|server| server["error"].is_null()));
    let (mut now, mut most, mut all) = (0, 0, 0);
    for line in std::fs::read_to_string(&begun).unwrap().lines() {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
        all += usize::from(line == "+");
    }
    assert_eq!(all, 64);
    assert!(most <= 3, "{most} at a time");
}
