//! One rule each: the synthetic projects of `tests/requirements-cases/`, through the program.

mod requirements_support;

use std::collections::BTreeMap;
use std::path::Path;

use git_agile::requirements::name::normal;
use requirements_support::Sandbox;
use serde_json::Value;

fn bytes(content: &Value) -> Vec<u8> {
    if let Some(text) = content.as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(text) = content["latin1"].as_str() {
        return text
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect();
    }
    let hex = content["hex"].as_str().unwrap();
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn install(sandbox: &Sandbox, installed: &Value) {
    let packages = sandbox.root().join(".venv/lib/python3.11/site-packages");
    for (name, found) in installed.as_object().unwrap() {
        let version = found["version"].as_str().unwrap();
        let modules: Vec<_> = found["modules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m.as_str().unwrap())
            .collect();
        let top = found["top_level"].as_bool().unwrap_or(true);
        requirements_support::install(&packages, name, version, &modules, top);
    }
}

/// `name -> version` of the requirements that `text` lists.
fn listed(text: &str) -> BTreeMap<String, Option<String>> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once("==") {
            Some((name, version)) => (normal(name), Some(version.to_string())),
            None => (normal(line), None),
        })
        .collect()
}

/// What is wrong with the answer to one case.
fn mistakes(case: &Value) -> Vec<String> {
    let sandbox = Sandbox::new();
    for (path, content) in case["files"].as_object().unwrap() {
        sandbox.write(path, bytes(content));
    }
    sandbox.git(&["add", "-A", "-f", "."]);
    sandbox.git(&["commit", "-qm", "files", "--allow-empty"]);
    for (path, content) in case["untracked"].as_object().into_iter().flatten() {
        sandbox.write(path, bytes(content));
    }
    if !case["installed"].is_null() {
        install(&sandbox, &case["installed"]);
    }
    let mut wrong = Vec::new();
    for arguments in [
        &["requirements", "--print"][..],
        &["requirements", "--print", "--staged"],
    ] {
        let text = sandbox.agile(arguments).success();
        let found = listed(&text);
        let groups = |key: &str| -> Vec<Vec<String>> {
            let list = case["expect"][key].as_array().into_iter().flatten();
            list.map(|g| g.as_str().unwrap().split('|').map(normal).collect())
                .collect()
        };
        let (required, optional) = (groups("required"), groups("optional"));
        for group in &required {
            let hits = group
                .iter()
                .filter(|name| found.contains_key(*name))
                .count();
            if hits != 1 {
                wrong.push(format!("{group:?}: listed {hits} times"));
            }
        }
        for name in found.keys() {
            if !required
                .iter()
                .chain(&optional)
                .any(|group| group.contains(name))
            {
                wrong.push(format!("{name}: not expected"));
            }
        }
        for (name, version) in case["expect"]["versions"].as_object().into_iter().flatten() {
            if found.get(&normal(name)) != Some(&version.as_str().map(str::to_string)) {
                wrong.push(format!("{name}: not {version}"));
            }
        }
    }
    wrong
}

#[test]
fn every_case_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requirements-cases");
    let mut count = 0;
    let mut wrong = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let case: Value = serde_json::from_str(&text).unwrap();
        count += 1;
        for mistake in mistakes(&case) {
            wrong.push(format!("{}: {mistake} ({})", case["id"], case["rule"]));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(count, 49);
}
