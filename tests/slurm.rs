//! A server whose launcher is Slurm: a real cluster of two nodes on this machine.

mod support;

use std::fs;
use std::sync::Arc;

use git_agile::deployment::scripts;
use git_agile::model::config::Launcher;
use serde_json::Value;

use support::script::{KILL_THE_SCRIPT, Script, has, one_run, through};
use support::{Lab, Server, Slurm, wait_until};

/// A server with a cluster of its own, and a project whose runs note their launch in `$HOME/order` and then do what the
/// `work` of the test says, `$1` being the parameter `n`.
struct Cluster {
    lab: Lab,
    server: Arc<Server>,
    slurm: Slurm,
}

impl Cluster {
    /// Nothing where there is no Slurm.
    fn new(slurm_keys: &str, experiment: &str, work: &str) -> Option<Self> {
        Self::configured("", slurm_keys, experiment, work)
    }

    /// The same with more lines of Slurm's own configuration.
    fn configured(conf: &str, slurm_keys: &str, experiment: &str, work: &str) -> Option<Self> {
        let start = |lab: &Lab, server: &Arc<Server>| Slurm::start(lab, server, conf);
        Self::started(start, slurm_keys, experiment, work)
    }

    fn started(
        start: impl FnOnce(&Lab, &Arc<Server>) -> Option<Slurm>,
        slurm_keys: &str,
        experiment: &str,
        work: &str,
    ) -> Option<Self> {
        let lab = Lab::new();
        let server = lab.server("box");
        let slurm = start(&lab, &server)?;
        lab.project_with(&format!(
            "[servers.box]\nhost = \"box\"\npath = \"~/agile/proj\"\nlauncher = \"slurm\"\n{slurm_keys}\n\
             [experiments.train]\ncommand = \"sh work.sh {{n}}\"\n{experiment}\n"
        ));
        lab.write(
            "work.sh",
            &format!("echo \"$1\" >> \"$HOME/order\"\n{work}\n"),
        );
        lab.commit("Work on a cluster");
        lab.agile(&["trust", "--all"]).succeeds();
        Some(Self { lab, server, slurm })
    }

    /// Id, state and note by the parameter `n`.
    #[track_caller]
    fn runs(&self) -> Vec<(u64, String, String, String)> {
        let json = self.lab.agile(&["status", "--all", "--json"]).json();
        let text = |run: &Value, key: &str| run[key].as_str().unwrap_or_default().to_string();
        let mut runs: Vec<_> = json
            .as_array()
            .expect("an array")
            .iter()
            .map(|run| {
                let n = run["parameters"]["n"].as_u64().expect("a number");
                (n, text(run, "id"), text(run, "state"), text(run, "note"))
            })
            .collect();
        runs.sort();
        runs
    }

    #[track_caller]
    fn states(&self) -> Vec<String> {
        self.runs().into_iter().map(|run| run.2).collect()
    }

    /// What was launched, in order.
    fn launched(&self) -> Vec<String> {
        let text = fs::read_to_string(self.server.home().join("order")).unwrap_or_default();
        text.lines().map(str::to_string).collect()
    }

    fn open(&self, n: u64) {
        fs::write(self.server.home().join(format!("open-{n}")), "").unwrap();
    }

    #[track_caller]
    fn push(&self) {
        self.lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    }
}

const WAIT: &str = "while [ ! -e \"$HOME/open-$1\" ]; do sleep 0.05; done";

