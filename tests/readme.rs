//! The README: its commands do what it says.

mod support;

use std::fs;

use support::{Lab, Outcome};

const README: &str = include_str!("../README.md");

/// Run elsewhere: by other tests, or not at all because it installs from the network or is this very suite.
const ELSEWHERE: [&str; 4] = ["script/demo", "script/test", "pip install", "cargo install"];

/// A command with what the README shows of its output.
#[derive(Debug)]
struct Step {
    section: &'static str,
    command: &'static str,
    shown: Vec<&'static str>,
}

fn steps() -> Vec<Step> {
    let (mut section, mut is_console) = ("", false);
    let mut steps: Vec<Step> = Vec::new();
    for line in README.lines() {
        if let Some(name) = line.strip_prefix("## ").filter(|_| !is_console) {
            section = name;
        } else if line.starts_with("```") {
            is_console = line == "```console";
        } else if is_console && let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                section,
                command,
                shown: Vec::new(),
            });
        } else if is_console {
            steps.last_mut().expect("a command").shown.push(line);
        }
    }
    steps
}

/// What stays of a line when ids, times, sizes and the width of columns are gone.
fn shape(line: &str) -> Vec<String> {
    let word = |word: &str| {
        let mut shape = String::new();
        for part in word.split_inclusive('-') {
            let is_id = part.len() > 6
                && part
                    .trim_end_matches('-')
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit());
            let is_number = part.starts_with(|c: char| c.is_ascii_digit());
            let is_parameter = word.contains('=');
            shape += if (is_id || is_number) && !is_parameter {
                "#"
            } else {
                part
            };
        }
        shape.replace("KiB", "bytes")
    };
    line.split_whitespace().map(word).collect()
}

fn said(outcome: &Outcome) -> Vec<Vec<String>> {
    let both = outcome.stdout.lines().chain(outcome.stderr.lines());
    both.map(shape).collect()
}

fn play(lab: &Lab, section: &str) {
    for step in steps().into_iter().filter(|step| step.section == section) {
        if ELSEWHERE
            .iter()
            .any(|known| step.command.starts_with(known))
        {
            continue;
        }
        let command = step
            .command
            .strip_prefix("cd ")
            .map_or(step.command, |_| "true");
        let outcome = lab.run("sh", &["-c", command]);
        outcome.succeeds();
        let said = said(&outcome);
        for line in step.shown {
            assert!(
                said.contains(&shape(line)),
                "`{}` does not say {line:?}:\n{outcome}",
                step.command
            );
        }
    }
}

#[test]
fn every_command_does_what_is_said() {
    let lab = Lab::new();
    lab.server("gpu1");
    lab.project("gpu1".split(' ').collect::<Vec<_>>().as_slice());
    for file in ["agile.toml", "requirements.txt", ".gitignore"] {
        fs::remove_file(lab.project_folder().join(file)).expect("it is there");
    }
    lab.commit("A script");
    play(&lab, "Install");
    lab.git(&["push", "-q", "origin", "main"]).succeeds();
    play(&lab, "Five minutes with your own project");
    assert_eq!(lab.server("gpu1").launches(), 1);

    // The transcript at the top: two settings, and a new import of what is installed here and can be installed there.
    lab.wheel("numpy", "2.1.0");
    lab.install_here("numpy", "2.1.0");
    lab.write(".gitignore", &(lab.read(".gitignore") + ".venv/\n"));
    lab.write(
        "train.py",
        &format!("import numpy\n{}", lab.read("train.py")),
    );
    let config = lab.read("agile.toml").replace(
        "command = \"python train.py\"",
        "command = \"python train.py --lr {lr}\"\ngrid = { lr = [0.1, 0.01] }\nmetrics = [\"results/metrics.json\"]",
    );
    lab.write("agile.toml", &config);
    lab.git(&["add", "."]).succeeds();
    play(&lab, "");
    for section in ["The commands", "The hooks", "Remove it"] {
        play(&lab, section);
    }
    assert_eq!(lab.git(&["for-each-ref", "refs/agile"]).stdout, "");
}

#[test]
fn no_command_is_left_out() {
    let played = [
        "",
        "Install",
        "Five minutes with your own project",
        "The commands",
        "The hooks",
        "Remove it",
    ];
    for step in steps() {
        let is_elsewhere = ELSEWHERE
            .iter()
            .any(|known| step.command.starts_with(known));
        assert!(
            is_elsewhere || played.contains(&step.section),
            "{step:?} is run by nobody"
        );
    }
    assert!(steps().len() > 20);
}
