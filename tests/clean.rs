//! `git agile clean`: what nobody needs goes, and nothing else.

mod support;

use std::fs;

use support::{Lab, Server, configuration};

const SHELLS: [(&str, &str); 3] = [
    ("dash", "dash"),
    ("bash", "bash --posix"),
    ("busybox", "busybox sh"),
];

fn project(lab: &Lab, rates: &str) {
    lab.project_with(&configuration(
        &["box"],
        &format!("grid = {{ lr = [{rates}] }}"),
    ));
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.commit("Nothing to install");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
}

/// `runs`, `envs`, … in the project's folder, by name.
fn there(server: &Server, kind: &str) -> Vec<String> {
    let listed = server.sh(&format!("cd agile/proj/{kind} && ls"));
    listed.stdout.lines().map(str::to_string).collect()
}

fn ids(lab: &Lab) -> Vec<String> {
    let json = lab.agile(&["status", "--all", "--json"]).json();
    let runs = json.as_array().expect("an array").iter();
    runs.map(|run| run["id"].as_str().expect("an id").to_string())
        .collect()
}

#[test]
fn only_what_is_home_and_over_goes() {
    let lab = Lab::new();
    let server = lab.server("box");
    project(&lab, "0.1, 0.2, 0.3");
    lab.agile(&["wait"]).succeeds();
    let runs = ids(&lab);
    lab.agile(&["clean", "--yes"])
        .succeeds()
        .says("kept: 3 runs (not fetched)")
        .says("kept: 1 environment (used by a run that stays)")
        .complains("Nothing to remove.");
    lab.agile(&["fetch-results", &runs[0], &runs[1]]).succeeds();
    // What came home is not what is there any more.
    server
        .sh(&format!(
            "echo more >> agile/proj/runs/{}/code/results/metrics.json",
            runs[1]
        ))
        .succeeds();
    server.close_gate();
    lab.agile(&["deploy", "--set", "lr=0.4"]).succeeds();
    let live = ids(&lab).pop().expect("a run");
    server
        .sh("mkdir -p agile/proj/runs/somebody-elses/code")
        .succeeds();

    // What goes on writes its own.
    let found = format!(
        "cd agile/proj && find . -path ./locks -prune -o -path ./runs/{live} -prune -o -print | sort"
    );
    let stays = || server.sh(&found).stdout;
    let before = stays();
    let shown = lab.agile(&["clean", "--dry-run"]);
    shown
        .succeeds()
        .says(&format!("runs/{}", runs[0]))
        .says("kept: 1 run (differs from what was fetched)")
        .says("kept: 1 run (not fetched)")
        .says("kept: 1 run (goes on, or waits)")
        .says("kept: 1 run (not known here)");
    lab.agile(&["clean"])
        .ends_with(2)
        .explains("clean asks first", "git agile clean --yes");
    for age in ["2d", "12h"] {
        lab.agile(&["clean", "--yes", "--older-than", age])
            .succeeds()
            .complains("Nothing to remove.");
    }
    lab.agile(&["clean", "--yes", "--data"])
        .succeeds()
        .complains("Nothing to remove.");
    let after = stays();
    assert_eq!(before, after);

    let terminal = lab.agile_in_terminal(&["clean"]);
    terminal.shows("Remove 1 thing").enter("n");
    assert_eq!(terminal.ends(), 0, "{terminal}");
    assert!(there(&server, "runs").contains(&runs[0]));
    let terminal = lab.agile_in_terminal(&["clean", "box"]);
    terminal.shows("Remove 1 thing").enter("y");
    assert_eq!(terminal.ends(), 0, "{terminal}");
    terminal
        .shows("box: removed 1 thing")
        .shows("The runs' records stay");
    let mut left = vec![
        runs[1].clone(),
        runs[2].clone(),
        live.clone(),
        "somebody-elses".into(),
    ];
    left.sort();
    assert_eq!(there(&server, "runs"), left);
    let worktrees = server
        .sh("git -C agile/proj/repo.git worktree list --porcelain")
        .stdout;
    assert!(
        !worktrees.contains(&runs[0]) && worktrees.contains(&runs[1]),
        "{worktrees}"
    );
    lab.agile(&["show", &runs[0]]).succeeds().says("succeeded");
    let removed = format!("{}: removed from the server", runs[0]);
    lab.agile(&["fetch-results", &runs[0]])
        .succeeds()
        .complains(&removed);
    lab.agile(&["logs", &runs[0]])
        .ends_with(5)
        .explains("was removed from box", "less ");

    // By force, by their number.
    let terminal = lab.agile_in_terminal(&["clean", "--force"]);
    terminal
        .shows("the results of 2 runs are not here")
        .shows("Remove 2 things")
        .enter("y");
    terminal
        .shows("Type 2 to lose the results of 2 runs")
        .enter("y");
    assert_eq!(terminal.ends(), 0, "{terminal}");
    assert_eq!(there(&server, "runs"), left);
    lab.agile(&["clean", "--force", "--yes"])
        .succeeds()
        .complains("the results of 2 runs are not here")
        .complains("removed 2 things");
    assert_eq!(
        there(&server, "envs").len(),
        1,
        "the run that goes on uses it"
    );

    server.open_gate();
    lab.agile(&["wait", &live]).succeeds();
    lab.agile(&["fetch-results"]).succeeds();
    fs::remove_dir(server.home().join("agile/proj/runs/somebody-elses/code")).expect("it is empty");
    lab.agile(&["clean", "--yes"])
        .succeeds()
        .complains("removed 2 things");
    assert_eq!(there(&server, "runs"), ["somebody-elses"]);
    assert_eq!(there(&server, "envs"), [""; 0]);
    assert!(!server.home().join("agile/proj/locks/trash").exists());

    // All of it can be made again.
    lab.agile(&["deploy", "--again", "--set", "lr=0.1"])
        .succeeds();
    lab.agile(&["wait"]).succeeds();
}

