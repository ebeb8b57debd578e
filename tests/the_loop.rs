//! The whole loop: commit, requirements, push, remote run, results home.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use git_agile::deployment::protocol::Answer;
use git_agile::deployment::scripts;
use git_agile::model::names::{RemotePath, RunId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use support::script::{has, one_run, through};
use support::{Lab, Server, configuration, wait_until};

// ---- what a person would look up -----------------------------------------------------------------------------------

/// The runs as `git agile status --all --json` shows them.
#[track_caller]
fn runs(lab: &Lab) -> Vec<Value> {
    let Value::Array(runs) = lab.agile(&["status", "--all", "--json"]).succeeds().json() else {
        panic!("status --json prints an array");
    };
    runs
}

/// The one run of `commit` on `server`.
#[track_caller]
fn run_of(lab: &Lab, server: &str, commit: &str) -> Value {
    let mut found = runs(lab);
    found.retain(|run| run["server"]["name"] == server && run["commit"] == commit);
    assert_eq!(found.len(), 1, "one run of {commit} on {server}: {found:?}");
    found.remove(0)
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("a run has an id")
}

/// The run's folder on the server.
fn folder(server: &Server, id: &str) -> PathBuf {
    server.home().join("agile/proj/runs").join(id)
}

#[track_caller]
fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {path:?}: {error}"))
}

/// The environments of a server: name, and the content and inode of its mark, which a second build would change.
fn environments(server: &Server) -> BTreeMap<String, Option<(String, u64)>> {
    let folder = server.home().join("agile/proj/envs");
    let entries = fs::read_dir(folder).expect("there are environments");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let mark = path.join("ok");
            let mark = fs::metadata(&mark)
                .ok()
                .map(|data| (read(mark), data.ino()));
            let name = path.file_name().expect("a name").to_string_lossy();
            (name.into_owned(), mark)
        })
        .collect()
}

fn records(lab: &Lab) -> String {
    lab.git(&["for-each-ref", "refs/agile/runs"])
        .succeeds()
        .stdout
        .clone()
}

/// Pushes with git alone, so that nothing is launched.
fn push_quietly(lab: &Lab) {
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
}

// ---- the loop ------------------------------------------------------------------------------------------------------

