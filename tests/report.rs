//! What a review shows of real runs: tables, pictures, and the page in a real browser.

mod browser;
mod support;

use std::fs;
use std::sync::OnceLock;

use serde_json::{Value, json};

use browser::Browser;
use support::{Lab, configuration, wait_until};

/// A curve and a final value that depend on the parameters alone; large learning rates fail.
const TRAIN: &str = r#"
import json, os, pathlib, sys
lr, seed = float(os.environ["AGILE_PARAM_LR"]), int(os.environ["AGILE_PARAM_SEED"])
if lr > 0.5:
    sys.exit("diverged at <b>epoch 3</b>")
pathlib.Path("results").mkdir()
level = FACTOR * lr + seed / 100
with open("results/metrics.csv", "w") as file:
    file.write("epoch,loss,accuracy\n")
    for epoch in range(1, 31):
        file.write(f"{epoch},{level + 1 / epoch:.6f},{1 - level:.6f}\n")
with open("results/end.json", "w") as file:
    json.dump({"end": float("nan") if seed == 2 else level}, file)
"#;

/// Text that would run if it were ever taken for markup.
const HOSTILE: &str = "<script>document.title='taken'</script><img src=x onerror=alert(1)>\"'&";

/// Six runs of one commit, of which two failed, and six of a better one; all fetched.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let lab = Lab::new();
        lab.server("box");
        let hostile = serde_json::to_string(HOSTILE).expect("text"); // as TOML writes it too
        let design = format!(
            "grid = {{ lr = [0.1, 0.01, 1.0], seed = [1, 2] }}\nset = {{ note = {hostile} }}"
        );
        let configuration = configuration(&["box"], &design)
            .replace("python train.py --lr {lr}", "python train.py")
            .replace(
                "\"results/metrics.json\"",
                "\"results/metrics.csv\", \"results/end.json\"",
            );
        lab.project_with(&configuration);
        lab.agile(&["trust", "--all"]).succeeds();
        for (factor, subject) in [("2", "Try <i>it</i>"), ("1", "Try harder")] {
            lab.write("train.py", &TRAIN.replace("FACTOR", factor));
            lab.commit(subject);
            lab.agile(&["push", "-u", "origin", "main"]).succeeds();
            lab.agile(&["wait"]).ends_with(1);
            lab.agile(&["fetch-results"]).succeeds();
        }
        lab
    })
}

fn review(arguments: &[&str]) -> support::Outcome {
    lab().agile(&[&["review"], arguments].concat())
}

#[test]
fn groups_have_means_over_the_seeds() {
    let json = review(&[
        "--group-by",
        "lr",
        "--where",
        "state=succeeded",
        "--format",
        "json",
    ])
    .succeeds()
    .json();
    // numpy 2.4.6: mean, std(ddof=1); scipy 1.17.1: t.interval.
    let groups = json.as_array().expect("groups");
    assert_eq!(groups.len(), 2, "{json}");
    assert_eq!(groups[1]["group"], json!({"lr": 0.1}));
    assert_eq!(groups[1]["runs"].as_array().map(Vec::len), Some(2));
    let loss = &groups[1]["metrics"]["loss"];
    let close =
        |value: &Value, wanted: f64| (value.as_f64().expect("a number") - wanted).abs() < 1e-9;
    // Last values 1/30 + 0.1 + 0.01 and + 0.02, rounded to six digits.
    assert!(
        close(&loss["mean"], 0.148333) && close(&loss["sd"], 0.007071067811865475),
        "{loss}"
    );
    assert!(close(&loss["ci95"], 0.06353102368087346), "{loss}");
    assert_eq!(groups[1]["metrics"]["end"]["mean"], "NaN");

    let table = review(&[
        "--group-by",
        "lr",
        "--where",
        "state=succeeded",
        "--columns",
        "loss",
        "--best",
        "loss",
    ]);
    let lines: Vec<&str> = table
        .succeeds()
        .stdout
        .lines()
        .filter(|line| !line.starts_with("all:"))
        .collect();
    assert_eq!(
        lines,
        [
            "  lr  N             loss",
            "0.01  2  0.0583 ± 0.0071",
            " 0.1  2  0.1483 ± 0.0071"
        ]
    );
    review(&["--group-by", "lr", "--ci", "--columns", "loss"])
        .succeeds()
        .says("0.148 ± 0.064")
        .never_says("warning");
    review(&["--all", "--group-by", "lr"])
        .succeeds()
        .complains("warning: runs of different commits are taken together");
}