#[test]
fn a_grid_is_one_array() {
    let Some(cluster) = Cluster::new(
        "slots = 2\nslurm = { partition = \"main\", mem = \"100M\" }",
        "grid = { n = [1, 2, 3, 4] }\n\
         [experiments.alone]\ncommand = \"echo \\\"alone {n}\\\" >> $HOME/order\"\nset = { n = 9 }",
        &format!("echo work; mkdir -p results; echo $1 >results/n; {WAIT}"),
    ) else {
        return;
    };
    let said = cluster.lab.agile(&["push", "-u", "origin", "main"]);
    said.succeeds().complains("5 runs submitted to Slurm");
    let jobs = cluster.slurm.jobs();
    assert_eq!(jobs.len(), 2, "an array, and the other run: {jobs:?}");
    wait_until(10, "two tasks", || cluster.launched().len() == 3);
    wait_until(10, "their state", || {
        cluster.states() == ["running", "running", "queued", "queued", "succeeded"]
    });
    assert_eq!(cluster.runs()[2].3, "Slurm: JobArrayTaskLimit");
    // What Slurm shows a person: the experiment, and the runs.
    let shown = cluster.slurm.asks("squeue", &["-h", "-o", "%j %k"]);
    assert!(shown.stdout.contains("git-agile: train-"), "{shown}");

    // The same command again sends nothing.
    cluster.lab.agile(&["deploy"]).succeeds();
    assert_eq!(cluster.slurm.jobs().len(), 2);
    for n in 1..=4 {
        cluster.open(n);
    }
    cluster.lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert_eq!(cluster.states(), ["succeeded"; 5]);
    let mut launched = cluster.launched();
    launched.sort();
    assert_eq!(launched, ["1", "2", "3", "4", "alone 9"]);
    let first = &cluster.runs()[0].1;
    let log = cluster.lab.agile(&["logs", first]);
    log.succeeds().says("work");
    cluster.lab.agile(&["fetch-results"]).succeeds();
    let found = cluster
        .lab
        .run("sh", &["-c", "cat results/*/results/n | sort"]);
    assert_eq!(found.stdout, "1\n2\n3\n4\n");

    // A new attempt is a new job.
    cluster.lab.agile(&["deploy", "--again"]).succeeds();
    cluster.lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert_eq!(cluster.slurm.jobs().len(), 4);
    assert_eq!(cluster.launched().len(), 10);
}

#[test]
fn a_run_ends_as_slurm_says() {
    let Some(cluster) = Cluster::new(
        "slurm = { requeue = true }",
        "grid = { n = [1, 2, 3, 4] }\nstop = { timeout = \"600s\" }",
        &format!(
            "case $1 in 1) exit 3 ;; 2) trap 'exit 0' TERM ;; 3) trap '' TERM ;; esac\n{WAIT}"
        ),
    ) else {
        return;
    };
    cluster.push();
    let limits = cluster
        .slurm
        .asks("squeue", &["-h", "-t", "all", "-o", "%l"]);
    assert!(
        limits.stdout.lines().all(|line| line == "11:00"),
        "the run's own limit comes first: {limits}"
    );
    wait_until(10, "all four", || cluster.launched().len() == 4);
    let job = &cluster.slurm.jobs()[0];
    // Behind our back: somebody cancels the second, Slurm's time is over for the third, and the fourth is requeued.
    let told = |program: &str, arguments: &[&str]| {
        cluster.slurm.asks(program, arguments).succeeds();
    };
    told(
        "scontrol",
        &["update", &format!("jobid={job}_3"), "endtime=now"],
    );
    told("scancel", &[&format!("{job}_2")]);
    told("scontrol", &["requeue", &format!("{job}_4")]);
    cluster.lab.agile(&["wait", "--timeout", "90"]).ends_with(1);
    let runs = cluster.runs();
    let ends: Vec<_> = runs.iter().map(|run| (&*run.2, &*run.3)).collect();
    assert_eq!(
        ends,
        [
            ("failed", ""),
            ("stopped", "its Slurm job was cancelled"),
            ("timed-out", "Slurm's time limit was over"),
            (
                "failed",
                "Slurm requeued its job, and a run is started only once"
            ),
        ]
    );
    // The requeued task comes again, and finds that it has been.
    told(
        "scontrol",
        &["update", &format!("jobid={job}_4"), "starttime=now"],
    );
    wait_until(30, "the end of the last", || {
        let left = cluster.slurm.asks("squeue", &["-h", "-o", "%i"]);
        left.stdout.is_empty()
    });
    let mut launched = cluster.launched();
    launched.sort();
    assert_eq!(launched, ["1", "2", "3", "4"]);
}

