//! Packages: what they must hold is where they look for it, and hook managers accept what we give them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::Lab;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(TOP).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn the_wheel_holds_the_manual_and_the_completions() {
    let project: toml::Table = read("pyproject.toml").parse().expect("TOML");
    let data = project["tool"]["maturin"]["data"]
        .as_str()
        .expect("a folder");
    let share = Path::new(TOP).join(data).join("data/share");
    let sections = [1, 5, 7].map(|section| format!("man/man{section}"));
    let pages = sections
        .iter()
        .flat_map(|section| files(&Path::new(TOP).join(section)));
    let mut expected: BTreeMap<String, PathBuf> = pages
        .map(|page| {
            let name = page.strip_prefix(TOP).expect("below").display().to_string();
            (name, page)
        })
        .collect();
    for (name, file) in [
        ("bash-completion/completions/git-agile", "git-agile.bash"),
        ("zsh/site-functions/_git-agile", "_git-agile"),
        ("fish/vendor_completions.d/git-agile.fish", "git-agile.fish"),
    ] {
        let file = Path::new(TOP).join("completions").join(file);
        expected.insert(name.into(), file);
    }
    let held = files(&share);
    let name = |file: &PathBuf| {
        file.strip_prefix(&share)
            .expect("below")
            .display()
            .to_string()
    };
    let names: BTreeSet<String> = held.iter().map(name).collect();
    assert_eq!(names, expected.keys().cloned().collect(), "run script/man");
    for (name, file) in expected {
        let same = fs::read(share.join(&name)).ok() == fs::read(&file).ok();
        assert!(same, "run script/man: {name} is not {file:?}");
    }
}

#[test]
fn the_crate_builds_from_what_it_holds() {
    let listed = Command::new(env!("CARGO"))
        .args(["package", "--list", "--offline", "--allow-dirty"])
        .current_dir(TOP)
        .output()
        .expect("run cargo");
    let listed = String::from_utf8(listed.stdout).expect("names");
    for name in [
        "Cargo.lock",
        "LICENSE",
        "build.rs",
        "src/requirements/tables/modules.tsv",
        "README.md",
        "hooks/reference-transaction",
        "completions/_git-agile",
        "man/man1/git-agile.1",
        "src/manual/texts/tutorial.md",
        "src/deployment/scripts/deploy.sh",
    ] {
        assert!(
            listed.lines().any(|line| line == name),
            "no {name} in {listed}"
        );
    }
    let is_left_out = |line: &str| {
        ["tests/", "benches/", "man/wheel/"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    assert_eq!(listed.lines().find(|line| is_left_out(line)), None);
}

#[test]
fn the_debian_package_finds_its_files() {
    let cargo: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let assets = cargo["package"]["metadata"]["deb"]["assets"]
        .as_array()
        .expect("a list");
    for asset in assets {
        let source = asset[0].as_str().expect("a path");
        if source.starts_with("target/") {
            continue;
        }
        let path = Path::new(TOP).join(source.trim_end_matches('*'));
        assert!(
            path.exists() && (path.is_file() || !files(&path).is_empty()),
            "no {source}"
        );
    }
}

/// The configuration that `install --write` makes, and the manifest of this repository, under real pre-commit.
#[test]
fn pre_commit_runs_the_requirements_check() {
    let lab = Lab::new();
    if lab.run("sh", &["-c", "command -v pre-commit"]).code != Some(0) {
        println!("skipped: no pre-commit");
        return;
    }
    let manifest = Path::new(TOP).join(".pre-commit-hooks.yaml");
    lab.run(
        "pre-commit",
        &["validate-manifest", &manifest.to_string_lossy()],
    )
    .succeeds();

    lab.project(&[]);
    lab.write(
        ".pre-commit-config.yaml",
        "repos:\n- repo: meta\n  hooks:\n  - id: identity\n",
    );
    lab.agile(&["install", "--write"]).succeeds();
    lab.run("pre-commit", &["validate-config"]).succeeds();
    lab.run("pre-commit", &["install"]).succeeds();
    lab.commit("Let pre-commit look after the hooks");
    lab.install_here("numpy", "2.1.0");
    lab.write(".gitignore", "/results/\n.venv/\n");
    lab.write("plot.py", "import numpy\n");
    // Also the first time, when the file is new, which pre-commit itself would not take for a change.
    lab.git(&["rm", "-q", "requirements.txt"]).succeeds();
    lab.git(&["add", "."]).succeeds();
    lab.git(&["commit", "-m", "Plot"])
        .ends_with(1)
        .complains("git add requirements.txt, and commit again");
    lab.git(&["commit", "-m", "Plot"])
        .ends_with(1)
        .complains("not staged yet: requirements.txt");
    assert_eq!(lab.read("requirements.txt"), "numpy==2.1.0\n");
    lab.git(&["add", "requirements.txt"]).succeeds();
    lab.git(&["commit", "-m", "Plot"]).succeeds();
    assert_eq!(lab.git(&["status", "--porcelain"]).stdout, "");
    // What is not installed here has no version, and that is no reason to refuse.
    lab.write("plot.py", "import numpy\nimport scipy\n");
    lab.git(&["commit", "-a", "-m", "Fit"]).ends_with(1);
    lab.git(&["add", "requirements.txt", "plot.py"]).succeeds();
    lab.git(&["commit", "-m", "Fit"]).succeeds();
    assert_eq!(lab.read("requirements.txt"), "numpy==2.1.0\nscipy\n");
    // What the manifest has, by hand.
    lab.agile(&["requirements", "--check"]).ends_with(1);
    lab.agile(&["hook", "requirements"]).succeeds();
    lab.agile(&["hook", "requirements", "--check"]).succeeds();
    lab.write("plot.py", "import numpy\n");
    lab.agile(&["hook", "requirements", "--check"])
        .ends_with(1)
        .explains("does not match", "git agile requirements");
}
