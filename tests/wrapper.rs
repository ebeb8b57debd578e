//! What the runner writes about its run, and the rules by which it ends one.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use support::{Lab, Running, Server, configuration, wait_until};

const SHELLS: [(&str, &str); 3] = [
    ("dash", "dash"),
    ("bash", "bash --posix"),
    ("busybox", "busybox sh"),
];

/// Holds 80 MB in one child, burns processor time in another, and says nothing of either.
const WORK: &str = "import os, subprocess, sys, time\n\
    hold = 'import time; b = bytearray(80 << 20); print(len(b)); time.sleep(0.8)'\n\
    burn = 'import time\\nwhile time.process_time() < 0.5: pass'\n\
    held = subprocess.Popen([sys.executable, '-c', hold])\n\
    subprocess.run([sys.executable, '-c', burn])\n\
    held.wait()\n";

#[track_caller]
fn runs(lab: &Lab) -> Vec<Value> {
    let json = lab.agile(&["status", "--all", "--json"]).succeeds().json();
    json.as_array().expect("an array").clone()
}

#[test]
fn what_a_run_took_and_ran_on_is_known() {
    let lab = Lab::new();
    let mut text = String::new();
    for (name, shell) in SHELLS {
        let server = lab.server(name);
        server.shim("sh", &format!("#!/bin/sh\nexec {shell} \"$@\"\n"));
        server.shim(
            "nvidia-smi",
            "#!/bin/sh\nprintf '0, GPU-aaaa1111, NVIDIA A100-SXM4, 550.54\\n1, GPU-bbbb2222, NVIDIA H200, 550.54\\n'\n",
        );
        text += &format!("[servers.{name}]\nhost = \"{name}\"\ngpus = [1]\n");
    }
    text += "[experiments.train]\ncommand = \"python work.py\"\nservers = [\"dash\", \"bash\", \"busybox\"]\n";
    lab.wheel("toy", "1.5");
    lab.project_with(&text);
    lab.write("requirements.txt", "toy==1.5\n");
    lab.write("work.py", WORK);
    lab.commit("Hold and burn");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    let runs = runs(&lab);
    assert_eq!(runs.len(), 3);
    for run in &runs {
        let report = &run["report"];
        let number = |name: &str| report[name].as_f64().unwrap_or(-1.0);
        assert!(number("wall_seconds") >= 0.8, "{run:#}");
        assert!(
            number("user_seconds") + number("system_seconds") >= 0.5,
            "{run:#}"
        );
        assert!(number("peak_memory") >= 80e6, "{run:#}");
        assert!(number("memory") > number("peak_memory"), "{run:#}");
        assert!(number("cores") >= 1.0, "{run:#}");
        assert_eq!(report["gpus"], json!(["NVIDIA H200, driver 550.54"]));
        assert!(report["host"].is_string() && report["system"].is_string());
        let id = run["id"].as_str().expect("an id");
        let shown = lab.agile(&["show", "--json", id]).json();
        assert!(
            shown["packages"]
                .as_array()
                .is_some_and(|all| all.contains(&json!("toy==1.5"))),
            "{shown:#}"
        );
        let told = lab.agile(&["show", id]);
        told.succeeds()
            .says("NVIDIA H200")
            .says("s user")
            .says("packages (--json");
        let server = lab.server(run["server"]["name"].as_str().expect("a name"));
        let left = server.sh(&format!("cd agile/proj/runs/{id} && ls"));
        assert_eq!(
            left.stdout
                .split_whitespace()
                .filter(|name| *name != "slot")
                .collect::<Vec<_>>(),
            [
                "code",
                "command",
                "commit",
                "env",
                "environment",
                "exit",
                "launch.log",
                "limit",
                "lock",
                "log",
                "machine",
                "packages",
                "process",
                "program",
                "resources",
                "run.json",
                "runner",
                "started",
                "state"
            ],
            "{left}"
        );
    }
}