#[test]
fn from_the_commit_to_the_results() {
    let lab = Lab::new();
    let servers = [lab.server("box"), lab.server("lab2")];
    lab.project(&["box", "lab2"]);
    lab.wheel("tiny", "1.2");
    lab.write(".git/info/exclude", ".venv/\n");
    lab.run("python3", &["-m", "venv", ".venv"]).succeeds();
    lab.run(".venv/bin/python", &["-m", "pip", "install", "-q", "tiny"])
        .succeeds();

    // $ git agile init, and a commit through the hook that it installed
    let before = lab.read("agile.toml");
    lab.agile(&["init"])
        .succeeds()
        .complains("it stays as it is");
    assert_eq!(lab.read("agile.toml"), before);
    lab.write(
        "train.py",
        &format!(
            "import tiny\n{}print('tiny', tiny.__version__)\n",
            lab.read("train.py")
        ),
    );
    lab.git(&["commit", "--quiet", "-a", "-m", "Use tiny"])
        .succeeds();
    let commit = lab.head();
    lab.git(&["show", "HEAD:requirements.txt"])
        .says("tiny==1.2\n");
    assert_eq!(lab.git(&["status", "--porcelain"]).stdout, "");

    // $ git agile push, which needs consent first
    lab.agile(&["push", "-u", "origin", "main"])
        .ends_with(3)
        .complains("hint: git agile trust box");
    assert!(servers.iter().all(|server| server.connections() == 0));
    assert_eq!(records(&lab), "");
    lab.agile(&["trust", "--all"]).succeeds();
    servers.iter().for_each(|server| server.close_gate());
    let pushed = lab.agile(&["push"]);
    pushed.succeeds();
    for server in &servers {
        pushed.complains(&format!(
            "{}: 1 run started, environment built",
            server.name()
        ));
        wait_until(20, "the launch", || server.launches() == 1);
        let run = run_of(&lab, server.name(), &commit);
        assert_eq!(run["state"], "running");
        server.sh("screen -ls").says(&format!(".{}\t", id(&run)));
        let folder = folder(server, id(&run));
        let there = format!("git -C {}/code rev-parse HEAD", folder.display());
        server.sh(&there).succeeds().says(&commit);
        let asked: Value = serde_json::from_str(&read(folder.join("run.json"))).expect("JSON");
        for key in ["id", "commit", "parameters", "command", "environment"] {
            assert_eq!(asked[key], run[key], "{key}");
        }
        assert_eq!(asked["parameters"], json!({ "lr": 0.1 }));
    }

    // $ git agile wait; git agile fetch-results
    servers.iter().for_each(|server| server.open_gate());
    lab.agile(&["wait"]).succeeds();
    let fetched = lab.agile(&["fetch-results"]);
    fetched.succeeds();
    for server in &servers {
        fetched.complains(&format!("{}: ", server.name()));
        let run = run_of(&lab, server.name(), &commit);
        assert_eq!(
            (&run["state"], &run["exit"]),
            (&json!("succeeded"), &json!(0))
        );
        comes_home_whole(&lab, server, id(&run), &commit);
    }

    // The same again transfers nothing and starts nothing.
    let home = lab.project_folder().join("results");
    let inodes = || -> Vec<u64> {
        let mut inodes: Vec<u64> = runs(&lab)
            .iter()
            .map(|run| home.join(id(run)).join("results/metrics.json"))
            .map(|file| fs::metadata(file).expect("it was fetched").ino())
            .collect();
        inodes.sort_unstable();
        inodes
    };
    let (before, tips) = (inodes(), records(&lab));
    lab.agile(&["fetch-results"])
        .succeeds()
        .complains("Nothing to fetch.");
    assert_eq!(records(&lab), tips);
    let again = lab.agile(&["fetch-results", "--all"]);
    again.succeeds().complains("box: nothing new;");
    again.complains("lab2: nothing new;");
    assert_eq!(inodes(), before);
    lab.agile(&["push"])
        .succeeds()
        .complains("already finished");
    lab.agile(&["deploy"])
        .succeeds()
        .complains("already finished");
    assert_eq!(runs(&lab).len(), 2);
    for server in &servers {
        assert_eq!(server.launches(), 1);
        assert_eq!(environments(server).len(), 1);
    }
    // $ git agile deploy --again
    let first = id(&run_of(&lab, "box", &commit)).to_owned();
    lab.agile(&["deploy", "--again", "--server", "box"])
        .succeeds()
        .complains(&format!("{first}-a2"));
    lab.agile(&["wait", &format!("{first}-a2")]).succeeds();
    assert_eq!((servers[0].launches(), servers[1].launches()), (2, 1));

    // The next commit needs the same environment, and finds it.
    let built = environments(&servers[0]);
    lab.write("notes.txt", "more epochs\n");
    let second = lab.commit("Take notes");
    let pushed = lab.agile(&["push"]);
    pushed.succeeds().never_says("built");
    lab.agile(&["wait"]).succeeds();
    let run = run_of(&lab, "box", &second);
    let log = read(folder(&servers[0], id(&run)).join("log"));
    assert!(log.contains("tiny 1.2"), "{log}");
    assert_eq!(environments(&servers[0]), built);

    // A requirement that nobody has: pip's own words, and nothing is launched.
    let config = configuration(&["box"], "grid = { lr = [0.1] }");
    let keep = "[requirements]\nkeep = [\"tiny\", \"no-such-thing\"]\n";
    lab.write("agile.toml", &(config + keep));
    lab.write("requirements.txt", "tiny==1.2\nno-such-thing==9.9\n");
    lab.git(&["commit", "--quiet", "--no-verify", "-a", "-m", "Too much"])
        .succeeds();
    let launches = servers[0].launches();
    let refused = lab.agile(&["push"]);
    refused
        .ends_with(5)
        .explains(
            "box: cannot build the Python environment",
            "mend requirements.txt",
        )
        .complains("No matching distribution found for no-such-thing==9.9");
    assert_eq!(servers[0].launches(), launches);
    let after = environments(&servers[0]);
    assert_eq!(after.len(), 2);
    assert!(built.iter().all(|(name, mark)| after[name] == *mark));
    assert!(after.values().any(Option::is_none));
    assert_eq!(run_of(&lab, "box", &lab.head())["state"], "asked");
}

