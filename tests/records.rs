//! Records shared by two people through a git host.

mod support;

use std::fs;

use support::{Lab, Outcome, configuration, wait_until};

/// In Ada's clone (the lab's project), or in Ben's beside it.
fn shell(lab: &Lab, text: &str) -> Outcome {
    lab.run("sh", &["-c", text])
}

fn ben(lab: &Lab, text: &str) -> Outcome {
    shell(lab, &format!("cd ../ben && {text}"))
}

fn tip(lab: &Lab, folder: &str, id: &str) -> String {
    shell(
        lab,
        &format!("git -C {folder} rev-parse refs/agile/runs/{id}"),
    )
    .succeeds()
    .stdout
    .trim()
    .into()
}

fn ids(outcome: &Outcome) -> Vec<String> {
    let list = outcome.succeeds().json();
    let id = |run: &serde_json::Value| run["id"].as_str().expect("an id").to_string();
    list.as_array().expect("a list").iter().map(id).collect()
}

/// Ada and Ben, each with a clone that both servers' agreements hold for.
fn two() -> Lab {
    let lab = Lab::new();
    lab.server("box");
    lab.project_with(&configuration(&["box"], "grid = { lr = [0.1] }"));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.git(&["push", "-q", "-u", "origin", "main"]).succeeds();
    shell(&lab, "git clone -q origin:proj.git ../ben && cd ../ben && git config user.name Ben && git agile trust --all").succeeds();
    lab
}

#[test]
fn two_people_share_one_notebook() {
    let lab = two();
    lab.agile(&["records", "fetch"])
        .succeeds()
        .complains("origin has nothing new.");
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["records", "push"])
        .succeeds()
        .complains("origin has the records of this clone.");
    ben(&lab, "git agile records fetch")
        .succeeds()
        .complains("origin: 1 record new");
    // (`status` would look at the server, and learn.)
    let name = lab.git(&["for-each-ref", "--format=%(refname)", "refs/agile/runs"]);
    let id = name.stdout.trim().replace("refs/agile/runs/", "");
    assert_eq!(tip(&lab, ".", &id), tip(&lab, "../ben", &id));

    // Both see the end, Ada has the results; the chains part.
    wait_until(60, "the end", || lab.agile(&["wait"]).code == Some(0));
    lab.agile(&["fetch-results"]).succeeds();
    ben(&lab, "git agile status").succeeds().says("succeeded");
    let (hers, his) = (tip(&lab, ".", &id), tip(&lab, "../ben", &id));
    assert_ne!(hers, his);
    // And each has a run that the other does not know.
    lab.commit_nothing("Ada's");
    lab.agile(&["push", "-q"]).succeeds();
    ben(&lab, "git checkout -q -b mine && git commit -q --allow-empty -m \"Ben's\" && git agile push -q -u origin mine && git agile wait").succeeds();
    lab.agile(&["wait", "--all"]).succeeds();

    // Neither fetches first; neither loses anything.
    lab.agile(&["records", "push"]).succeeds();
    ben(&lab, "git agile records push")
        .succeeds()
        .complains("origin: 1 record new, 1 record joined")
        .complains("origin has the records of this clone.");
    lab.agile(&["records", "fetch", "origin"])
        .succeeds()
        .complains("origin: 1 record new, 1 record brought up to date");
    assert_eq!(tip(&lab, ".", &id), tip(&lab, "../ben", &id));
    let parents = lab.git(&["log", "-1", "--format=%P", &format!("refs/agile/runs/{id}")]);
    for parent in [&hers, &his] {
        assert!(parents.stdout.contains(parent), "{parents}");
    }
    let mut sorted = ids(&lab.agile(&["status", "--all", "--json"]));
    let mut his = ids(&ben(&lab, "git agile status --all --json"));
    sorted.sort();
    his.sort();
    assert_eq!((sorted.len(), sorted), (3, his));
    let shown = ben(&lab, &format!("git agile show --json {id}")).json();
    assert_eq!(shown["state"], "succeeded");
    assert_eq!(shown["exit"], 0);
    assert!(shown["fetched"].is_i64(), "what Ada knew is gone: {shown}");

    // That she has the results does not bring them to him. Who removes them does not want them again.
    ben(&lab, "git agile status --all")
        .succeeds()
        .complains("3 ended, not fetched");
    ben(&lab, "git agile fetch-results").succeeds();
    ben(&lab, &format!("cat results/{id}/results/metrics.json"))
        .succeeds()
        .says("loss");
    ben(&lab, "rm -r results && git agile fetch-results")
        .succeeds()
        .complains("Nothing to fetch.");
    let files = lab.git(&["ls-tree", "--name-only", &format!("refs/agile/runs/{id}")]);
    files.says("manifest.json");
    // Nothing more to do for anybody.
    lab.agile(&["records", "push"])
        .succeeds()
        .never_says("joined");
    ben(&lab, "git agile records fetch")
        .succeeds()
        .complains("nothing new");
}