/// The list of an environment's packages is made once, and again when somebody has installed something there by hand.
#[test]
fn packages_that_were_installed_by_hand_are_known() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.wheel("toy", "1.5");
    lab.project(&["box"]);
    lab.write("requirements.txt", "toy==1.5\n");
    lab.commit("Need a toy");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    let packages = |lab: &Lab| {
        lab.agile(&["wait", "--timeout", "300"]).succeeds();
        lab.agile(&["show", "--json", "@"]).json()["packages"].clone()
    };
    let first = packages(&lab);
    let has =
        |all: &Value, name: &str| all.as_array().is_some_and(|all| all.contains(&json!(name)));
    assert!(has(&first, "toy==1.5"), "{first:#}");
    let list = || server.sh("ls -i agile/proj/envs/*/packages").stdout.clone();
    let listed = list();
    lab.agile(&["deploy", "--again"]).succeeds();
    assert_eq!(packages(&lab), first);
    assert_eq!(list(), listed);
    server
        .sh(
            "cd agile/proj/envs/*/lib/python*/site-packages && mkdir late-2.dist-info && \
             printf 'Metadata-Version: 2.1\nName: late\nVersion: 2\n' >late-2.dist-info/METADATA",
        )
        .succeeds();
    lab.agile(&["deploy", "--again"]).succeeds();
    let third = packages(&lab);
    assert!(
        has(&third, "late==2") && has(&third, "toy==1.5"),
        "{third:#}"
    );
}

/// A run that is stopped is not kept waiting by what describes its machine.
#[test]
fn a_driver_that_hangs_holds_nothing_up() {
    let lab = Lab::new();
    let server = lab.server("box");
    server.shim("nvidia-smi", "#!/bin/sh\nexec sleep 1000\n");
    lab.project(&["box"]);
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.commit("Nothing to install");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    let run = &runs(&lab)[0];
    assert_eq!(run["state"], "succeeded");
    assert!(run["report"]["wall_seconds"].is_number(), "{run:#}");
}

/// Two runs on one slot. The script of the one that waits is still to be read, and is changed by `edit`, with the run's file
/// `runner`, before its turn comes.
fn with_another_runner(lab: &Lab, edit: &str) -> Arc<Server> {
    let server = lab.server("box");
    let text = configuration(&["box"], "grid = { lr = [1, 2] }");
    lab.write("agile.toml", &text.replace("host = ", "slots = 1\nhost = "));
    lab.commit("Take turns");
    lab.agile(&["trust", "--all"]).succeeds();
    server.close_gate();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    server
        .sh(&format!("cd agile/proj/runs && {edit}"))
        .succeeds();
    server.open_gate();
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
    server
}

/// A signal to the one that watches the program may come before it can be heard.
#[test]
fn a_watcher_that_hears_nothing_sees_the_end() {
    let lab = Lab::new();
    lab.project(&["box"]);
    with_another_runner(
        &lab,
        "sed -i '/^kill \"$watcher\"/d' */runner && ! grep -q '^kill \"$watcher' */runner",
    );
}

/// A program that prints without end fills no disk, and what it said last is there.
#[test]
fn a_log_that_grows_too_large_begins_anew() {
    let lab = Lab::new();
    lab.project(&["box"]);
    lab.write(
        "train.py",
        "import time\nfor line in range(9000):\n    print('line', line, flush=True)\n    time.sleep(0.0001)\n",
    );
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    let server = with_another_runner(
        &lab,
        "sed -i 's/LOG_LIMIT=1073741824/LOG_LIMIT=30000/' */runner && grep -q LOG_LIMIT=30000 */runner",
    );
    let runs = runs(&lab);
    let run = runs[1]["id"].as_str().expect("an id");
    let text = |name: &str| {
        let path = server.home().join(format!("agile/proj/runs/{run}/{name}"));
        fs::read_to_string(path).expect("a log")
    };
    let (before, log) = (text("log.1"), text("log"));
    assert!(before.len() > 30_000);
    let all = lab.agile(&["logs", run]);
    all.succeeds()
        .says("git-agile: the log had grown beyond 30000 bytes")
        .says("line 8999\n");
    assert_eq!(all.stdout, before.clone() + &log);
    let lines = log.lines().count() + 3;
    let last = lab.agile(&["logs", "-n", &lines.to_string(), run]);
    assert_eq!(last.succeeds().stdout.lines().count(), lines);
    lab.agile(&["fetch-results", run]).succeeds();
    let home = lab.project_folder().join("results").join(run);
    assert!(fs::read_to_string(home.join("log.1")).expect("it came") == before);
}

