//! The commands, as a person uses them.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use support::{Lab, Outcome, Running, configuration, sshd_gives_terminals, wait_until};

/// The example project with this `agile.toml`, on the git host, its servers agreed to. It needs no requirements, so that
/// its environment is there at once.
fn project(lab: &Lab, agile_toml: &str) {
    lab.project_with(agile_toml);
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.git(&["commit", "--quiet", "--amend", "--no-edit"])
        .succeeds();
    lab.agile(&["trust", "--all"]).succeeds();
    lab.git(&["push", "--quiet", "-u", "origin", "main"])
        .succeeds();
}

/// One server, `box`, and a run for each of these learning rates.
fn on_box(lab: &Lab, rates: &str) {
    lab.server("box");
    project(
        lab,
        &configuration(&["box"], &format!("grid = {{ lr = [{rates}] }}")),
    );
}

fn shell(lab: &Lab, text: &str) -> Outcome {
    lab.run("bash", &["-c", text])
}

/// The ids of the runs that are meant, in the order of `git agile status`.
fn ids(lab: &Lab, selection: &[&str]) -> Vec<String> {
    let outcome = lab.agile(&[&["status", "--json"], selection].concat());
    let runs = outcome.succeeds().json();
    let id = |run: &serde_json::Value| run["id"].as_str().expect("an id").to_owned();
    runs.as_array().expect("an array").iter().map(id).collect()
}

/// What a folder holds, byte for byte, with modes and times.
fn contents(lab: &Lab, folder: &Path) -> String {
    let list = "find . -path ./.git/objects -prune -o -path ./.git/index -prune -o -type f \
                -printf '%p %m %T@ ' -exec sha256sum {} \\; | sort";
    let text = format!("cd '{}' && {list}", folder.display());
    shell(lab, &text).succeeds().stdout.clone()
}

// ---- setting up ----------------------------------------------------------------------------------------------------

#[test]
fn init_asks_a_person() {
    let lab = Lab::new();
    let (server, origin) = (lab.server("box"), lab.origin());
    let project = lab.project_folder();
    fs::create_dir(&project).expect("make it");
    lab.git(&["init", "--quiet"]).succeeds();
    lab.git(&["remote", "add", "origin", &origin.url("proj.git")])
        .succeeds();
    lab.write("main.py", "print('hello from the server')\n");
    lab.write(".gitignore", "*.pyc");

    let terminal = lab.agile_in_terminal(&["init"]);
    terminal
        .shows("Where do experiments run? login@address, an ssh alias, or local [local]:")
        .enter("box");
    terminal
        .shows("What is that server called? [box]:")
        .enter("");
    terminal
        .shows("Which command runs the experiment? [python main.py]:")
        .enter("");
    assert_eq!(terminal.ends(), 0, "{terminal}");
    terminal.shows("Wrote agile.toml: the experiment `train` on box (box).");
    assert_eq!(
        lab.read(".gitignore"),
        "*.pyc\nresults/\nagile.local.toml\n"
    );
    lab.agile(&["install", "--check"]).succeeds();

    // It is a project now: the next thing that a person does works.
    lab.commit("Begin");
    lab.agile(&["push", "-u", "origin", "main"])
        .succeeds()
        .complains("box: 1 run started");
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["logs"]).says("hello from the server");
    assert_eq!(server.sh("ls agile/proj/runs").stdout.lines().count(), 1);

    let before = contents(&lab, &lab.home());
    lab.agile(&["init"])
        .succeeds()
        .complains("agile.toml is there; it stays as it is.");
    assert_eq!(contents(&lab, &lab.home()), before);
}

#[test]
fn init_takes_flags_where_nobody_can_be_asked() {
    let lab = Lab::new();
    let project = lab.project_folder();
    fs::create_dir(&project).expect("make it");
    lab.git(&["init", "--quiet"]).succeeds();
    lab.agile(&[
        "init",
        "--host",
        "me@gpu.example",
        "--server",
        "gpu",
        "--path",
        "/data/me",
        "--experiment",
        "fit",
        "--command",
        "python fit.py --note 'a \"b\"'",
    ])
    .succeeds()
    .complains("warning: there is no git remote `origin`")
    .complains("git remote add origin URL");
    lab.git(&["remote", "add", "origin", "git@host:p.git"])
        .succeeds();
    lab.commit("Begin");
    lab.agile(&["design"])
        .succeeds()
        .says("fit: 1 run on gpu\n  python fit.py --note 'a \"b\"'\n");
    lab.agile(&["deploy", "--dry-run"])
        .succeeds()
        .says("gpu (me@gpu.example:/data/me)");
    // Nobody agreed before there was a git host to fetch from.
    lab.agile(&["trust", "--list"]).says("no");
    let listed = lab.agile(&["trust", "--list", "--json"]).json();
    assert_eq!(
        (&listed[0]["server"], &listed[0]["agreed"]),
        (&"gpu".into(), &false.into()),
        "{listed}"
    );
    // The person's own file is read, or it is said why not.
    lab.run("mkdir", &["-p", "../.config/git-agile/config.toml"]);
    lab.agile(&["design"])
        .ends_with(3)
        .complains("git-agile/config.toml");
}