#[test]
fn a_deployment_and_a_cleaning_keep_apart() {
    for (name, shell) in SHELLS {
        let lab = Lab::new();
        let server = lab.server("box");
        project(&lab, "0.1");
        lab.agile(&["wait"]).succeeds();
        lab.agile(&["fetch-results"]).succeeds();
        server.set_login_shell("/bin/sh");
        server.shim("sh", &format!("#!/bin/sh\nexec {shell} \"$@\"\n"));
        server.shim("lab-mark", "#!/bin/sh\nread -r stat <\"/proc/$1/stat\"\nset -- \"$1\" ${stat##*') '}\neval \"ticks=\\${21}\"\n\
            cd agile/proj && mkdir -p locks/deploying && : >\"locks/deploying/held,$(uname -n),$(cat \"$AGILE_BOOT_ID\"),$1,$ticks\"\n");
        // A deployment that goes on: another process's mark.
        let busy = std::process::id();
        server.sh(&format!("lab-mark {busy}")).succeeds();
        lab.agile(&["clean", "--yes"]).ends_with(5).explains(
            "a deployment goes on there; nothing was removed",
            "git agile clean",
        );
        assert_eq!(there(&server, "runs").len(), 1, "{name}");
        // One that is gone is no obstacle.
        server.sh("cd agile/proj/locks/deploying && for f in held,*; do mv \"$f\" \"${f%,*},1\"; done").succeeds();
        lab.agile(&["clean", "--yes"])
            .succeeds()
            .complains("removed 2 things");
        assert_eq!(there(&server, "runs"), [""; 0], "{name}");
        assert_eq!(there(&server, "locks/deploying"), [""; 0], "{name}");
    }
}

/// A repository among the results is refused here, and another clone has fetched nothing.
#[test]
fn what_has_not_come_to_this_clone_stays() {
    let lab = Lab::new();
    let server = lab.server("box");
    project(&lab, "0.1, 0.2");
    lab.agile(&["wait"]).succeeds();
    let runs = ids(&lab);
    let code = format!("agile/proj/runs/{}/code/results", runs[0]);
    server
        .sh(&format!(
            "mkdir -p {code}/m.git/refs {code}/m.git/objects && cd {code}/m.git && echo x >HEAD && echo x >refs/x && echo x >objects/x"
        ))
        .succeeds();
    lab.agile(&["fetch-results"]).ends_with(5);
    lab.agile(&["clean", "--dry-run"])
        .succeeds()
        .says(&format!("runs/{}", runs[1]))
        .says("kept: 1 run (differs from what was fetched)");
    let folder = lab.project_folder();
    fs::remove_dir_all(folder.join("results")).expect("they are here");
    fs::remove_dir_all(folder.join(".git/agile")).expect("it is here");
    lab.agile(&["clean", "--yes"])
        .succeeds()
        .says("kept: 2 runs (not fetched)")
        .complains("Nothing to remove.");
    assert_eq!(there(&server, "runs").len(), 2);
}