/// What was fetched is what is on the server, and the run's record tells the same.
#[track_caller]
fn comes_home_whole(lab: &Lab, server: &Server, id: &str, commit: &str) {
    let show = |file: &str| {
        let name = format!("refs/agile/runs/{id}:{file}");
        lab.git(&["show", &name]).succeeds().json()
    };
    let manifest = show("manifest.json");
    let files = manifest.as_array().expect("a list of files");
    let there = folder(server, id);
    let mut paths = Vec::new();
    for file in files {
        let path = file["path"].as_str().expect("a path");
        let bytes = fs::read(lab.project_folder().join("results").join(id).join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(file["sha256"], digest, "{path}");
        assert_eq!(file["size"], bytes.len(), "{path}");
        let original = [there.join(path), there.join("code").join(path)];
        let original = original.iter().find(|file| file.exists());
        let original = fs::read(original.expect("it is on the server"));
        assert!(original.is_ok_and(|original| original == bytes), "{path}");
        paths.push(path);
    }
    assert!(paths.contains(&"results/metrics.json"), "{paths:?}");
    assert!(paths.contains(&"log"), "{paths:?}");
    assert_eq!(show("run.json")["id"], id);
    assert_eq!(show("state.json")["state"], "succeeded");
    let history = lab.git(&[
        "log",
        "--format=%H %s",
        &format!("refs/agile/runs/{id}"),
        "--not",
        &format!("{commit}^@"),
    ]);
    let oldest = history.stdout.lines().last().unwrap_or_default().to_owned();
    assert!(oldest.starts_with(commit), "{history}");
}

#[test]
fn a_push_leaves_running_experiments_alone() {
    const LATE: &str = r#"
import pathlib, time
notes = pathlib.Path.home()
data = pathlib.Path("data.txt")
first = data.read_text()
with open(notes / "launches", "a") as file:
    file.write(first)
while (notes / "gate").exists():
    time.sleep(0.02)
import helper
print(first, data.read_text(), helper.WORD, sep="\n")
"#;
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project_with(
        &configuration(&["box"], "").replace("python train.py --lr {lr}", "python late.py"),
    );
    let write = |word: &str| {
        lab.write("data.txt", word);
        lab.write("helper.py", &format!("WORD = {word:?}\n"));
        lab.commit(word)
    };
    lab.write("late.py", LATE);
    server.close_gate();
    let one = write("one");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    wait_until(20, "the first run", || server.launches() == 1);
    let two = write("two");
    lab.agile(&["push"]).succeeds();
    wait_until(20, "the second run", || {
        read(server.home().join("launches")) == "onetwo"
    });
    let waiting = lab.agile_in_terminal(&["wait"]);
    waiting.shows("1 of 1 run going on").keys(&["C-c"]);
    assert_eq!(waiting.ends(), 130, "{waiting}");
    waiting
        .shows("error: interrupted: the runs go on")
        .shows("hint: git agile status");
    let watching = lab.agile_in_terminal(&["status", "--watch"]);
    watching.shows("running");
    let piped = lab.start_agile(&["status", "--watch"]);
    server.open_gate();
    assert_eq!(watching.ends(), 0, "{watching}");
    // On a terminal each look stands in the place of the one before.
    let seen = watching.visible();
    let is_last = seen.contains("succeeded") && !seen.contains("running");
    assert!(is_last && seen.matches("PARAMETERS").count() == 1, "{seen}");
    let piped = piped.finish();
    let tables = &piped.succeeds().stdout;
    let looks: Vec<_> = tables.split("\n\n").collect();
    assert!(
        looks
            .iter()
            .all(|look| look.matches("PARAMETERS").count() == 1),
        "{tables}"
    );
    assert!(
        looks.last().is_some_and(|look| look.contains("succeeded")),
        "{tables}"
    );
    lab.agile(&["wait", "--all"]).succeeds();
    for (commit, word) in [(one, "one"), (two, "two")] {
        let run = run_of(&lab, "box", &commit);
        lab.agile(&["logs", id(&run)])
            .succeeds()
            .says(&format!("{word}\n{word}\n{word}\n"));
    }
}

#[test]
fn every_launcher_runs_here_and_there() {
    let lab = Lab::new();
    let server = lab.server("box");
    let at_home =
        |text: &str| text.replace("[servers.box]\n", "[servers.box]\nlauncher = \"tmux\"\n");
    lab.project_with(&at_home(&configuration(
        &["local", "box"],
        "grid = { lr = [0.1] }",
    )));
    let here = |id: &str| lab.home().join("agile/proj/runs").join(id);
    lab.write("../gate", "");
    server.close_gate();
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    let commit = lab.head();
    let (local, away) = (run_of(&lab, "local", &commit), run_of(&lab, "box", &commit));
    assert_eq!(
        (&local["state"], &away["state"]),
        (&json!("running"), &json!("running"))
    );
    lab.run("screen", &["-ls"])
        .says(&format!(".{}\t", id(&local)));
    server
        .sh(&format!(
            "tmux -L agile-{} list-sessions -F '#S'",
            id(&away)
        ))
        .succeeds()
        .says(&format!("{}\n", id(&away)));
    fs::remove_file(lab.home().join("gate")).expect("it was there");
    server.open_gate();
    lab.agile(&["wait"]).succeeds();
    assert!(read(here(id(&local)).join("process")).contains("launcher screen\n"));
    assert!(read(folder(&server, id(&away)).join("process")).contains("launcher tmux\n"));
    lab.agile(&["fetch-results"]).succeeds();
    lab.read(&format!("results/{}/results/metrics.json", id(&local)));

    // Neither screen nor tmux: a session of its own, that outlives the connection all the same.
    server.hide(&["screen", "tmux"]);
    server.close_gate();
    lab.write(
        "agile.toml",
        &configuration(&["box"], "grid = { lr = [0.1] }"),
    );
    let commit = lab.commit("Whatever there is");
    lab.agile(&["push"]).succeeds();
    wait_until(20, "the launch", || server.launches() == 2);
    let run = run_of(&lab, "box", &commit);
    assert!(read(folder(&server, id(&run)).join("process")).contains("launcher nohup\n"));
    lab.kill_masters();
    server.kill_connections();
    assert_eq!(run_of(&lab, "box", &commit)["state"], "running");
    server.open_gate();
    lab.agile(&["wait"]).succeeds();
}

// ---- every value, every shell --------------------------------------------------------------------------------------

/// Values that shells, launchers and files like to change.
const VALUES: &[&str] = &[
    "two  words ",
    "it's \"quoted\"",
    "$HOME `id` $(id) \\ \\n",
    "a line\nand another\n\n",
    "naïve ☃ 日本",
    "",
    "-n",
    "* ~ !x {lr} %s #",
    "tab\there\r",
];

/// Prints what it got, and says nothing of how it was written.
const ECHO: &str = r#"
import json, os, sys
os.makedirs("results", exist_ok=True)
with open("results/metrics.json", "w") as file:
    json.dump({"argv": sys.argv[1:], "variable": os.environ["AGILE_PARAM_TEXT"], "umask": os.umask(0)}, file)
"#;

fn echoing(servers: &[&str]) -> String {
    let values = serde_json::to_string(VALUES).expect("text"); // as TOML writes them too
    configuration(servers, &format!("grid = {{ text = {values} }}"))
        .replace("python train.py --lr {lr}", "python echo.py {text}")
}

#[test]
fn values_arrive_byte_for_byte() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project_with(&echoing(&["box"]));
    lab.write("echo.py", ECHO);
    lab.commit("Say it again");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    let all = runs(&lab);
    assert_eq!(all.len(), VALUES.len());
    for run in &all {
        let text = read(folder(&server, id(run)).join("code/results/metrics.json"));
        let got: Value = serde_json::from_str(&text).expect("JSON");
        let wanted = &run["parameters"]["text"];
        assert_eq!((&got["argv"], &got["variable"]), (&json!([wanted]), wanted));
    }
    let sent: Vec<_> = all.iter().map(|run| &run["parameters"]["text"]).collect();
    assert!(VALUES.iter().all(|value| sent.contains(&&json!(value))));
}