#[test]
fn hooks_are_chained_and_put_back() {
    let lab = Lab::new();
    on_box(&lab, "0.1");
    let hooks = lab.project_folder().join(".git/hooks");
    let note = |name: &str| {
        let path = hooks.join(name);
        let text = format!(
            "#!/bin/sh\n{{ echo {name} \"$@\"; [ {name} = pre-commit ] || cat; }} >>\"$HOME/noted\"\n"
        );
        fs::write(&path, text).expect("write the hook");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    let noted = || fs::read_to_string(lab.home().join("noted")).unwrap_or_default();
    lab.agile(&["install", "--check"])
        .ends_with(1)
        .explains("not installed: pre-commit, post-push", "git agile install");
    note("pre-commit");
    note("post-push");
    let before = contents(&lab, &hooks);

    // Without ours, a person's own post-push hook runs before the deployment.
    lab.agile(&["push"])
        .succeeds()
        .complains("box: 1 run started");
    let head = lab.head();
    let zero = "0".repeat(40);
    let told = format!(
        "post-push origin origin:proj.git\nrefs/heads/main {head} refs/heads/main {zero}\n"
    );
    assert_eq!(noted(), told);

    for _ in 0..2 {
        lab.agile(&["install"]).succeeds();
        lab.agile(&["install", "--check"]).succeeds();
    }
    lab.write(
        "train.py",
        &lab.read("train.py").replace("done", "finished"),
    );
    let head = lab.commit("Change a word");
    lab.agile(&["push"])
        .succeeds()
        .complains("box: 1 run started");
    let told = format!(
        "{told}pre-commit\npost-push origin origin:proj.git\nrefs/heads/main {head} refs/heads/main {zero}\n"
    );
    assert_eq!(noted(), told);
    lab.agile(&["wait", "--all"]).succeeds();
    let quiet = lab.agile(&["-q", "push"]);
    assert_eq!(quiet.succeeds().stderr, "Everything up-to-date\n");

    // A hook that says no is obeyed.
    let prior = hooks.join("post-push.agile-prior");
    let kept = fs::read(&prior).expect("it was moved aside");
    fs::write(&prior, "#!/bin/sh\nexit 7\n").expect("write the hook");
    lab.commit_nothing("Nothing");
    lab.agile(&["push"]).ends_with(7);
    assert_eq!(lab.server("box").launches(), 2);
    fs::write(&prior, kept).expect("put it back");

    lab.agile(&["uninstall"])
        .succeeds()
        .complains("Removed: pre-commit, post-push.");
    let without_times = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| {
                let fields: Vec<_> = line.split(' ').collect();
                [fields[0], fields[1], fields[3]].join(" ")
            })
            .collect()
    };
    assert_eq!(
        without_times(&contents(&lab, &hooks)),
        without_times(&before)
    );
    lab.agile(&["uninstall"])
        .succeeds()
        .complains("not installed");
}

// ---- pushing -------------------------------------------------------------------------------------------------------