#[test]
fn runs_are_chosen_sorted_and_written_in_every_form() {
    let first = |arguments: &[&str]| {
        let json = review(&[arguments, &["--format", "json"]].concat())
            .succeeds()
            .json();
        json[0].clone()
    };
    assert_eq!(first(&["--sort", "loss"])["parameters"]["lr"], 0.01);
    assert_eq!(first(&["--sort=-loss"])["parameters"]["lr"], 0.1);
    assert_eq!(
        first(&["--best", "accuracy"])["parameters"],
        first(&["--sort", "loss"])["parameters"]
    );
    assert_eq!(first(&["--where", "state=failed"])["parameters"]["lr"], 1.0);
    let both = ["--where", "state=succeeded", "--where", "lr>0.05"];
    assert_eq!(first(&both)["parameters"]["lr"], 0.1);
    review(&["--best", "end"])
        .ends_with(2)
        .explains("`end` is better", "--min or --max");
    review(&["--where", "lr<"])
        .ends_with(2)
        .explains("expected a value at its end", "--where 'lr<0.1");
    review(&["--best", "end", "--min", "-n", "1"])
        .succeeds()
        .complains("Best end: 0.02, train-");
    // A name is no mistake because no run that is meant has it.
    review(&["--where", "lr>5", "--best", "loss", "--columns", "loss"])
        .succeeds()
        .complains("warning: of 6 runs, none meets --where");
    let run = first(&["--best"])["run"]
        .as_str()
        .expect("an id")
        .to_owned();
    for (ignored, said) in [
        (&["--best", "--descending"][..], "cannot be used with"),
        (&["--metric", "loss"], "required arguments"),
        (
            &["--diff", &run, &run, "--where", "lr>1"],
            "cannot be used with",
        ),
        (&[&run, "--experiment", "train"], "cannot be used with"),
        (
            &["--group-by", "lr", "--columns", "note"],
            "`note` is no metric",
        ),
    ] {
        review(ignored).ends_with(2).complains(said);
    }
    // What makes the groups is shown anyway.
    review(&["--group-by", "lr", "--columns", "lr,loss", "--sort", "lr"]).succeeds();
    // The metric that counts is that of the runs that are meant.
    review(&["--where", "state=succeeded", "--best"])
        .succeeds()
        .complains("Best loss: ");

    let across = review(&["--all", "--format", "json"]).succeeds().json();
    let commits: Vec<&Value> = across
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| &run["commit"])
        .collect();
    assert_eq!(commits.len(), 12);
    let csv = review(&[
        "--all",
        "--format",
        "csv",
        "--columns",
        "commit,lr,loss",
        "--sort",
        "loss",
        "-n",
        "1",
    ]);
    assert_eq!(
        csv.succeeds().stdout,
        format!("commit,lr,loss\n{},0.01,0.053333\n", lab().head())
    );
    review(&["--format", "latex", "--columns", "state,note"])
        .succeeds()
        .says("\\textless{}script\\textgreater{}");
    review(&["--format", "md", "--columns", "state,note"])
        .succeeds()
        .says("\\<script\\>");
}