/// `module load` works as in a login shell.
#[test]
fn a_setup_may_load_modules() {
    if !Path::new("/etc/profile.d/modules.sh").exists() {
        eprintln!("skipped: no Environment Modules");
        return;
    }
    let lab = Lab::new();
    let _server = lab.server("box");
    let setup = "setup = \"module load null && echo loaded $LOADEDMODULES\"\nhost = ";
    lab.project_with(&configuration(&["box"], "grid = { lr = [1] }").replace("host = ", setup));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["logs"]).succeeds().says("loaded null");
}

/// A project whose program `work.py` writes losses, and whose runs end by these rules.
fn ruled(lab: &Lab, rules: &[(&str, &str, &str)]) {
    let mut text = "[servers.box]\nhost = \"box\"\n".to_string();
    for (name, stop, more) in rules {
        text += &format!(
            "[experiments.{name}]\ncommand = \"python work.py {more}\"\nstop = {{ {stop} }}\n\
             metrics = [\"results/*.jsonl\"]\n"
        );
    }
    lab.project_with(&text);
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.write(
        "work.py",
        "import json, os, pathlib, signal, subprocess, sys, time\n\
         mode, *losses = sys.argv[1:]\n\
         if mode == 'polite': signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n\
         if mode == 'deaf': signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         child = subprocess.Popen(['sleep', '1000'])\n\
         pathlib.Path.home().joinpath(os.environ['AGILE_EXPERIMENT']).write_text(str(child.pid))\n\
         os.makedirs('results', exist_ok=True)\n\
         with open('results/train.jsonl', 'a') as file:\n\
         \x20   for loss in losses:\n\
         \x20       file.write(json.dumps({'train': {'loss': float(loss)}}) + '\\n')\n\
         \x20       file.flush()\n\
         \x20   file.write('{\"train\": {\"loss\": ')\n\
         \x20   file.flush()\n\
         \x20   if mode == 'brief':\n\
         \x20       child.kill()\n\
         \x20       sys.exit(0)\n\
         \x20   time.sleep(1000)\n",
    );
    // What the commit brings along says nothing of the run.
    lab.write("results/train.jsonl", "{\"train\": {\"loss\": 0.0001}}\n");
    lab.write(".gitignore", "");
    lab.commit("Train");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
}

#[test]
fn a_metric_ends_its_run_and_everything_below_it() {
    let lab = Lab::new();
    let server = lab.server("box");
    ruled(
        &lab,
        &[
            (
                "below",
                "metric = \"train.loss\", below = 0.01",
                "plain 0.5 nan 0.009 0.4",
            ),
            ("deaf", "metric = \"train.loss\", above = 9", "deaf 0.5 10"),
            ("brief", "metric = \"train.loss\", below = -1", "brief 0.5"),
            (
                "patience",
                "metric = \"train.loss\", patience = 3, mode = \"min\"",
                "plain 0.5 0.6 0.4 0.4 nan 0.7",
            ),
            (
                "polite",
                "metric = \"train.loss\", below = 0.01",
                "polite 0.001",
            ),
            (
                "time",
                "timeout = \"1s\", metric = \"train.loss\", below = 0",
                "plain 0.5",
            ),
            // To end in good order when it is asked to is not to have done what was to be done.
            ("time-polite", "timeout = \"1s\"", "polite 0.5"),
        ],
    );
    lab.agile(&["wait", "--timeout", "300"])
        .ends_with(1)
        .complains("2 of 7 runs did not succeed");
    let found: Vec<_> = runs(&lab)
        .iter()
        .map(|run| {
            let word = |name: &str| run[name].as_str().unwrap_or("-").to_string();
            (word("experiment"), word("state"), word("ended_by"))
        })
        .collect();
    let expected = [
        ("below", "stopped", "train.loss below 0.01 (0.009)"),
        ("brief", "succeeded", "-"),
        ("deaf", "stopped", "train.loss above 9 (10)"),
        (
            "patience",
            "stopped",
            "train.loss not better in 3 values (best 0.4)",
        ),
        ("polite", "succeeded", "train.loss below 0.01 (0.001)"),
        ("time", "timed-out", "its time was over"),
        ("time-polite", "timed-out", "its time was over"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string()));
    assert_eq!(found, expected);
    lab.agile(&["status"])
        .succeeds()
        .says("train.loss below 0.01 (0.009)")
        .says("its time was over");
    for (name, _, _) in &expected {
        let child = fs::read_to_string(server.home().join(name)).expect("it was written");
        let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(
            state.is_empty() || state.contains(") Z "),
            "{name}: {state}"
        );
    }
    let left = server.sh("pgrep -f 'python3? -I -c' -u $(id -u) -a | grep agile/proj/runs");
    assert_eq!(left.stdout, "", "no watcher is left");
}