#[test]
fn tasks_are_stopped_one_by_one() {
    let Some(cluster) = Cluster::new(
        "slots = 1",
        "grid = { n = [1, 2, 3, 4, 5] }\n\
         [experiments.slow]\ncommand = \"sleep 1000\"\nset = { n = 9 }\nstop = { timeout = \"1s\" }",
        WAIT,
    ) else {
        return;
    };
    cluster.push();
    wait_until(10, "the first", || cluster.launched().len() == 1);
    let runs = cluster.runs();
    // Somebody cancels a task that waits, behind our back.
    let grid = &cluster.slurm.jobs()[1];
    let second = format!("{grid}_2");
    cluster.slurm.asks("scancel", &[&second]).succeeds();
    assert_eq!(cluster.states()[..3], ["running", "stopped", "queued"]);
    // We stop one that runs, and one that waits.
    cluster
        .lab
        .agile(&["stop", "--yes", &runs[0].1, &runs[2].1])
        .succeeds();
    let states = cluster.states();
    assert_eq!(states[..3], ["stopped", "stopped", "stopped"]);
    wait_until(10, "the fourth", || cluster.launched() == ["1", "4"]);

    // The run's own watch, and not Slurm's, is the first to see that its time is over.
    wait_until(40, "its end", || cluster.states()[5] == "timed-out");
    assert_eq!(cluster.runs()[5].3, "");

    // The fourth runs where a node fails.
    let node = cluster
        .slurm
        .asks("squeue", &["-h", "-j", grid, "-t", "R", "-o", "%N"]);
    cluster.slurm.kill_node(node.stdout.trim());
    wait_until(20, "its end", || cluster.states()[3] == "lost");
    assert_eq!(cluster.runs()[3].3, "its node failed");
    wait_until(20, "the fifth", || cluster.launched() == ["1", "4", "5"]);
    cluster.open(5);
    cluster
        .lab
        .agile(&["wait", "--timeout", "300"])
        .ends_with(1)
        .complains("5 of 6 runs did not succeed");
    assert_eq!(cluster.states()[4], "succeeded");
}