/// Both join the same chains before either pushes: it is the same commit.
#[test]
fn joining_twice_is_joining_once() {
    let lab = two();
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    let id = ids(&lab.agile(&["status", "--json"])).remove(0);
    lab.agile(&["records", "push"]).succeeds();
    ben(&lab, "git agile records fetch").succeeds();
    // Two chains, made by hand: each adds a fact to what is there.
    let learn = |folder: &str, edit: &str| {
        let text = format!(
            "cd {folder} && r=refs/agile/runs/{id} && git cat-file -p $r:state.json | sed '{edit}' >state.json && \
             b=$(git hash-object -w state.json) && rm state.json && \
             t=$(git ls-tree $r | sed \"s/[0-9a-f]\\{{40\\}}\\tstate.json/$b\\tstate.json/\" | git mktree) && \
             git update-ref $r $(git commit-tree -p $r -m learnt $t)"
        );
        shell(&lab, &text).succeeds();
    };
    learn(".", "s/\"state\"/\"fetched\": 7, &/");
    learn("../ben", "s/\"state\"/\"note\": \"seen by Ben\", &/");
    shell(
        &lab,
        "git push -q origin 'refs/agile/runs/*:refs/agile/runs/*'",
    )
    .succeeds();
    let hers = tip(&lab, ".", &id);
    ben(&lab, "git agile records fetch")
        .succeeds()
        .complains("1 record joined");
    // Ada gets his end of the chain, not his join of it.
    let his = shell(
        &lab,
        &format!("cd ../ben && git rev-list --parents -1 refs/agile/runs/{id}"),
    )
    .stdout;
    let his_own = his
        .split_whitespace()
        .skip(1)
        .find(|id| **id != hers)
        .expect("two parents")
        .to_string();
    ben(
        &lab,
        &format!("git push -q --force origin {his_own}:refs/agile/runs/{id}"),
    )
    .succeeds();
    lab.agile(&["records", "fetch"])
        .succeeds()
        .complains("1 record joined");
    assert_eq!(tip(&lab, ".", &id), tip(&lab, "../ben", &id));
    let shown = lab.agile(&["show", "--json", &id]).json();
    assert_eq!(
        (&shown["fetched"], &shown["note"]),
        (&7.into(), &"seen by Ben".into())
    );
}

#[test]
fn what_is_no_record_is_left_out() {
    let lab = two();
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    let id = ids(&lab.agile(&["status", "--json"])).remove(0);
    lab.git(&[
        "push",
        "-q",
        "origin",
        "HEAD:refs/agile/runs/train-no-record",
    ])
    .succeeds();
    lab.git(&["push", "-q", "origin", "HEAD:refs/agile/runs/UPPER"])
        .succeeds();
    lab.git(&[
        "push",
        "-q",
        "origin",
        &format!("refs/agile/runs/{id}:refs/agile/runs/train-other-name"),
    ])
    .succeeds();
    let said = ben(&lab, "git agile records fetch");
    said.succeeds()
        .complains("train-no-record cannot be read")
        .complains("UPPER")
        .complains("that of run");
    assert_eq!(ben(&lab, "git for-each-ref refs/agile/runs").stdout, "");

    lab.agile(&["records", "fetch", "nowhere"])
        .ends_with(2)
        .explains("there is no git remote `nowhere`", "git remote -v");
    lab.agile(&["records", "fetch", "-oops"]).ends_with(2);
    let url = "http://ada:s3cret@127.0.0.1:9/p.git";
    lab.git(&["remote", "add", "closed", url]).succeeds();
    for action in ["push", "fetch"] {
        let said = lab.agile(&["records", action, "closed"]);
        said.ends_with(5).never_says("s3cret");
        said.explains("of the records failed for closed", "git ls-remote closed");
    }
    assert!(
        fs::read_to_string(lab.project_folder().join(".git/config"))
            .expect("there")
            .contains("s3cret")
    );
}