#[test]
fn login_shells_and_their_noise_do_not_matter() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project_with(&echoing(&["box"]));
    lab.write("echo.py", ECHO);
    lab.commit("Say it again");
    push_quietly(&lab);
    lab.agile(&["trust", "--all"]).succeeds();
    let noise = "echo welcome to box; printf 'no line feed'; echo oh dear >&2; umask 027\n";
    let odd = VALUES[2];
    for (shell, rc) in [
        ("/usr/bin/fish", ""),
        ("/usr/bin/tcsh", ""),
        ("/bin/bash", noise),
        ("/usr/bin/tcsh", noise),
    ] {
        server.set_login_shell(shell);
        server.set_rc(rc);
        let value = format!("{shell}{} {odd}!\n'", rc.len());
        let deployed = lab.agile(&["deploy", "--set", &format!("text={value}")]);
        deployed.succeeds().complains("box: 1 run started");
        deployed.never_says("welcome").never_says("oh dear");
        lab.agile(&["wait"]).succeeds().never_says("welcome");
        let all = runs(&lab);
        let run = all
            .iter()
            .find(|run| run["parameters"]["text"] == value)
            .expect("the run is known");
        let text = read(folder(&server, id(run)).join("code/results/metrics.json"));
        let got: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(got["argv"], json!([value]), "{shell}");
        assert_eq!(
            got["umask"],
            if rc.is_empty() { 0o022 } else { 0o027 },
            "{shell}"
        );
        let private = fs::metadata(folder(&server, id(run)))
            .expect("it is there")
            .mode();
        assert_eq!(private & 0o777, 0o700, "{shell}");
        lab.agile(&["logs", id(run)])
            .succeeds()
            .never_says("welcome");
        lab.agile(&["fetch-results", id(run)])
            .succeeds()
            .never_says("welcome");
    }
    // A start-up file that reads its standard input eats the script, and is told apart from a lost connection.
    server.set_rc("cat >/dev/null\n");
    lab.agile(&["deploy", "--set", "text=eaten"])
        .ends_with(4)
        .complains("error: box: ");
    assert_eq!(runs_of_nobody(&server), 0);
}