#[test]
fn a_person_who_stops_a_run_is_told_apart_from_its_rule() {
    let lab = Lab::new();
    lab.server("box");
    ruled(
        &lab,
        &[("train", "metric = \"train.loss\", below = 0", "plain 0.5")],
    );
    lab.agile(&["stop", "--yes"]).succeeds();
    let run = &runs(&lab)[0];
    assert_eq!(
        (&run["state"], &run["note"]),
        (&json!("stopped"), &json!("by a person"))
    );
    assert_eq!(run["ended_by"], Value::Null);
    lab.agile(&["wait"]).ends_with(1);
}

// ---- the program that watches a metric -----------------------------------------------------------------------------

struct Watched {
    folder: tempfile::TempDir,
    running: Running,
}

impl Watched {
    /// The watcher with a rule, for a run that has these files from its commit.
    fn start(rule: Value, committed: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("code")).expect("make it");
        for (name, text) in committed {
            write(folder.path(), name, text);
        }
        let mut command = Command::new("python3");
        command
            .args([
                "-I",
                "-c",
                include_str!("../src/deployment/scripts/watch.py"),
            ])
            .arg(folder.path())
            .arg(rule.to_string())
            .stdin(Stdio::null());
        let running = Running::start(&mut command);
        let ready = folder.path().join("watching");
        wait_until(20, "the watcher", || ready.exists());
        Self { folder, running }
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        write(self.folder.path(), name, text);
        self
    }

    fn append(&self, name: &str, text: &str) -> &Self {
        let path = self.folder.path().join("code").join(name);
        let old = fs::read_to_string(&path).expect("it is there");
        use std::io::Write;
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("open it");
        file.write_all(text.as_bytes()).expect("write it");
        assert!(fs::metadata(&path).expect("there").len() > old.len() as u64);
        self
    }

    /// Long enough for it to have read what was written.
    fn pauses(&self) -> &Self {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        self
    }

    /// Nothing has ended the run so far.
    #[track_caller]
    fn goes_on(&mut self) {
        assert!(!self.running.ended(), "{:?}", self.said());
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("rule")).unwrap_or_default()
    }

    #[track_caller]
    fn ends_with(mut self, reason: &str) {
        wait_until(20, reason, || self.running.ended());
        let said = self.said();
        let outcome = self.running.finish();
        assert_eq!(said.trim(), reason, "{outcome}");
    }
}

fn write(run: &Path, name: &str, text: &str) {
    let path = run.join("code").join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("make it");
    fs::write(path.with_extension("new"), text).expect("write it");
    fs::rename(path.with_extension("new"), path).expect("rename it");
}

fn rule(metric: &str, files: &[&str], more: Value) -> Value {
    let mut rule = more;
    rule["metric"] = metric.into();
    rule["files"] = json!(files);
    rule
}