/// Whatever a person gives to `git push`, they see the same and get the same status.
#[test]
fn push_is_git_push() {
    let lab = Lab::new();
    lab.server("box");
    let quiet = configuration(&["box"], "grid = { lr = [0.1] }") + "[push]\nlaunch = \"never\"\n";
    project(&lab, &quiet);
    let origin = lab.origin();
    lab.git(&["tag", "v1"]).succeeds();
    lab.git(&["tag", "-a", "-m", "two", "v2"]).succeeds();
    for branch in ["old", "much/longer-name"] {
        lab.git(&["branch", branch]).succeeds();
    }
    lab.git(&["push", "--quiet", "origin", "old"]).succeeds();
    // Somebody else was faster on `busy`; we rewrote `mine`.
    lab.git(&["checkout", "--quiet", "-b", "busy"]).succeeds();
    lab.commit_nothing("Theirs");
    lab.git(&["push", "--quiet", "origin", "busy", "busy:mine"])
        .succeeds();
    lab.git(&[
        "commit",
        "--quiet",
        "--amend",
        "--allow-empty",
        "-m",
        "Ours",
    ])
    .succeeds();
    lab.git(&["branch", "mine"]).succeeds();
    lab.git(&["checkout", "--quiet", "main"]).succeeds();
    lab.commit_nothing("New");
    origin.sh("cp -a proj.git saved.git").succeeds();
    // Without ssh in between it is quicker.
    let url = origin.home().join("proj.git");
    lab.git(&["remote", "set-url", "origin", &url.to_string_lossy()])
        .succeeds();
    let project = lab.project_folder();
    shell(&lab, "cp -a . ../saved").succeeds();

    let push = |command: &[&str], line: &str| {
        origin
            .sh("rm -rf proj.git && cp -a saved.git proj.git")
            .succeeds();
        shell(&lab, "find . -mindepth 1 -delete && cp -a ../saved/. .").succeeds();
        let words: Vec<_> = command
            .iter()
            .copied()
            .chain(line.split_whitespace())
            .collect();
        let outcome = lab.run("git", &words);
        let refs = origin.sh("git -C proj.git for-each-ref").stdout;
        let config = fs::read_to_string(project.join(".git/config")).expect("read it");
        (outcome, refs, config)
    };
    for line in [
        "",
        "-u origin main",
        "origin",
        "origin main",
        "-n",
        "--dry-run origin main busy",
        "-q",
        "-q origin busy",
        "origin --tags",
        "--follow-tags",
        "origin :old",
        "--delete origin old v1",
        "origin main:other",
        "origin HEAD",
        "origin busy",
        "origin main busy much/longer-name v1",
        "-f origin mine",
        "origin +mine",
        "--force-with-lease origin mine",
        "origin nosuch",
        "nowhere main",
        "--all",
        "--all -q",
        "--prune origin refs/heads/*:refs/heads/*",
        "--porcelain origin main busy",
        "-v origin main old",
        "origin old",
        "--atomic origin main busy",
        "--mirror",
        "--nonsense",
        "--no-verify origin main",
        "--receive-pack git-receive-pack origin main",
        "origin -- main",
        "--set-upstream origin old",
        "-o x origin main",
        "origin main:refs/notes/x",
        "origin v1:refs/tags/v3",
    ] {
        let (plain, refs, config) = push(&["push"], line);
        let (ours, our_refs, our_config) = push(&["agile", "-q", "push"], line);
        assert_eq!(our_refs, refs, "{line}:\n{plain}\n{ours}");
        assert_eq!(our_config, config, "{line}");
        assert_eq!(
            (&ours.stdout, ours.code),
            (&plain.stdout, plain.code),
            "{line}"
        );
        // What else git has to say then comes before the refs here: we cannot hold it back.
        let mut said: Vec<_> = ours.stderr.lines().collect();
        let mut wanted: Vec<_> = plain.stderr.lines().collect();
        if plain.code != Some(0) || line.starts_with("-v") {
            said.sort_unstable();
            wanted.sort_unstable();
        }
        assert_eq!(said, wanted, "git push {line}");
    }
}

#[test]
fn only_what_arrived_on_a_branch_is_deployed() {
    let lab = Lab::new();
    on_box(&lab, "0.1");
    let server = lab.server("box");
    lab.git(&["tag", "v1"]).succeeds();
    lab.git(&["push", "--quiet", "origin", "main:old"])
        .succeeds();
    lab.commit_nothing("New");
    for line in [
        &["push", "-n"][..],
        &["push", "--dry-run", "origin", "main"],
        &["push", "origin", "--tags"],
        &["push", "origin", ":old"],
    ] {
        lab.agile(line).succeeds().never_says("started");
    }
    let hook = lab.origin().home().join("proj.git/hooks/update");
    fs::write(&hook, "#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n").expect("write the hook");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("it is ours");
    lab.agile(&["push"])
        .ends_with(1)
        .complains("remote: not on a Friday")
        .complains("! [remote rejected] main -> main (hook declined)")
        .never_says("started");
    fs::remove_file(hook).expect("remove the hook");
    assert_eq!(server.launches(), 0);
    assert_eq!(server.sh("ls agile").code, Some(2), "nothing was made");

    // The deployment fails after the push; a push that has nothing left to do takes it up again.
    server.stop();
    lab.kill_masters();
    lab.agile(&["push"]).ends_with(4).complains("main -> main");
    server.start();
    lab.agile(&["push"])
        .succeeds()
        .complains("Everything up-to-date")
        .complains("box: 1 run started");
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["push"])
        .succeeds()
        .complains("already finished as train-");
    lab.commit_nothing("Quiet");
    let quiet = lab.agile(&["-q", "push", "-q"]);
    assert_eq!(
        (quiet.succeeds().stdout.as_str(), quiet.stderr.as_str()),
        ("", "")
    );
    lab.agile(&["wait"]).succeeds();
    assert_eq!(server.launches(), 2);
}