/// Runs that were claimed and have no process.
fn runs_of_nobody(server: &Server) -> usize {
    let entries = fs::read_dir(server.home().join("agile/proj/runs")).expect("there are runs");
    entries
        .filter(|entry| {
            let path = entry.as_ref().expect("an entry").path();
            !path.join("process").exists()
        })
        .count()
}

#[test]
fn the_scripts_run_in_dash_bash_and_busybox() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project(&["box"]);
    push_quietly(&lab);
    let commit = lab.head();
    let (path, url) = (
        RemotePath::new("~/agile/proj").expect("a path"),
        lab.origin().url("proj.git"),
    );
    for shell in [&["dash"][..], &["bash"], &["busybox", "sh"]] {
        // Its runner too, and whatever else asks for `sh`.
        server.shim(
            "sh",
            &format!("#!/bin/sh\nexec {} \"$@\"\n", shell.join(" ")),
        );
        let name = RunId::new(format!("train-{}", shell[0])).expect("a run id");
        let command = "printf '[%s]' \"$WORD\" \"$SET\"; exec python train.py";
        let mut deployment = one_run("~/agile/proj", &url, &commit, name.as_str(), command);
        deployment.runs[0].variables = "export WORD='a \"b\" $c\nd'\n".into();
        deployment.runs[0].setup = "export SET=up".into();
        let before = server.launches();
        server.close_gate();
        let call = scripts::deploy(&deployment);
        let (answer, outcome) = through(&server, shell, &call);
        let says = |answer: &Answer, line: &[&str]| {
            assert!(has(answer, line), "no {line:?} in {answer:?}:\n{outcome}");
        };
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (Some(0), ""),
            "{outcome}"
        );
        says(&answer, &["commit", &commit]);
        says(&answer, &["run", name.as_str(), "started"]);
        wait_until(20, "the launch", || server.launches() == before + 1);
        says(
            &through(&server, shell, &call).0,
            &["run", name.as_str(), "exists", "running"],
        );
        let look = scripts::status(&path, false, [&name]);
        let (answer, _) = through(&server, shell, &look);
        let line = answer.iter().find(|line| line[0] == "run").expect("a line");
        assert_eq!((&*line[3], &*line[5], &*line[6]), ("running", "-", "alive"));
        let (answer, _) = through(&server, shell, &scripts::stop(&path, 5, false, [&name]));
        let line = answer.iter().find(|line| line[0] == "run").expect("a line");
        assert_eq!(
            (&*line[2], &*line[3], &*line[5]),
            ("stopped", "stopped", "143")
        );
        server.open_gate();
        let log = read(folder(&server, name.as_str()).join("log"));
        assert!(log.starts_with("[a \"b\" $c\nd][up]epoch 1/"), "{log}");
        assert_eq!(server.launches(), before + 1);
    }
}