#[test]
fn a_grid_is_split_where_slurm_takes_fewer_tasks() {
    let Some(cluster) = Cluster::configured(
        "MaxArraySize=4\n",
        "slots = 2",
        "grid = { n = [1, 2, 3, 4, 5, 6, 7] }",
        WAIT,
    ) else {
        return;
    };
    let said = cluster.lab.agile(&["push", "-u", "origin", "main"]);
    said.succeeds().complains("7 runs submitted to Slurm");
    assert_eq!(cluster.slurm.jobs().len(), 3, "of 3, 3 and 1 tasks");
    wait_until(20, "two tasks", || cluster.launched().len() == 2);
    cluster.open(1);
    wait_until(30, "the third", || cluster.launched().len() == 3);
    cluster.open(2);
    wait_until(30, "their ends", || {
        cluster.states()[..3] == ["succeeded", "succeeded", "running"]
    });
    // The second part waits for all of the first, or three would run at once.
    assert_eq!(cluster.states()[3..], ["queued"; 4]);
    (3..=7).for_each(|n| cluster.open(n));
    cluster.lab.agile(&["wait", "--timeout", "90"]).succeeds();
    let mut launched = cluster.launched();
    launched.sort();
    assert_eq!(launched, ["1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn a_run_that_gives_way_to_another_job_is_not_started_twice() {
    for requeue in [false, true] {
        let Some(cluster) = Cluster::configured(
            "PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n\
             PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP\n",
            &format!("slurm = {{ requeue = {requeue} }}"),
            "grid = { n = [1, 2] }",
            WAIT,
        ) else {
            return;
        };
        cluster.push();
        wait_until(20, "both", || cluster.launched().len() == 2);
        let folder = cluster.lab.root().display().to_string();
        let urgent = [
            "--partition=urgent",
            "--nodes=2",
            "--exclusive",
            "--output=/dev/null",
            "--wrap=true",
        ];
        let chdir = format!("--chdir={folder}");
        let all = [&[chdir.as_str()], &urgent[..]].concat();
        cluster.slurm.asks("sbatch", &all).succeeds();
        cluster.lab.agile(&["wait", "--timeout", "90"]).ends_with(1);
        for (_, _, state, said) in cluster.runs() {
            assert!(matches!(&*state, "lost" | "failed"), "{requeue}: {state}");
            assert_eq!(said, "Slurm preempted it for another job", "{requeue}");
        }
        // What Slurm has put back into its queue comes again, and finds that it has been.
        for job in cluster.slurm.jobs() {
            let now = ["update", &format!("jobid={job}"), "starttime=now"];
            cluster.slurm.asks("scontrol", &now);
        }
        wait_until(60, "an empty queue", || {
            let left = cluster.slurm.asks("squeue", &["-h", "-o", "%i"]);
            left.stdout.is_empty()
        });
        let mut launched = cluster.launched();
        launched.sort();
        assert_eq!(launched, ["1", "2"], "{requeue}");
    }
}

#[test]
fn what_the_controller_has_forgotten_is_in_the_books() {
    let Some(cluster) = Cluster::started(
        Slurm::start_with_accounting,
        "slurm = { mem = \"100M\" }",
        "grid = { n = [1, 2, 3, 4] }",
        &format!(
            "case $1 in 1) exec python3 -c 'x = b\"x\" * 300000000; import time; time.sleep(60)' ;; esac\n{WAIT}"
        ),
    ) else {
        return;
    };
    cluster.push();
    wait_until(20, "all four", || cluster.launched().len() == 4);
    wait_until(60, "the end of the first", || {
        cluster.runs()[0].3 == "out of memory, says Slurm"
    });
    let job = &cluster.slurm.jobs()[0];
    let second = format!("{job}_2");
    cluster.slurm.asks("scancel", &[&second]).succeeds();
    let third = ["-h", "-j", &format!("{job}_3"), "-o", "%N"];
    let node = cluster.slurm.asks("squeue", &third);
    cluster.slurm.kill_node(node.stdout.trim());
    cluster.open(4);
    // Until the controller has forgotten them nobody asks, and what Slurm told them is gone too.
    wait_until(150, "the controller to forget", || {
        cluster.slurm.jobs().is_empty()
    });
    let told = "rm -f agile/proj/queue/slurm/*/out-*";
    cluster.server.sh(told).succeeds();
    // A job that was sent a moment ago may be one that squeue does not know of yet.
    wait_until(120, "the end of the third", || {
        cluster.runs()[2].3 == "its node failed"
    });
    assert_eq!(cluster.states()[..3], ["failed", "stopped", "lost"]);
    assert_eq!(cluster.runs()[0].3, "out of memory, says Slurm");
}

#[test]
fn a_job_that_is_cancelled_before_it_begins_stopped_its_runs() {
    let Some(cluster) = Cluster::new(
        "slurm = { begin = \"now+1hour\" }",
        "grid = { n = [1, 2] }\n[experiments.alone]\ncommand = \"true {n}\"\nset = { n = 9 }",
        WAIT,
    ) else {
        return;
    };
    cluster.push();
    assert_eq!(cluster.states(), ["queued"; 3]);
    // They are there, and not to be removed.
    let foreseen = cluster.lab.agile(&["deploy", "--dry-run"]);
    foreseen.succeeds().says("queued").never_says("launch:");
    cluster
        .lab
        .agile(&["clean", "--yes", "--force"])
        .succeeds()
        .says("kept: 3 runs");
    assert_eq!(cluster.states(), ["queued"; 3]);
    for job in cluster.slurm.jobs() {
        cluster.slurm.asks("scancel", &[&job]).succeeds();
    }
    cluster.lab.agile(&["wait", "--timeout", "60"]).ends_with(1);
    for (n, _, state, note) in cluster.runs() {
        assert_eq!(
            (&*state, &*note),
            ("stopped", "its Slurm job was cancelled"),
            "{n}"
        );
    }
    assert_eq!(cluster.launched(), [""; 0]);
}

#[test]
fn a_slurm_that_does_not_answer_ends_no_run() {
    let Some(cluster) = Cluster::new("slots = 1", "grid = { n = [1, 2] }", WAIT) else {
        return;
    };
    cluster.push();
    wait_until(10, "the first", || cluster.launched().len() == 1);
    wait_until(10, "its state", || {
        cluster.states() == ["running", "queued"]
    });
    let before = cluster.runs();
    cluster.slurm.freeze();
    let said = cluster.lab.agile(&["status"]);
    said.ends_with(5)
        .complains("box: Slurm does not answer: squeue: ")
        .says("running")
        .says("queued");
    assert_eq!(cluster.runs(), before);
    // A stop that does not reach it stops nothing. What the run itself wrote is evidence.
    let stop = cluster.lab.agile(&["stop", "--yes", &cluster.runs()[0].1]);
    stop.ends_with(5).complains("it may still be going on");
    cluster.open(1);
    wait_until(20, "the first to end", || {
        cluster.states()[0] == "succeeded"
    });
    assert_eq!(cluster.states()[1], "queued");
    cluster.slurm.thaw();
    cluster.open(2);
    cluster.lab.agile(&["wait", "--timeout", "300"]).succeeds();

    // A second push, while the first one's runs wait, is a job of its own.
    for n in [1, 2] {
        fs::remove_file(cluster.server.home().join(format!("open-{n}"))).unwrap();
    }
    for message in ["One", "Two"] {
        cluster.lab.commit_nothing(message);
        cluster.lab.agile(&["push"]).succeeds();
    }
    assert_eq!(cluster.slurm.jobs().len(), 3);
    cluster.open(1);
    cluster.open(2);
    cluster
        .lab
        .agile(&["wait", "--all", "--timeout", "300"])
        .succeeds();
    assert_eq!(cluster.launched().len(), 6);
}

#[test]
fn a_lost_answer_is_looked_up() {
    let Some(cluster) = Cluster::new("slurm = { time = 5 }", "grid = { n = [1, 2] }", "") else {
        return;
    };
    let submit = "PATH=${PATH#\"$LAB_SHIM:\"}\nsbatch \"$@\" >/dev/null || exit 9\n";
    let timed_out = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1\n";
    let deploy = || cluster.lab.agile(&["deploy"]);

    // The job is there, although sbatch says that it may not be: found at once.
    cluster
        .server
        .shim("sbatch", &format!("#!/bin/sh\n{submit}{timed_out}"));
    cluster.push();
    cluster.lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert_eq!(
        (cluster.slurm.jobs().len(), cluster.launched().len()),
        (1, 2)
    );

    // The script dies with all that it started after the job was sent: asked again, it finds the job.
    cluster.lab.commit_nothing("Killed");
    cluster.lab.git(&["push", "--quiet"]).succeeds();
    cluster.server.shim(
        "sbatch",
        &format!("#!/bin/sh\n{submit}kill -KILL -$(ps -o pgid= -p $$ | tr -d ' ')\n"),
    );
    deploy();
    deploy().succeeds().never_says("submitted");
    cluster.server.remove_shim("sbatch");
    cluster.lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert_eq!(
        (cluster.slurm.jobs().len(), cluster.launched().len()),
        (2, 4)
    );

    // Nothing was sent, and nobody knows that: said so, and the same command makes sure.
    cluster.lab.commit_nothing("Never sent");
    cluster.lab.git(&["push", "--quiet"]).succeeds();
    cluster
        .server
        .shim("sbatch", &format!("#!/bin/sh\n{timed_out}"));
    deploy()
        .ends_with(5)
        .complains("box: Slurm did not say whether it took the job")
        .complains("Socket timed out")
        .complains("the same command again asks Slurm for the job");
    let newest = cluster.lab.agile(&["status", "--json"]).json();
    assert_eq!(newest[0]["state"], "asked");
    // A run that is stopped now does not run, wherever its job may be.
    let second = newest[1]["id"].as_str().expect("an id").to_string();
    let stop = cluster.lab.agile(&["stop", "--yes", &second]);
    stop.succeeds().complains("stopped");
    cluster.server.remove_shim("sbatch");
    deploy().succeeds().complains("1 run submitted to Slurm");
    cluster
        .lab
        .agile(&["wait", "--timeout", "300"])
        .ends_with(1)
        .complains("1 of 2 runs did not succeed");
    let over = || cluster.slurm.asks("squeue", &["-h"]).stdout.is_empty();
    wait_until(20, "the end of the job", over);
    assert_eq!(
        (cluster.slurm.jobs().len(), cluster.launched().len()),
        (3, 5)
    );

    // A clear answer is believed, and leaves nothing behind.
    let text = cluster
        .lab
        .read("agile.toml")
        .replace("time = 5", "partition = \"nope\"");
    cluster.lab.write("agile.toml", &text);
    cluster.lab.commit("No such partition");
    cluster.lab.git(&["push", "--quiet"]).succeeds();
    deploy()
        .ends_with(5)
        .complains("box: Slurm did not take the job (2 runs)")
        .complains("invalid partition")
        .complains("correct `slurm` of [servers.box]");
    cluster
        .lab
        .agile(&["status"])
        .succeeds()
        .says("not launched");
    let left = cluster.server.sh("ls ~/agile/proj/queue/slurm | wc -l");
    assert_eq!(left.stdout.trim(), "3");
}

/// Puts a shim before the tools that a submission calls: it notes its name as `count/N`, the number of the call, and
/// kills at call number `at`. What runs in a job is left alone; there a shim does not stand first on `PATH`, so that it must
/// not look for its tool there, or it finds itself.
fn kill_at_a_tool(cluster: &Cluster, kill: &str) {
    let here = cluster.server.folder().display();
    let conf = cluster.slurm.conf();
    for name in [
        "awk", "cat", "cut", "date", "env", "grep", "id", "mkdir", "mv", "rm", "sbatch", "sed",
        "squeue", "tail", "tr", "wc",
    ] {
        let shim = format!(
            r#"#!/bin/sh
export SLURM_CONF={conf}
tool() {{ PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin command {name} "$@"; }}
if [ -n "${{SLURM_JOB_ID-}}" ] || [ ! -e {here}/count ]; then tool "$@"; exit; fi
set -C
n=1
until {{ echo {name} >{here}/count/$n; }} 2>/dev/null; do
    [ -e {here}/count ] || {{ tool "$@"; exit; }}
    n=$((n + 1))
done
set +C
read -r at <{here}/at
[ "$n" -ne "$at" ] || {kill}
tool "$@"
"#,
            conf = conf.display()
        );
        cluster.server.shim(name, &shim);
    }
}

/// Kills the script at each tool of a submission in turn; the same script again finds what there is, or sends it.
fn a_killed_submission_is_mended_by_the_same(kill: &str) {
    let Some(cluster) = Cluster::new("", "set = { n = 1 }", "") else {
        return;
    };
    let place = |name: &str| cluster.server.folder().join(name);
    let (lab, server) = (&cluster.lab, &cluster.server);
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
    let url = lab.origin().home().join("proj.git").display().to_string();
    kill_at_a_tool(&cluster, kill);
    let head = lab.head();
    let call = |number: usize| {
        let (id, command) = (
            format!("train-{number}"),
            format!("echo {number} >>~/launches"),
        );
        let mut deployment = one_run("~/agile/proj", &url, &head, &id, &command);
        deployment.launcher = Launcher::Slurm;
        (scripts::deploy(&deployment), id)
    };
    // The tools of an undisturbed script: what follows the first one with `locks/slurm` is the submission.
    through(server, &["sh"], &call(0).0);
    fs::write(place("at"), "0\n").unwrap();
    fs::create_dir(place("count")).unwrap();
    through(server, &["sh"], &call(1).0);
    let tools = fs::read_dir(place("count")).unwrap().count();
    let name = |n: usize| fs::read_to_string(place(&format!("count/{n}"))).unwrap();
    let sbatch = (1..=tools)
        .find(|n| name(*n) == "sbatch\n")
        .expect("it was called");
    fs::remove_dir_all(place("count")).unwrap();

    for at in sbatch - 16..=tools {
        fs::write(place("at"), format!("{at}\n")).unwrap();
        fs::create_dir(place("count")).unwrap();
        let (call, id) = call(100 + at);
        let mut first = Script::start(server, &["sh"], &call);
        wait_until(60, "the first script's end", || first.ended());
        fs::remove_dir_all(place("count")).unwrap();
        let shell: &[&str] = [&["dash"][..], &["bash"], &["busybox", "sh"]][at % 3];
        let (mut answer, mut outcome) = through(server, shell, &call);
        // A controller that is slow to answer leaves it open, until the same is asked again.
        while has(&answer, &["run", &id, "unconfirmed"]) {
            (answer, outcome) = through(server, shell, &call);
        }
        assert!(
            has(&answer, &["run", &id, "submitted"]) || has(&answer, &["run", &id, "exists"]),
            "killed at tool {at}, sbatch being {sbatch}: {answer:?}\n{outcome}"
        );
        first.finish();
        let exit = server.home().join(format!("agile/proj/runs/{id}/exit"));
        // A controller whose message to a node was lost asks for it again after a third of SlurmdTimeout, 300 s.
        wait_until(60, "the run's end", || exit.exists());
    }
    let runs = 2 + tools - (sbatch - 16) + 1;
    assert_eq!(server.launches(), runs);
    assert_eq!(cluster.slurm.jobs().len(), runs, "one job for each run");
}

#[test]
fn a_script_killed_before_each_tool_of_a_submission() {
    a_killed_submission_is_mended_by_the_same("kill -9 0");
}

#[test]
fn a_script_killed_while_each_tool_of_a_submission_goes_on() {
    a_killed_submission_is_mended_by_the_same(KILL_THE_SCRIPT);
}

#[test]
fn every_task_has_a_line_of_its_own() {
    let script = concat!(
        include_str!("../src/deployment/scripts/slurm.sh"),
        "base='/home/a b'; jobs_here"
    );
    let said = [
        "12_3 RUNNING None /home/a b/queue/slurm/train-1",
        "13_[2-3,7%2] PENDING Priority /home/a b/queue/slurm/train-2",
        "14_1 RUNNING None /elsewhere/queue/slurm/train-1",
        "15 RUNNING None /home/a b/queue/slurm/train-3",
        "squeue: error: something",
    ];
    for shell in [&["dash"][..], &["bash"], &["busybox", "sh"]] {
        let mut command = std::process::Command::new(shell[0]);
        command.args(&shell[1..]).args(["-c", script]);
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let text = said.join("\n") + "\n";
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "train-1#3@12 RUNNING None\ntrain-2#2@13 PENDING Priority\ntrain-2#3@13 PENDING Priority\n\
             train-2#7@13 PENDING Priority\n",
            "{shell:?}"
        );
    }
}