// ---- looking -------------------------------------------------------------------------------------------------------

#[test]
fn status_groups_runs_by_push_and_tells_programs_all() {
    let lab = Lab::new();
    on_box(&lab, "0.1, 0.2");
    lab.agile(&["push"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    let first = lab.head()[..7].to_owned();
    lab.write(
        "train.py",
        &lab.read("train.py").replace("done", "finished"),
    );
    let second = lab.commit("Another word")[..7].to_owned();
    lab.agile(&["push"]).succeeds();
    lab.agile(&["wait"]).succeeds();

    let runs = ids(&lab, &["--all"]);
    let newest = &runs[2..];
    assert_eq!(ids(&lab, &[]), newest);
    assert_eq!(ids(&lab, &["@"]), runs[3..]);
    assert_eq!(ids(&lab, &["--sprint", &first]), runs[..2]);
    assert_eq!(ids(&lab, &["-e", "train", "-s", "box"]), runs);
    let unique = &runs[0][..runs[0].len() - 2];
    assert_eq!(
        ids(&lab, &[unique, "@", &runs[0]]),
        [runs[0].clone(), runs[3].clone()]
    );
    lab.agile(&["show", "train-"])
        .ends_with(2)
        .explains("`train-` means 4 runs", &runs[0]);

    let text = lab.agile(&["status", "--all"]).succeeds().stdout.clone();
    let shape: Vec<String> = text
        .lines()
        .map(|line| {
            let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            if line.starts_with(|c: char| c.is_ascii_hexdigit()) {
                words.drain(1..3); // date and time
            } else if line.starts_with("  train-") && words.len() == 5 {
                words.remove(3); // how long it took, where somebody saw it begin
            }
            words.join(" ")
        })
        .collect();
    let row = |run: &str, lr: &str| format!("{run} box succeeded lr={lr}");
    assert_eq!(
        shape,
        [
            format!("{first} A line, fitted"),
            "RUN SERVER STATE TIME PARAMETERS NOTE".into(),
            row(&runs[0], "0.1"),
            row(&runs[1], "0.2"),
            String::new(),
            format!("{second} Another word"),
            "RUN SERVER STATE TIME PARAMETERS NOTE".into(),
            row(&runs[2], "0.1"),
            row(&runs[3], "0.2"),
        ]
    );
    lab.agile(&["status"])
        .complains("2 ended, not fetched: git agile fetch-results");

    let json = lab.agile(&["show", "--json"]).json();
    let keys: BTreeSet<&str> = json
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let documented = [
        "schema",
        "id",
        "experiment",
        "commit",
        "subject",
        "attempt",
        "parameters",
        "command",
        "server",
        "environment",
        "data",
        "results",
        "metrics",
        "sprint",
        "order",
        "asked",
        "by",
        "state",
        "since",
        "started",
        "exit",
        "report",
        "seen",
    ];
    assert_eq!(keys, BTreeSet::from(documented));
    assert_eq!(
        json["server"],
        serde_json::json!({ "name": "box", "host": "box", "path": "~/agile/proj" })
    );
    assert_eq!(
        (json["state"].as_str(), json["exit"].as_i64()),
        (Some("succeeded"), Some(0))
    );
    assert_eq!(json["parameters"], serde_json::json!({ "lr": 0.2 }));
    assert_eq!(lab.agile(&["status", "--json", "@"]).json()[0], json);
    let shown = lab.agile(&["show"]).succeeds().stdout.clone();
    for line in [
        format!("run          {}", runs[3]),
        "state        succeeded".into(),
        "parameters   lr=0.2".into(),
        "command      python train.py --lr 0.2".into(),
        format!("commit       {} Another word", lab.head()),
        "server       box (box:~/agile/proj)".into(),
        "exit         0".into(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
}

#[test]
fn nobody_is_contacted_without_agreement() {
    let lab = Lab::new();
    lab.server("box");
    lab.server("box2");
    let grid = "grid = { lr = [0.1, 0.2], name = [\"a b\"] }\nset = { epochs = 3 }";
    lab.project_with(
        &configuration(&["box", "box2"], grid)
            .replace("{lr}", "{lr} --name {name} --epochs {epochs}"),
    );
    let command = |lr: &str| format!("python train.py --lr {lr} --name 'a b' --epochs 3");
    let designed = lab.agile(&["design"]);
    assert_eq!(
        designed.succeeds().stdout,
        format!(
            "train: 4 runs on box, box2\n  {}\n  {}\n",
            command("0.1"),
            command("0.2")
        )
    );
    let json = lab.agile(&["design", "--json"]).json();
    assert_eq!(
        json[1],
        serde_json::json!({
            "experiment": "train", "servers": ["box", "box2"],
            "parameters": { "epochs": 3, "lr": 0.2, "name": "a b" }, "command": command("0.2"),
        })
    );
    let plan = lab.agile(&["deploy", "--dry-run", "-s", "box2", "--set", "lr=5"]);
    let lines: Vec<_> = plan.succeeds().stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{plan}");
    assert_eq!(lines[0], "box2 (box2:~/agile/proj)");
    assert!(
        lines[1].starts_with("  train-") && lines[1].ends_with(&command("5")),
        "{plan}"
    );
    plan.complains("warning: box2: not contacted")
        .complains("hint: git agile trust box2");
    for name in ["box", "box2"] {
        assert_eq!(lab.server(name).connections(), 0);
    }
    let refs = lab.git(&["for-each-ref", "refs/agile"]);
    assert_eq!(refs.succeeds().stdout, "");
}

#[test]
fn logs_are_what_the_run_wrote() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project_with(&configuration(&["box"], "grid = { lr = [0.1] }"));
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.write(
        "train.py",
        "import os, pathlib, time\n\
         os.write(1, bytes(range(256)) + b'\\n\\x1b[2J\\xff')\n\
         while not pathlib.Path.home().joinpath('go').exists(): time.sleep(0.02)\n\
         os.write(2, b'\\nlast words\\nwithout an end')\n",
    );
    lab.commit("Bytes");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    let begun: Vec<u8> = (0..=255).chain(*b"\n\x1b[2J\xff").collect();
    wait_until(10, "the first bytes", || {
        lab.agile(&["logs"]).bytes == begun
    });

    // What has lost its connection has not come to the run's end.
    let terminal = lab.agile_in_terminal(&["logs", "-f"]);
    terminal.shows("\\x1b[2J\\xff");
    assert!(server.kill_connections() > 0);
    assert_eq!(terminal.ends(), 4, "{terminal}");
    terminal.shows("error: box: the connection was lost");
    terminal.shows("hint: git agile logs -f train-");

    let following = lab.start_agile(&["logs", "-f", "-n", "1000"]);
    let terminal = lab.agile_in_terminal(&["logs", "-f"]);
    terminal.shows("\\x1b[2J\\xff");
    server.sh("touch go").succeeds();
    let all = [&begun[..], b"\nlast words\nwithout an end"].concat();
    assert_eq!(following.finish().bytes, all);
    assert_eq!(terminal.ends(), 0, "{terminal}");
    terminal.shows("without an end");
    assert_eq!(lab.agile(&["logs"]).bytes, all);
    assert_eq!(
        lab.agile(&["logs", "-n", "2"]).stdout,
        "last words\nwithout an end"
    );
    let after = lab.agile(&["logs", "-f", "-n", "1"]);
    assert_eq!(after.succeeds().stdout, "without an end");
}

#[test]
fn a_folder_that_is_gone_is_said() {
    let lab = Lab::new();
    let server = lab.server("box");
    server.close_gate();
    lab.project_with(&configuration(&["box"], "grid = { lr = [0.1] }"));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["status"]).says("running");
    let away = server.home().join("away");
    fs::rename(server.home().join("agile"), &away).unwrap();
    let said = "box: the folder of train-";
    lab.agile(&["status"]).says("running").complains(said);
    lab.agile(&["wait", "--timeout", "1"])
        .ends_with(5)
        .complains(said);
    // It may have been a disk that was not mounted.
    fs::rename(&away, server.home().join("agile")).unwrap();
    let status = lab.agile(&["status"]);
    assert!(!status.says("running").stderr.contains("gone"), "{status}");
    server.open_gate();
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["fetch-results"]).succeeds();

    server.close_gate();
    lab.agile(&["deploy", "--again"]).succeeds();
    fs::rename(server.home().join("agile"), &away).unwrap();
    lab.agile(&["stop", "--yes"])
        .ends_with(5)
        .explains("box: there is no ~/agile/proj", "is it mounted there?");
    lab.agile(&["status"]).says("running");
    lab.agile(&["stop", "--gone", "--yes"])
        .succeeds()
        .complains("stopped, for its folder is gone");
    server.open_gate();
    lab.agile(&["fetch-results"]).succeeds();
    lab.agile(&["status"])
        .says("by a person; its folder was gone");
}

#[test]
fn another_clones_run_is_not_stopped_along() {
    let lab = Lab::new();
    let server = lab.server("box");
    server.close_gate();
    let text = configuration(&["box"], "grid = { lr = [0.1] }");
    lab.project_with(&text.replace("path = \"~/agile/proj\"\n", ""));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    // A clone in a folder of another name has a folder of its own on the server, and there a run of the same id.
    let other = "git clone -q \"$(git remote get-url origin)\" ../other && cd ../other && git agile trust --all && \
                 git agile deploy && git agile stop --yes";
    lab.run("sh", &["-c", other])
        .succeeds()
        .complains("stopped");
    assert_eq!(server.launches(), 2);
    lab.agile(&["status"]).says("running");
    server.open_gate();
    lab.agile(&["wait"]).succeeds();

    // A server that was renamed is still known by the name that its runs have.
    lab.agile(&["ssh", "old", "true"]).ends_with(2);
    let text = lab.read("agile.toml");
    lab.write(
        "agile.toml",
        &text
            .replace("[servers.box]", "[servers.new]")
            .replace("[\"box\"]", "[\"new\"]"),
    );
    lab.commit("Rename the server");
    lab.agile(&["ssh", "box", "true"]).succeeds();
}

// ---- steering ------------------------------------------------------------------------------------------------------

#[test]
fn a_person_sits_down_at_a_run() {
    if !sshd_gives_terminals() {
        eprintln!("skipped: an ordinary user's sshd cannot give out terminals on this machine");
        return;
    }
    for (launcher, prefix) in [("screen", "C-a"), ("tmux", "C-b")] {
        let lab = Lab::new();
        let server = lab.server("box");
        let text = configuration(&["box"], "grid = { lr = [0.1] }");
        server.close_gate();
        project(
            &lab,
            &text.replace("path =", &format!("launcher = \"{launcher}\"\npath =")),
        );
        lab.agile(&["push"]).succeeds();

        let terminal = lab.agile_in_terminal(&["attach"]);
        terminal.shows("waiting at the gate").keys(&[prefix, "d"]);
        assert_eq!(terminal.ends(), 0, "{terminal}");
        lab.agile(&["status"]).says("running");

        let terminal = lab.agile_in_terminal(&["attach"]);
        terminal.shows("waiting at the gate").keys(&["C-c"]);
        assert_eq!(terminal.ends(), 0, "{terminal}");
        lab.agile(&["wait"]).ends_with(1);
        lab.agile(&["status"])
            .says("failed (130)")
            .says("interrupted");
        lab.agile(&["logs"]).says("KeyboardInterrupt");

        let terminal = lab.agile_in_terminal(&["attach"]);
        terminal
            .shows("error: run train-")
            .shows("cannot be attached: failed (130)")
            .shows("hint: git agile logs train-");
        assert_eq!(terminal.ends(), 2, "{terminal}");
    }
}

#[test]
fn stop_asks_and_wait_tells() {
    let lab = Lab::new();
    on_box(&lab, "0.1, 0.2");
    let server = lab.server("box");
    server.close_gate();
    lab.agile(&["push"]).succeeds();
    let runs = ids(&lab, &[]);
    lab.agile(&["wait", "--timeout", "0"])
        .ends_with(5)
        .explains("2 of 2 runs had not ended after 0 s", "git agile status");
    lab.agile(&["stop", "@"]).ends_with(2).explains(
        "stop asks first, and there is no terminal",
        "git agile stop --yes",
    );

    let terminal = lab.agile_in_terminal(&["stop", &runs[0]]);
    terminal
        .shows(&runs[0])
        .shows("Stop 1 run? [y/N]:")
        .enter("n");
    assert_eq!(terminal.ends(), 0, "{terminal}");
    lab.agile(&["status", &runs[0]]).says("running");
    let terminal = lab.agile_in_terminal(&["stop", &runs[0]]);
    terminal.shows("Stop 1 run? [y/N]:").enter("y");
    assert_eq!(terminal.ends(), 0, "{terminal}");
    terminal.shows(&format!("{}: stopped", runs[0]));
    lab.agile(&["wait", &runs[0]]).ends_with(1).explains(
        "1 of 1 run did not succeed",
        &format!("git agile logs {}", runs[0]),
    );
    lab.agile(&["status", &runs[1]]).says("running");

    let waiting = lab.start_agile(&["wait", &runs[1]]);
    server.open_gate();
    let waited = waiting.finish();
    waited
        .succeeds()
        .complains(&format!("{}: succeeded", runs[1]));
    lab.agile(&["stop", "--yes"])
        .succeeds()
        .complains("None of these runs is going on.");
    let fails = lab
        .read("agile.toml")
        .replace("train.py", "train.py --fail");
    lab.write("agile.toml", &fails);
    lab.commit("Fail");
    lab.agile(&["push"]).succeeds();
    lab.agile(&["wait"])
        .ends_with(1)
        .explains("2 of 2 runs did not succeed", "git agile logs");
    lab.agile(&["status"]).says("failed (1)");
}

#[test]
fn agreements_are_given_shown_and_taken_back() {
    let lab = Lab::new();
    let (server, _) = (lab.server("box"), lab.server("box2"));
    lab.project(&["box", "box2"]);
    let agreed = || -> Vec<String> {
        let list = lab.agile(&["trust", "--list"]);
        let rows = list.succeeds().stdout.lines().skip(1);
        rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert_eq!(agreed(), ["box box origin no", "box2 box2 origin no"]);
    lab.agile(&["ssh", "box", "true"])
        .ends_with(3)
        .explains("not agreed yet to the server 'box'", "git agile trust box");
    lab.agile(&["trust", "box"])
        .succeeds()
        .complains("box: box, fetching from origin");
    assert_eq!(agreed(), ["box box origin yes", "box2 box2 origin no"]);

    let outcome = lab.agile(&["ssh", "box", "echo \"$HOME\"; exit 3"]);
    outcome.ends_with(3);
    assert_eq!(outcome.stdout, format!("{}\n", server.home().display()));
    let outcome = lab.agile(&["ssh", "box", "printf", "%s,", "a", "-n"]);
    assert_eq!(outcome.succeeds().stdout, "a,-n,");
    let terminal = lab.terminal(&["sh", "-c", "git agile ssh box 'echo plain' >plain"]);
    assert_eq!(terminal.ends(), 0, "{terminal}");
    assert_eq!(
        lab.read("plain"),
        "plain\n",
        "byte for byte, though typed on a terminal"
    );
    assert_eq!(server.connections(), 1, "one connection for all of them");

    lab.agile(&["trust", "--revoke", "box"])
        .succeeds()
        .complains("box is no longer contacted");
    assert_eq!(agreed(), ["box box origin no", "box2 box2 origin no"]);
    lab.agile(&["ssh", "box", "true"]).ends_with(3);

    // On a terminal the question comes when it is needed.
    let terminal = lab.agile_in_terminal(&["ssh", "box", "echo inside"]);
    terminal
        .shows("May this repository run programs on `box` (box), fetching from origin? [y/N]:")
        .enter("y");
    let status = terminal.ends();
    if sshd_gives_terminals() {
        terminal.shows("inside");
        assert_eq!(status, 0, "{terminal}");
    }
    assert_eq!(agreed()[0], "box box origin yes");
    let terminal = lab.agile_in_terminal(&["ssh", "box2", "echo inside"]);
    terminal.shows("[y/N]:").enter("");
    assert_eq!(terminal.ends(), 3, "{terminal}");
    assert_eq!(lab.server("box2").connections(), 0);
}

// ---- results -------------------------------------------------------------------------------------------------------

#[test]
fn results_that_are_no_files_stay_where_they_are() {
    let lab = Lab::new();
    on_box(&lab, "0.1");
    lab.agile(&["push"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    let run = ids(&lab, &[]).remove(0);
    let server = lab.server("box");
    fs::write(server.home().join("secret"), "secret").expect("write it");
    let made = format!(
        "cd agile/proj/runs/{run}/code/results && ln -s ~/secret link && ln -s .. up && mkfifo pipe && \
         mkdir .git && echo x >.git/config && echo fine >'a b.txt'"
    );
    server.sh(&made).succeeds();
    let fetched = lab.agile(&["fetch-results"]);
    fetched.ends_with(5).complains("verified");
    let complaints = |word: &str| {
        fetched
            .stderr
            .lines()
            .filter(|line| line.starts_with(word))
            .count()
    };
    for name in ["results/link", "results/pipe", "results/.git"] {
        fetched.complains(&format!("error: box: {run}: {name}"));
    }
    fetched.complains("no file among the results (likewise results/up)\n");
    assert_eq!(complaints("error:"), 3, "{fetched}");
    assert_eq!(complaints("hint:"), 3, "{fetched}");
    let here = lab.project_folder().join("results").join(&run);
    assert_eq!(
        fs::read_to_string(here.join("results/a b.txt"))
            .ok()
            .as_deref(),
        Some("fine\n")
    );
    assert!(here.join("results/metrics.json").exists());
    for name in ["link", "up", "pipe", ".git"] {
        assert!(
            fs::symlink_metadata(here.join("results").join(name)).is_err(),
            "{name}"
        );
    }
    lab.agile(&["fetch-results", "@"])
        .ends_with(5)
        .complains("box: nothing new; 3 files here already");
    lab.agile(&["review"])
        .succeeds()
        .says("loss")
        .says("succeeded");
    let json = lab.agile(&["review", "--format", "json"]).json();
    assert_eq!(json[0]["run"].as_str(), Some(run.as_str()));
    assert!(json[0]["metrics"]["loss"].is_number(), "{json}");

    // Where a link of ours is in the way, nothing is written through it.
    fs::remove_dir_all(lab.project_folder().join("results")).expect("remove it");
    let away = lab.home().join("away");
    fs::create_dir(&away).expect("make it");
    symlink(&away, lab.project_folder().join("results")).expect("link it");
    lab.agile(&["fetch-results", &run])
        .ends_with(5)
        .complains("error: ")
        .complains("hint: ");
    assert_eq!(fs::read_dir(&away).expect("read it").count(), 0);
}

// ---- help and the demonstration ------------------------------------------------------------------------------------

#[test]
fn every_command_has_help_that_fits() {
    let lab = Lab::new();
    let top = lab.run("git-agile", &["--help"]);
    let commands: Vec<&str> = top
        .succeeds()
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 18, "{commands:?}");
    for command in commands.iter().filter(|name| **name != "help") {
        for flag in ["-h", "--help"] {
            let outcome = lab.agile(&[command, flag]);
            let text = &outcome.succeeds().stdout;
            assert!(
                text.contains(&format!("Usage: git agile {command}")),
                "{outcome}"
            );
            assert!(
                text.lines().all(|line| line.chars().count() <= 100),
                "{outcome}"
            );
            assert_eq!(outcome.stderr, "");
        }
    }
    assert!(
        top.stdout.lines().all(|line| line.chars().count() <= 100),
        "{top}"
    );
    lab.run("git-agile", &["--version"])
        .succeeds()
        .says("git-agile 0.");
}

#[test]
fn the_demonstration_is_the_whole_loop() {
    let lab = Lab::new();
    let demo = lab.run("sh", &["-c", "cd && git agile demo 2>&1"]);
    demo.succeeds();
    let shown: Vec<&str> = demo
        .stdout
        .lines()
        .filter(|line| line.starts_with(['$', '#']))
        .collect();
    let commands: Vec<&str> = shown
        .iter()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    for command in [
        "git commit -q -m 'Fit a line by gradient descent'",
        "git agile push -u origin main",
        "git agile status",
        "git agile wait",
        "git agile logs -n 3 @",
        "git agile fetch-results",
        "git agile review --sort loss",
    ] {
        assert!(commands.contains(&command), "{command}\n{demo}");
    }
    demo.says("here: 3 runs started, environment built")
        .says("here: 9 files")
        .never_says("error:")
        .never_says("warning:");
    let table: Vec<&str> = demo
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("RUN"))
        .collect();
    assert!(
        table[0].contains("STATE") && table[0].contains("loss"),
        "{demo}"
    );
    assert_eq!(
        table
            .iter()
            .filter(|line| line.contains("succeeded"))
            .count(),
        3,
        "{demo}"
    );
    let results = lab.home().join("git-agile-demo/project/results");
    assert_eq!(fs::read_dir(results).expect("it is there").count(), 3);
    lab.run("sh", &["-c", "cd && git agile demo"])
        .ends_with(2)
        .explains("git-agile-demo is not empty", "git agile demo OTHER-FOLDER");
}

/// ^D, ^C and a window that is closed end a question without doing anything.
#[test]
fn a_question_can_be_left_unanswered() {
    let lab = Lab::new();
    lab.server("box");
    lab.project(&["box"]);
    for (key, status) in [("C-d", 130), ("C-c", 130)] {
        let terminal = lab.agile_in_terminal(&["ssh", "box", "true"]);
        terminal.shows("[y/N]:").keys(&[key]);
        assert_eq!(terminal.ends(), status, "{terminal}");
    }
    assert_eq!(lab.server("box").connections(), 0);
    let mut asking = lab.command("git-agile");
    asking.args(["ssh", "box", "true"]).stdin(Stdio::null());
    Running::start(&mut asking).finish().ends_with(3);
}