// ---- what cannot be done -------------------------------------------------------------------------------------------

/// screen ends with 0 for programs that do not exist: only the run's own mark counts.
#[test]
fn a_launcher_that_starts_nothing_is_found_out() {
    let lab = Lab::new();
    let server = lab.server("box");
    server.shim("screen", "#!/bin/sh\nexit 0\n");
    let text = configuration(&["box"], "grid = { lr = [0.1] }");
    lab.project_with(&text.replace("path = ", "launcher = \"screen\"\npath = "));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"])
        .ends_with(5)
        .complains("the session did not start within 10 seconds");
    server.remove_shim("screen");
    lab.agile(&["deploy"]).succeeds().complains("1 run started");
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
    assert_eq!(server.launches(), 1);

    // With slots it has had its turn: those behind it must not wait for it, and it is not begun behind their backs.
    server.shim("screen", "#!/bin/sh\nexit 0\n");
    let text = lab.read("agile.toml");
    lab.write("agile.toml", &text.replace("path = ", "slots = 1\npath = "));
    lab.commit("Take turns");
    lab.agile(&["push"])
        .ends_with(5)
        .complains("the session did not start within 10 seconds");
    server.remove_shim("screen");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(server.launches(), 1);
    lab.agile(&["deploy"]).succeeds().complains("1 run started");
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
    lab.agile(&["logs"]).says("the session did not start");
    assert_eq!(server.launches(), 2);
}

/// A machine that has another name since the run began, or is no more.
#[test]
fn a_run_on_another_machine_can_be_given_up() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project(&["box"]);
    server.close_gate();
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    wait_until(20, "the run", || server.launches() == 1);
    let moved =
        "sed -i 's/^host .*/host elsewhere/' agile/proj/runs/*/process agile/proj/runs/*/program";
    server.sh(moved).succeeds();
    lab.agile(&["status"]).succeeds().says("running");
    lab.agile(&["stop", "--yes"])
        .ends_with(5)
        .explains("it runs on another machine", "git agile stop --gone train-");
    lab.agile(&["status"]).says("running");
    lab.agile(&["stop", "--yes", "--gone"])
        .succeeds()
        .complains("stopped");
    lab.agile(&["status"]).says("stopped");
    server.open_gate();
}