#[test]
fn two_runs_are_compared() {
    let best = |sprint: &str| {
        let runs = review(&["--sprint", sprint, "--best", "--format", "json"])
            .succeeds()
            .json();
        runs[0]["run"].as_str().expect("an id").to_owned()
    };
    let commit = |name: &str| {
        lab()
            .git(&["rev-parse", name])
            .succeeds()
            .stdout
            .trim()
            .to_owned()
    };
    let (one, other) = (best(&commit("HEAD~1")), best(&commit("HEAD")));
    let outcome = review(&["--diff", &one, &other]);
    outcome.succeeds().says("train.py").says("loss");
    let change = "-15.8 %"; // from 0.063333 to 0.053333
    outcome.says(change);
    let json = review(&["--diff", &one, &other, "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(json["runs"], json!([one, other]));
    assert_eq!(json["parameters"], json!({}));
    assert_eq!(
        json["metrics"]["loss"]["values"],
        json!([0.063333, 0.053333])
    );
}

#[test]
fn the_log_compares_sprints() {
    let log = lab().agile(&["log"]);
    let lines: Vec<&str> = log.succeeds().stdout.lines().collect();
    assert!(
        lines[0].ends_with("Try harder") && lines[0].starts_with(&lab().head()[..7]),
        "{log}"
    );
    assert_eq!(lines[1], "    6 runs: 4 succeeded, 2 failed");
    assert!(
        lines[2].starts_with("    best loss 0.053333 (-15.8 %, better than 0.063333)  train-"),
        "{log}"
    );
    assert_eq!(lines[3], "");
    assert!(lines[4].ends_with("Try <i>it</i>"), "{log}");
    let json = lab()
        .agile(&["log", "--json", "-n", "1", "--metric", "accuracy"])
        .succeeds()
        .json();
    assert_eq!(json.as_array().map(Vec::len), Some(1));
    assert_eq!(json[0]["runs"], json!({"succeeded": 4, "failed": 2}));
    let best = &json[0]["best"][0];
    assert_eq!(
        (&best["direction"], &best["value"], &best["before"]),
        (&json!("max"), &json!(0.98), &json!(0.97))
    );
    // One sprint alone is compared with the one before all the same.
    lab()
        .agile(&["log", "--sprint", &lab().head()])
        .succeeds()
        .says("better than 0.063333")
        .never_says("Try <i>");
    lab()
        .agile(&["log", "--metric", "los"])
        .ends_with(2)
        .explains("no run has a metric `los`", "did you mean `loss`?");
}

#[test]
fn long_tables_go_through_gits_pager() {
    let lab = lab();
    let terminal = lab.terminal(&["sh", "-c", "GIT_PAGER='sed s/^/paged:/' git agile review"]);
    terminal.shows("paged:");
    terminal.shows("CURVE OF loss");
    terminal.shows("█");
    assert_eq!(terminal.ends(), 0);
    // A pager that is not there is no reason to show nothing.
    let terminal = lab.terminal(&["sh", "-c", "GIT_PAGER=no-such-pager git agile log"]);
    terminal.shows("Try harder");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn pictures_are_drawn() {
    let lab = lab();
    review(&["--plot", "loss.svg", "--where", "state=succeeded"])
        .succeeds()
        .complains("Wrote loss.svg");
    let svg = lab.read("loss.svg");
    assert!(
        svg.contains("class=\"band c0 g0\"") && svg.contains(">lr=0.01</text>"),
        "{svg}"
    );
    review(&["--plot", "lr.svg", "--against", "lr"]).succeeds();
    // Between two values there is no room for powers of ten.
    assert!(lab.read("lr.svg").contains(">lr</text>"));
    review(&["--plot", "loss.gif"])
        .ends_with(2)
        .explains("loss.gif", ".svg");
    let png = review(&["--plot", "loss.png"]);
    match png.code {
        Some(0) => {
            let bytes = fs::read(lab.project_folder().join("loss.png")).expect("it is there");
            assert!(bytes.starts_with(b"\x89PNG"));
        }
        _ => {
            png.ends_with(5)
                .explains("a PNG needs one of these programs", "librsvg2-bin");
            eprintln!("skipped: no rsvg-convert");
        }
    }
    // Without a display the report is written and said where.
    review(&["--open"])
        .succeeds()
        .complains("There is no display here")
        .complains("agile/review.html where there is one");
    // The person's own browser is asked, and git's setting before it.
    let shows = "printf '%s %s' \"$0\" \"$1\" >shown";
    lab.write("browse", &format!("#!/bin/sh\n{shows}\n"));
    lab.run("chmod", &["+x", "browse"]).succeeds();
    let browse = |browser: &str, more: &[&str]| {
        let mut words = vec!["BROWSER=".to_owned() + browser, "git".into()];
        words.extend(more.iter().map(|word| word.to_string()));
        words.extend(["agile", "review", "--all", "--html", "r.html", "--open"].map(String::from));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        lab.run("env", &words)
    };
    browse("/nonexistent:./browse", &[]).succeeds();
    let page = lab.project_folder().join("r.html").display().to_string();
    assert_eq!(lab.read("shown"), format!("./browse {page}"));
    browse("./browse --new %s", &[]).succeeds();
    assert_eq!(lab.read("shown"), "./browse --new");
    browse("/nonexistent", &[])
        .ends_with(5)
        .explains("no browser shows it", "r.html yourself");
    let git = [
        "-c",
        "web.browser=mine",
        "-c",
        "browser.mine.cmd=./browse git",
    ];
    browse("/nonexistent", &git).succeeds();
    assert_eq!(lab.read("shown"), "./browse git");
    for name in [
        "loss.svg", "lr.svg", "loss.png", "r.html", "browse", "shown",
    ] {
        let _ = fs::remove_file(lab.project_folder().join(name));
    }
}

#[test]
fn the_report_works_in_a_browser() {
    let lab = lab();
    review(&["--all", "--html", "report.html"])
        .succeeds()
        .complains("Wrote report.html");
    let Some(browser) = Browser::start() else {
        eprintln!("skipped: no chromedriver");
        return;
    };
    let page = lab.project_folder().join("report.html");
    browser.open(&page);
    let runs = "return [...document.querySelectorAll('#runs tbody tr:not([hidden])')]";
    let column = |name: &str| {
        let script = format!(
            "const head = [...document.querySelectorAll('#runs thead th')].findIndex((h) => h.textContent === '{name}');
             {runs}.map((row) => row.cells[head].textContent);"
        );
        let cells = browser.script(&script);
        let cells = cells
            .as_array()
            .expect("cells")
            .iter()
            .map(|cell| cell.as_str().expect("text").to_owned());
        cells.collect::<Vec<_>>()
    };
    let head = |name: &str| {
        let place = browser.script(&format!(
            "return 1 + [...document.querySelectorAll('#runs thead th')].findIndex((h) => h.textContent === '{name}');"
        ));
        format!("#runs thead th:nth-child({place})")
    };
    assert_eq!(column("loss").len(), 12);

    // The best stands first. A click turns the order, and the next turns it back; the unknown stays last.
    let loss = head("loss");
    let up = [
        "0.053333", "0.063333", "0.063333", "0.073333", "0.14333", "0.15333", "0.24333", "0.25333",
        "", "", "", "",
    ];
    assert_eq!(column("loss"), up);
    browser.enter(&format!("{loss} button"), "\u{e007}"); // the Enter key
    let mut down = up[..8].to_vec();
    down.reverse();
    assert_eq!(column("loss")[..8], down);
    browser.click(&format!("{loss} button"));
    assert_eq!(column("loss"), up);
    browser.click(&format!("{loss} button"));
    let sorted = format!("return document.querySelector('{loss}').getAttribute('aria-sort');");
    assert_eq!(browser.script(&sorted), "descending");
    browser.click(&format!("{} button", head("state")));
    assert_eq!(column("state")[0], "failed (1)");
    assert_eq!(browser.script(&sorted), "none");

    // The filter leaves the rows that have every word.
    browser.enter("#filter", "failed 1");
    assert_eq!(column("state"), vec!["failed (1)"; 4]);
    assert_eq!(
        browser.script("return document.getElementById('count').textContent;"),
        "4 of 12 runs"
    );
    browser.click(".legend button");
    let forward =
        browser.script("return document.querySelectorAll('#curves.focus path.on').length;");
    assert!(forward.as_u64().is_some_and(|lines| lines > 0));

    // What was hostile is text.
    assert!(
        browser
            .script("return document.body.textContent;")
            .as_str()
            .expect("text")
            .contains(HOSTILE)
    );
    assert_eq!(browser.script("return document.title;"), "Review of proj");
    assert_eq!(
        browser.script("return document.querySelectorAll('img, main b, main i').length;"),
        0
    );
    assert_eq!(
        browser.script("return performance.getEntriesByType('resource').length;"),
        0
    );
    let link = browser.script("return document.querySelector('#runs a.log').href;");
    let link = link
        .as_str()
        .expect("an address")
        .strip_prefix("file://")
        .expect("a file")
        .to_owned();
    assert!(fs::metadata(&link).is_ok(), "{link}");

    // Dark and light, narrow and wide: the page itself never scrolls sideways.
    let mut papers = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        papers.push(browser.script("return getComputedStyle(document.body).backgroundColor;"));
        for width in [400, 1600] {
            browser.resize(width, 900);
            let inner = browser.script("return document.documentElement.scrollWidth;");
            assert!(
                inner.as_u64().is_some_and(|inner| inner <= width.into()),
                "{width}: {inner}"
            );
        }
    }
    assert_ne!(papers[0], papers[1]);

    // Nothing was refused, nothing failed. And the policy is at work: a script put there by force does not run.
    assert_eq!(browser.console(), Vec::<Value>::new());
    browser.script(
        "const script = document.createElement('script'); script.textContent = \"document.title = 'taken'\"; \
         document.body.append(script);",
    );
    assert_eq!(browser.script("return document.title;"), "Review of proj");
    wait_until(10, "the console", || {
        browser
            .console()
            .iter()
            .any(|line| line.to_string().contains("Content Security Policy"))
    });
    fs::remove_file(page).expect("it is there");
}