#[test]
fn every_kind_of_file_is_watched() {
    let below = || json!({ "below": 0.1 });
    let cases = [
        ("a.json", "{\"loss\": 0.05, \"x\": 1}", "loss"),
        (
            "a.json",
            "{\"eval\": {\"loss\": [0.5, NaN, 0.05]}}",
            "eval.loss",
        ),
        (
            "deep/a.ndjson",
            "{\"loss\": NaN}\n{\"loss\": true}\n{\"loss\": 0.05}\n",
            "loss",
        ),
        (
            "a.csv",
            "\u{feff}epoch,\"loss\"\r\n1,0.5\r\n2,\r\n3,0.05\r\n",
            "loss",
        ),
        ("a.tsv", "epoch\tloss\n1\tnan\n2\t0.05\n", "a.loss"),
    ];
    let started: Vec<_> = cases
        .iter()
        .map(|(name, text, metric)| {
            let watched = Watched::start(
                rule(metric, &["*.json", "**/*.ndjson", "a.[ct]sv"], below()),
                &[],
            );
            watched.write(name, text);
            (watched, *metric)
        })
        .collect();
    for (watched, metric) in started {
        watched.ends_with(&format!("{metric} below 0.1 (0.05)"));
    }
}

#[test]
fn only_whole_new_numbers_count() {
    let patience = json!({ "patience": 2, "mode": "max" });
    let mut lines = Watched::start(
        rule("acc", &["m.jsonl"], patience.clone()),
        &[("m.jsonl", "{\"acc\": 9}\n")],
    );
    let mut table = Watched::start(rule("acc", &["m.csv"], patience.clone()), &[]);
    lines.append(
        "m.jsonl",
        "{\"acc\": 0.5}\nno JSON\n{\"acc\": 0.4}\n{\"acc\": 0.6}\n{\"acc\": 0.",
    );
    table.write("m.csv", "epoch,acc\n1,0.5\n2,0.4\n3,0.6\n4,0.");
    lines.pauses();
    for watched in [&mut lines, &mut table] {
        watched.goes_on();
    }
    lines.append("m.jsonl", "1}\n{\"acc\": NaN}\n");
    table.append("m.csv", "1\n5,nan\n");
    for watched in [lines, table] {
        watched.ends_with("acc not better in 2 values (best 0.6)");
    }
}

/// A file that is written anew gives its value once for each time that it differs; one that is half written, none.
#[test]
fn a_file_that_is_written_anew_gives_each_value_once() {
    let script = r#"
import os, sys, tempfile
watch = {'__name__': 'watch'}
exec(sys.argv[1], watch)
path = tempfile.mktemp()
reader = watch['Whole'](path, ['acc'])
for text in sys.argv[2:]:
    with open(path, 'w') as file:
        file.write(text)
    print(reader.fresh())
os.unlink(path)
"#;
    let steps = [
        ("{\"acc\": 0.5}", "[0.5]"),
        ("{\"acc\": 0.5}", "[]"),
        ("{\"acc\": 0.4, \"epo", "[]"),
        ("{\"acc\": 0.5, \"epoch\": 2}", "[0.5]"),
        ("{\"acc\": [0.5, 0.6]}", "[0.6]"),
        ("{\"acc\": [0.5, 0.6, NaN, 1e999]}", "[nan, inf]"),
        ("{\"acc\": [0.5, 0.6, NaN, Infinity], \"x\": 1}", "[]"),
        ("{\"acc\": [7, 8]} {\"acc\": true}", "[8.0]"),
        ("{\"acc\": 1} {\"acc\": 2} {\"ac", "[2.0]"),
        ("[[[[", "[]"),
    ];
    let lab = Lab::new();
    let mut arguments = vec![
        "-I",
        "-c",
        script,
        include_str!("../src/deployment/scripts/watch.py"),
    ];
    arguments.extend(steps.map(|(text, _)| text));
    let said = lab.run("python3", &arguments);
    let values: Vec<&str> = said.succeeds().stdout.lines().collect();
    assert_eq!(values, steps.map(|(_, values)| values));
}