#[test]
fn one_unreachable_server_does_not_stop_the_other() {
    let lab = Lab::new();
    let (up, down) = (lab.server("box"), lab.server("lab2"));
    lab.project(&["box", "lab2"]);
    lab.agile(&["trust", "--all"]).succeeds();
    down.stop();
    let pushed = lab.agile(&["push", "-u", "origin", "main"]);
    pushed
        .ends_with(4)
        .explains("lab2: cannot connect", "ssh lab2 must work")
        .complains("box: 1 run started");
    wait_until(20, "the launch", || up.launches() == 1);
    lab.agile(&["wait", "--server", "box"]).succeeds();
    // Its intent is kept, and the same command later does the rest, and only that.
    let seen = lab.agile(&["status", "--json"]);
    // What was never launched needs no look.
    assert_eq!(seen.code, Some(0), "{seen}");
    let states: Vec<_> = seen
        .json()
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| run["state"].clone())
        .collect();
    assert_eq!(states, ["succeeded", "asked"]);
    down.start();
    lab.agile(&["push"]).succeeds();
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait", "--all"]).succeeds();
    assert_eq!((up.launches(), down.launches()), (1, 1));
}

#[test]
fn a_refused_push_deploys_nothing() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project(&["box"]);
    lab.agile(&["trust", "--all"]).succeeds();
    push_quietly(&lab);
    server.reset_counts();
    let nothing = |what: &str| {
        assert_eq!(server.launches(), 0, "{what}");
        assert_eq!(records(&lab), "", "{what}");
        // The connection is opened ahead, and a shell there has read the scripts; it has done nothing.
        assert!(!server.home().join("agile").exists(), "{what}");
    };

    // Somebody else was faster.
    lab.git(&["clone", "--quiet", "origin:proj.git", "../other"])
        .succeeds();
    lab.git(&[
        "-C",
        "../other",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "Faster",
    ])
    .succeeds();
    lab.git(&["-C", "../other", "push", "--quiet"]).succeeds();
    lab.write("notes.txt", "mine\n");
    lab.commit("Slower");
    lab.git(&["branch", "--set-upstream-to", "origin/main"])
        .succeeds();
    lab.agile(&["push"]).ends_with(1).complains("[rejected]");
    nothing("non-fast-forward");

    // The git host says no.
    lab.git(&["pull", "--quiet", "--rebase"]).succeeds();
    let hook = lab.origin().home().join("proj.git/hooks/pre-receive");
    lab.origin()
        .sh(&format!(
            "printf '#!/bin/sh\\necho not today\\nexit 1\\n' >{0}; chmod +x {0}",
            hook.display()
        ))
        .succeeds();
    lab.agile(&["push"]).ends_with(1).complains("not today");
    nothing("pre-receive");
    lab.agile(&["push", "--no-such-option"]).ends_with(129);
    nothing("usage");
    lab.agile(&["push", "--dry-run"]);
    nothing("a dry run");

    fs::remove_file(hook).expect("the hook is there");
    // A mistake is known before everybody has it.
    let good = lab.read("agile.toml");
    lab.write("agile.toml", &good.replace("{lr}", "{rate}"));
    lab.commit("A mistake");
    let there = || lab.origin().sh("git -C proj.git rev-parse main").stdout;
    let before = there();
    lab.agile(&["push"])
        .ends_with(3)
        .explains("experiments.train: the command uses {rate}", "add `rate`");
    assert_eq!(there(), before);
    nothing("a mistake");
    lab.write("agile.toml", &good);
    lab.commit("Mended");
    lab.agile(&["push"]).succeeds();
    wait_until(20, "the launch", || server.launches() == 1);
}
