//! `git agile requirements` as a person and as other programs use it.

mod requirements_support;

use requirements_support::{Sandbox, make_executable};
use serde_json::Value;

fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.install("requests", "2.31.0", &["requests"]);
    sandbox.write(".gitignore", ".venv/\n");
    sandbox.write("a.py", "import requests\n\nimport zq_nobody\n");
    sandbox.write(
        "requirements.txt",
        "# mine\nflask==1.0\nrequests==2.0 # http\n",
    );
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "first"]);
    sandbox
}

#[test]
fn check_prints_a_diff_and_changes_nothing() {
    let sandbox = project();
    let said = sandbox.agile(&["requirements", "--check"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    // flask stays while an import has no provider only when nobody knows what flask holds.
    let diff = "--- a/requirements.txt\n+++ b/requirements.txt\n@@ -1,3 +1,2 @@\n # mine\n-flask==1.0\n\
                -requests==2.0 # http\n+requests==2.31.0 # http\n";
    assert_eq!(said.out, diff);
    for line in [
        "a.py:3: unresolved: nothing provides `zq_nobody`",
        "requirements.txt:2: unused: nothing imports flask",
        "requirements.txt:3: version: requests==2.0 is asked for",
    ] {
        assert!(said.err.contains(line), "{line} in {}", said.err);
    }
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn writing_twice_changes_nothing() {
    let sandbox = project();
    let said = sandbox.agile(&["requirements"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.err
            .contains("requirements.txt: -flask, requests ==2.0 -> ==2.31.0\n"),
        "{}",
        said.err
    );
    let text = sandbox.read("requirements.txt");
    assert_eq!(text, "# mine\nrequests==2.31.0 # http\n");
    let before = std::fs::metadata(sandbox.root().join("requirements.txt")).unwrap();
    sandbox.agile(&["requirements"]).success();
    let after = std::fs::metadata(sandbox.root().join("requirements.txt")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
}

#[test]
fn what_a_person_is_editing_is_not_written_over() {
    let sandbox = project();
    let edited = "# mine\nflask==1.0\n--extra-index-url https://example.org/simple\n";
    sandbox.write("requirements.txt", edited);
    let said = sandbox.agile(&["requirements", "--staged"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let error = "error: requirements.txt has changes that are not staged\nhint: git add requirements.txt, or";
    assert!(said.err.contains(error), "{}", said.err);
    assert_eq!(sandbox.read("requirements.txt"), edited);
    sandbox.git(&["add", "requirements.txt"]);
    sandbox.agile(&["requirements", "--staged"]).success();
    assert!(
        sandbox
            .read("requirements.txt")
            .contains("requests==2.31.0\n")
    );

    // Nor a link by a file.
    std::fs::remove_file(sandbox.root().join("requirements.txt")).unwrap();
    std::os::unix::fs::symlink("shared.txt", sandbox.root().join("requirements.txt")).unwrap();
    sandbox.write("shared.txt", "flask==1.0\n");
    sandbox.git(&["add", "requirements.txt", "shared.txt"]);
    let said = sandbox.agile(&["requirements"]);
    assert_eq!(said.status, Some(3), "{said:?}");
    assert!(
        said.err
            .contains("error: requirements.txt is not a plain file\n"),
        "{}",
        said.err
    );
}

#[test]
fn a_clean_project_passes() {
    let sandbox = project();
    sandbox.write(
        "agile.toml",
        "[requirements]\nignore = [\"zq_nobody\"]\nkeep = [\"gunicorn\"]\n",
    );
    sandbox.install("gunicorn", "21.2.0", &["gunicorn"]);
    sandbox.agile(&["requirements"]).success();
    assert_eq!(
        sandbox.read("requirements.txt"),
        "# mine\ngunicorn==21.2.0\nrequests==2.31.0 # http\n"
    );
    let said = sandbox.agile(&["requirements", "--check"]);
    assert_eq!(
        (said.status, &said.out[..], &said.err[..]),
        (Some(0), "", "")
    );
}

#[test]
fn other_programs_can_read_it() {
    let sandbox = project();
    let said = sandbox.agile(&["requirements", "--check", "--json"]);
    assert_eq!(said.status, Some(1));
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let codes: Vec<_> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["unresolved", "unused", "version"]);
    assert_eq!(
        json["requirements"][0]["imports"][0]["places"][0]["line"],
        1
    );
    let said = sandbox.agile(&["requirements", "--check", "--format", "github"]);
    assert!(
        said.out
            .starts_with("::error file=a.py,line=3,title=unresolved::"),
        "{}",
        said.out
    );
    let said = sandbox.agile(&["requirements", "--format", "sarif"]);
    let sarif: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 3);
}

#[test]
fn a_commit_and_the_index_can_be_looked_at() {
    let sandbox = project();
    sandbox.install("numpy", "1.26.4", &["numpy"]);
    sandbox.write("a.py", "import numpy\n");
    let print = |more: &[&str]| {
        sandbox
            .agile(&[&["requirements", "--print"], more].concat())
            .success()
    };
    assert_eq!(print(&[]), "# mine\nnumpy==1.26.4\n");
    assert_eq!(print(&["--staged"]), "# mine\nrequests==2.31.0 # http\n");
    assert_eq!(
        print(&["--commit", "HEAD"]),
        "# mine\nrequests==2.31.0 # http\n"
    );
    assert_eq!(
        sandbox.agile(&["requirements", "--commit", "HEAD"]).status,
        Some(2)
    );
}

#[test]
fn development_has_a_file_of_its_own_when_named() {
    let sandbox = project();
    sandbox.install("pytest", "8.0.0", &["pytest"]);
    sandbox.write("tests/test_a.py", "import pytest, requests\n");
    sandbox.write(
        "agile.toml",
        "[requirements]\ndev_file = \"dev.txt\"\nignore = [\"zq_nobody\"]\n",
    );
    sandbox.git(&["add", "."]);
    sandbox.agile(&["requirements"]).success();
    assert_eq!(sandbox.read("dev.txt"), "pytest==8.0.0\n");
    assert_eq!(
        sandbox.read("requirements.txt"),
        "# mine\nrequests==2.31.0 # http\n"
    );
}

#[test]
fn what_an_included_file_lists_is_there() {
    let sandbox = Sandbox::new();
    sandbox.write("a.py", "import numpy, scipy, pandas\n");
    sandbox.write(
        "agile.toml",
        "[requirements]\nfile = \"requirements/dev.txt\"\n",
    );
    let text = "-r ../base.txt\n-r ./more.txt\n-r ../../out.txt\npandas\n";
    sandbox.write("requirements/dev.txt", text);
    sandbox.write("base.txt", "numpy==1.0\n-r requirements/dev.txt\n");
    sandbox.write("requirements/more.txt", "scipy @ https://h/scipy.whl\n");
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "first"]);
    for more in [&[][..], &["--staged"], &["--commit", "HEAD"]] {
        let said = sandbox.agile(&[&["requirements", "--print"], more].concat());
        assert_eq!(said.success(), text, "{more:?}");
    }
}

#[test]
fn a_stranger_of_the_imports_name_is_replaced() {
    let sandbox = Sandbox::new();
    sandbox.write("a.py", "import sklearn, yaml, ansible, zq_nobody\n");
    sandbox.write(
        "requirements.txt",
        "ansible==9\nsklearn==0.0 # wrong\nzq-some\n",
    );
    sandbox.write(
        "pyproject.toml",
        "[project]\nname = \"x\"\ndependencies = [\"yaml>1\"]\n",
    );
    sandbox.git(&["add", "."]);
    sandbox.agile(&["requirements"]).success();
    assert_eq!(
        sandbox.read("requirements.txt"),
        "ansible==9\nPyYAML\nscikit-learn\nzq-some\n"
    );
    let list = "dependencies = [\"ansible\", \"PyYAML\", \"scikit-learn\"]\n";
    assert!(sandbox.read("pyproject.toml").ends_with(list));
}

#[test]
fn an_editable_install_from_elsewhere_is_said() {
    let sandbox = Sandbox::new();
    let packages = ".venv/lib/python3.11/site-packages";
    let outside = sandbox.root().with_file_name("mine");
    let inside = sandbox.root().join("my libs/own");
    for (name, folder) in [("zq_mine", &outside), ("zq_own", &inside)] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("__init__.py"), "").unwrap();
        sandbox.install(name, "1", &[]);
        let url = format!("file://{}", folder.display()).replace(' ', "%20");
        sandbox.write(
            &format!("{packages}/{name}-1.dist-info/direct_url.json"),
            format!(r#"{{"url": "{url}", "dir_info": {{"editable": true}}}}"#),
        );
    }
    sandbox.write("a.py", "import zq_own\nimport zq_mine\n");
    sandbox.git(&["add", "a.py"]);
    let said = sandbox.agile(&["requirements", "--check"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let words = format!(
        "a.py:2: unresolved: nothing provides `zq_mine`: it was installed from {}, which servers do not have; push",
        outside.display()
    );
    assert!(said.err.contains(&words), "{}", said.err);
    assert!(!said.err.contains("zq_own"), "{}", said.err);
    sandbox.git(&["commit", "-qm", "first"]);
    sandbox.git(&["worktree", "add", "-q", "../linked"]);
    let program = env!("CARGO_BIN_EXE_git-agile");
    let linked = sandbox.root().with_file_name("linked");
    let mut command = sandbox.command(program);
    command.args(["requirements"]).current_dir(linked);
    let said = requirements_support::Said::from(command.output().unwrap());
    assert!(!said.err.contains("zq_own"), "{}", said.err);
}

#[test]
fn a_file_with_hashes_is_left_alone() {
    let sandbox = project();
    sandbox.install("numpy", "1.26.4", &["numpy"]);
    sandbox.write("a.py", "import requests, numpy\n");
    let text = "# top\nidna==3.4 \\\n    --hash=sha256:00\n    # via requests\nrequests==2.0 --hash=sha256:01\n";
    sandbox.write("requirements.txt", text);
    let said = sandbox.agile(&["requirements"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(sandbox.read("requirements.txt"), text);
    let words = "requirements.txt:2: numpy==1.26.4 is missing, and beside lines with a hash";
    assert!(said.err.contains(words), "{}", said.err);
    assert!(said.err.contains("--generate-hashes"), "{}", said.err);
    let said = sandbox.agile(&["requirements", "--check"]);
    assert_eq!((said.status, &*said.out), (Some(1), ""));
    assert!(
        said.err.contains("requirements.txt:2: hashes: numpy"),
        "{}",
        said.err
    );
    sandbox.write("a.py", "import requests\n");
    assert_eq!(sandbox.agile(&["requirements", "--check"]).status, Some(0));
}

#[test]
fn the_lock_is_made_by_uv() {
    let sandbox = project();
    let bin = sandbox.root().join("../bin");
    std::fs::create_dir_all(&bin).unwrap();
    let uv = "#!/bin/sh\nenv > \"$HOME/env\"\nprintf '%s\\n' \"$@\" > \"$HOME/args\"\n\
              while [ \"$1\" != --output-file ]; do shift; done\necho 'requests==2.31.0 --hash=sha256:00' > \"$2\"\n";
    std::fs::write(bin.join("uv"), uv).unwrap();
    make_executable(&bin.join("uv"));
    let lock = || {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_git-agile"));
        command
            .env("PATH", path)
            .env("GIT_DIR", sandbox.root().join(".git"))
            .args(["requirements", "--lock"]);
        requirements_support::Said::from(command.output().unwrap())
    };
    lock().success();
    let text = sandbox.read("requirements.lock");
    assert!(
        text.starts_with("# Made by git agile requirements --lock from requirements.txt, sha256 "),
        "{text}"
    );
    assert!(text.ends_with("requests==2.31.0 --hash=sha256:00\n"));
    let home = sandbox.root().join("../home");
    assert!(
        !std::fs::read_to_string(home.join("env"))
            .unwrap()
            .contains("GIT_DIR")
    );
    assert!(
        std::fs::read_to_string(home.join("args"))
            .unwrap()
            .contains("--generate-hashes")
    );
    sandbox.write(
        "requirements.txt",
        "--extra-index-url https://h/simple\nrequests==2.0\n",
    );
    lock().success();
    let text = sandbox.read("requirements.lock");
    assert!(
        text.contains("\n--extra-index-url https://h/simple\nrequests==2.31.0"),
        "{text}"
    );
    sandbox.agile(&["requirements"]).success();
    let said = sandbox.agile(&["requirements", "--check"]);
    assert!(
        said.err.contains("requirements.lock:1: stale-lock"),
        "{}",
        said.err
    );
}

#[test]
fn bad_input_is_said_and_survived() {
    let sandbox = project();
    sandbox.write(
        "requirements.txt",
        "\u{feff}requests==2.31.0\nx==\n%%\n-é\n",
    );
    sandbox.write("nul.py", b"import requests\0\nimport requests\n");
    sandbox.write("utf16.py", b"\xff\xfei\0m\0");
    sandbox.write(
        "deep.py",
        "import requests\nx = ".to_string() + &"[".repeat(100_000) + "\nimport requests\n",
    );
    sandbox.write("bad.ipynb", "{");
    sandbox.write("x.py/y.py", "import requests\n");
    std::os::unix::fs::symlink("loop.py", sandbox.root().join("loop.py")).unwrap();
    sandbox.git(&["add", "."]);
    let said = sandbox.agile(&["requirements", "--check"]);
    assert_eq!(said.status, Some(1));
    for line in [
        "requirements.txt:2: unreadable",
        "requirements.txt:3: unreadable",
        "bad.ipynb:1: broken",
        "deep.py:2: broken",
        "utf16.py:1: broken",
    ] {
        assert!(said.err.contains(line), "{line} in {}", said.err);
    }
    sandbox.write("requirements.txt", b"\xff\xfer\0");
    let said = sandbox.agile(&["requirements"]);
    assert_eq!(said.status, Some(3));
    assert!(
        said.err.contains("requirements.txt:1: the file is UTF-16"),
        "{}",
        said.err
    );
}

#[test]
fn a_project_that_declares_in_pyproject_is_kept_up_to_date_there_too() {
    let sandbox = project();
    let text = |lines: &str| format!("[project]\nname = \"x\"\ndependencies = [\n{lines}]\n");
    sandbox.write(
        "pyproject.toml",
        text("    \"flask\", # web\n    \"Requests >=2\",\n"),
    );
    sandbox.write("agile.toml", "[requirements]\nignore = [\"zq_nobody\"]\n");
    sandbox.git(&["add", "."]);
    sandbox.agile(&["requirements"]).success();
    assert_eq!(
        sandbox.read("pyproject.toml"),
        text("    \"Requests >=2\",\n")
    );
    let said = sandbox.agile(&["requirements", "--check"]);
    assert_eq!(said.status, Some(0), "{said:?}");
}

#[test]
fn what_a_call_loads_by_name_is_kept() {
    let sandbox = project();
    sandbox.write("a.py", "import pandas as pd\npd.read_excel('x')\nfrom torch.utils.tensorboard import SummaryWriter\n");
    sandbox.write("requirements.txt", "openpyxl==3.1.0\ntensorboard\n");
    let text = sandbox.agile(&["requirements", "--print"]).success();
    assert_eq!(text, "openpyxl==3.1.0\npandas\ntensorboard\ntorch\n");
    sandbox.write("requirements.txt", "");
    assert_eq!(
        sandbox.agile(&["requirements", "--print"]).success(),
        "pandas\ntorch\n"
    );
}

#[test]
fn the_standard_library_is_that_of_the_chosen_python() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "a.py",
        "import tomllib, distutils, urllib2\nimport zoneinfo\n",
    );
    sandbox.git(&["add", "."]);
    let print = || sandbox.agile(&["requirements", "--print"]);
    assert_eq!(print().success(), "");
    sandbox.write(
        "pyproject.toml",
        "[project]\nname = 'x'\nrequires-python = '>=3.12'\n",
    );
    assert_eq!(print().success(), "setuptools\n");
    sandbox.write(".python-version", "3.8.18\n");
    let said = print();
    assert_eq!(said.out, "");
    for module in ["tomllib", "zoneinfo"] {
        let line = format!("nothing provides `{module}`: Python 3.");
        assert!(said.err.contains(&line), "{}", said.err);
    }
    sandbox.write("agile.toml", "[environment]\npython = \"3.11\"\n");
    let said = print();
    assert_eq!((&*said.out, &*said.err), ("", ""));
}

#[test]
fn what_the_code_installs_says_what_an_import_means() {
    let sandbox = Sandbox::new();
    let cell = |lines: &str| {
        serde_json::json!({"cells": [{"cell_type": "code", "source": lines}]}).to_string()
    };
    let code =
        "%pip install zq-plots\n!pip install git+https://h/o/CLIP.git\nimport zq_plots, clip";
    sandbox.write("a.ipynb", cell(code));
    sandbox.write("tool", "#!/usr/bin/env -S uv run\n# /// script\n# dependencies = [\"zq-tool\"]\n# ///\nimport zq_tool\n");
    make_executable(&sandbox.root().join("tool"));
    sandbox.write("bench/b.py", "import pytest_benchmark\n");
    sandbox.write(
        "agile.toml",
        "[requirements]\ndevelopment = [\"bench/\"]\ndev_file = \"dev.txt\"\n",
    );
    sandbox.git(&["add", "."]);
    let said = sandbox.agile(&["requirements"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(sandbox.read("requirements.txt"), "zq-plots\nzq-tool\n");
    assert_eq!(sandbox.read("dev.txt"), "pytest-benchmark\n");
    let hint = "nothing provides `clip`: the code installs it from git+https://h/o/CLIP.git; add the line `clip @ git+https://h/o/CLIP.git`";
    assert!(said.err.contains(hint), "{}", said.err);
}

#[test]
fn a_version_of_another_index_is_said() {
    let sandbox = Sandbox::new();
    sandbox.install("torch", "2.1.0+cu121", &["torch"]);
    sandbox.write("a.py", "import torch\n");
    sandbox.git(&["add", "a.py"]);
    let said = sandbox.agile(&["requirements"]);
    assert_eq!(sandbox.read("requirements.txt"), "torch==2.1.0\n");
    assert!(
        said.err
            .contains("torch 2.1.0+cu121 is installed, which the default index does not have"),
        "{}",
        said.err
    );
    assert!(
        said.err
            .contains("--extra-index-url https://download.pytorch.org/whl/cu121"),
        "{}",
        said.err
    );
    sandbox.write(
        "requirements.txt",
        "--extra-index-url https://h/whl/cu121\n",
    );
    let said = sandbox.agile(&["requirements"]);
    assert_eq!(
        sandbox.read("requirements.txt"),
        "--extra-index-url https://h/whl/cu121\ntorch==2.1.0+cu121\n"
    );
    assert!(!said.err.contains("default index"), "{}", said.err);
}
