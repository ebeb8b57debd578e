//! The pre-commit hook through real commits: every form of `git commit` names its index in a way of its own.

mod requirements_support;

use requirements_support::Sandbox;
use sha2::{Digest as _, Sha256};

/// A project with a hook, an environment and one commit.
fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.hook();
    sandbox.install("requests", "2.31.0", &["requests"]);
    sandbox.install("numpy", "1.26.4", &["numpy"]);
    sandbox.install("flask", "3.0.0", &["flask"]);
    sandbox.write(".gitignore", ".venv/\n");
    sandbox.write("a.py", "import requests\n");
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "first"]);
    assert_eq!(
        sandbox.git(&["show", "HEAD:requirements.txt"]),
        "requests==2.31.0\n"
    );
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
    sandbox
}

const BOTH: &str = "numpy==1.26.4\nrequests==2.31.0\n";

fn committed(sandbox: &Sandbox) -> String {
    sandbox.git(&["show", "HEAD:requirements.txt"])
}

#[test]
fn a_plain_commit_carries_its_requirements() {
    let sandbox = project();
    sandbox.write("b.py", "import numpy\n");
    sandbox.git(&["add", "b.py"]);
    let said = sandbox.try_git(&["commit", "-qm", "second"]);
    assert_eq!(said.err, "requirements.txt: +numpy==1.26.4\n");
    assert_eq!(committed(&sandbox), BOTH);
    assert_eq!(sandbox.read("requirements.txt"), BOTH);
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
    // Nothing to do: nothing said, nothing changed.
    sandbox.write("b.py", "import numpy as np\n");
    assert_eq!(sandbox.try_git(&["commit", "-qam", "third"]).err, "");
}

#[test]
fn commit_all_and_amend() {
    let sandbox = project();
    sandbox.write("a.py", "import requests, numpy\n");
    sandbox.git(&["commit", "-qam", "second"]);
    assert_eq!(committed(&sandbox), BOTH);
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
    sandbox.write("a.py", "import numpy\n");
    sandbox.git(&["commit", "-qa", "--amend", "--no-edit"]);
    assert_eq!(committed(&sandbox), "numpy==1.26.4\n");
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn commit_of_a_path_leaves_other_staged_files_alone() {
    let sandbox = project();
    sandbox.write("a.py", "import requests, numpy\n");
    sandbox.write("c.py", "import flask\n");
    sandbox.git(&["add", "c.py"]);
    sandbox.git(&["commit", "-qm", "second", "a.py"]);
    assert_eq!(committed(&sandbox), BOTH);
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "A  c.py\n");
    sandbox.git(&["commit", "-qm", "third"]);
    assert_eq!(committed(&sandbox), format!("flask==3.0.0\n{BOTH}"));
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn commit_of_a_path_keeps_what_is_staged_in_the_file() {
    let sandbox = project();
    sandbox.write("a.py", "import requests, numpy\n");
    sandbox.write("requirements.txt", "# mine\nrequests==2.31.0\n");
    sandbox.git(&["add", "requirements.txt"]);
    let said = sandbox.try_git(&["commit", "-qm", "second", "a.py"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let hint = "hint: git add requirements.txt, and name it to git commit too, or";
    assert!(said.err.contains(hint), "{}", said.err);
    assert_eq!(
        sandbox.git(&["show", ":requirements.txt"]),
        "# mine\nrequests==2.31.0\n"
    );
    assert_eq!(
        sandbox.read("requirements.txt"),
        "# mine\nrequests==2.31.0\n"
    );
}

#[test]
fn half_of_a_file_has_half_of_the_requirements() {
    let sandbox = project();
    sandbox.write("a.py", "import requests\nimport numpy\n");
    sandbox.git(&["add", "a.py"]);
    let unstaged = "import requests\nimport numpy\nimport flask\n";
    sandbox.write("a.py", unstaged);
    sandbox.git(&["commit", "-qm", "second"]);
    assert_eq!(committed(&sandbox), BOTH);
    assert_eq!(sandbox.read("a.py"), unstaged);
    assert_eq!(sandbox.git(&["status", "--porcelain"]), " M a.py\n");
}

#[test]
fn an_unstaged_edit_of_the_file_survives() {
    let sandbox = project();
    let mine = "requests==2.31.0\n# a note \u{e9}\r\n";
    sandbox.write("requirements.txt", mine);
    sandbox.write("b.py", "import numpy\n");
    sandbox.git(&["add", "b.py"]);
    let said = sandbox.try_git(&["commit", "-qm", "second"]);
    assert_eq!(said.status, Some(1));
    assert!(
        said.err.contains("hint: git add requirements.txt"),
        "{}",
        said.err
    );
    assert_eq!(sandbox.read("requirements.txt"), mine);
    assert_eq!(
        sandbox.git(&["show", ":requirements.txt"]),
        "requests==2.31.0\n"
    );
    // A commit that needs no change does not mind the edit.
    sandbox.write("b.py", "import requests\n");
    sandbox.git(&["add", "b.py"]);
    sandbox.git(&["commit", "-qm", "second"]);
    assert_eq!(sandbox.read("requirements.txt"), mine);
}

#[test]
fn what_a_commit_does_not_change_is_said() {
    let sandbox = project();
    // A notebook in the middle of a merge: what it imports is not known.
    sandbox.write("n.ipynb", "<<<<<<< HEAD\n{}\n=======\n");
    sandbox.write("a.py", "import numpy\n");
    sandbox.git(&["add", "."]);
    let said = sandbox.try_git(&["commit", "-qm", "second"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let words = "warning: n.ipynb: is not a notebook";
    assert!(said.err.contains(words), "{}", said.err);
    assert!(
        said.err.contains("nothing is taken for unused"),
        "{}",
        said.err
    );
    assert_eq!(committed(&sandbox), BOTH);
    sandbox.git(&["rm", "-q", "--cached", "n.ipynb"]);

    // Beside hashes pip takes no line without one.
    sandbox.write("a.py", "import numpy, requests\n");
    let hashed = "requests==2.31.0 --hash=sha256:00\n";
    sandbox.write("requirements.txt", hashed);
    sandbox.git(&["add", "a.py", "requirements.txt"]);
    let said = sandbox.try_git(&["commit", "-qm", "third"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let words = "warning: requirements.txt:1: numpy==1.26.4 is missing";
    assert!(said.err.contains(words), "{}", said.err);
    assert!(
        said.err.contains("hint: make the file anew"),
        "{}",
        said.err
    );
    assert_eq!(committed(&sandbox), hashed);
    sandbox.write("agile.toml", "[requirements]\nhook = \"check\"\n");
    sandbox.git(&["add", "agile.toml"]);
    let said = sandbox.try_git(&["commit", "-qm", "fourth"]);
    assert_eq!(said.status, Some(1), "{said:?}");
}

#[test]
fn nothing_staged_changes_nothing() {
    let sandbox = project();
    sandbox.write("a.py", "import numpy\n");
    let said = sandbox.try_git(&["commit", "-qm", "second"]);
    assert_eq!(said.status, Some(1));
    assert_eq!(sandbox.git(&["status", "--porcelain"]), " M a.py\n");
    sandbox.git(&["commit", "-qm", "empty", "--allow-empty"]);
    assert_eq!(
        sandbox.git(&["show", "--format=", "--name-only", "HEAD"]),
        ""
    );
}

#[test]
fn a_refused_commit_can_be_tried_again() {
    let sandbox = project();
    let hook = sandbox.root().join(".git/hooks/commit-msg");
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    requirements_support::make_executable(&hook);
    sandbox.write("a.py", "import numpy\n");
    assert_eq!(
        sandbox.try_git(&["commit", "-qam", "second"]).status,
        Some(1)
    );
    std::fs::remove_file(&hook).unwrap();
    sandbox.git(&["commit", "-qam", "second"]);
    assert_eq!(committed(&sandbox), "numpy==1.26.4\n");
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn linked_worktrees_have_an_index_of_their_own() {
    let sandbox = project();
    sandbox.git(&["worktree", "add", "-q", "../linked"]);
    let linked = sandbox.root().join("../linked");
    std::fs::write(linked.join("b.py"), "import numpy\n").unwrap();
    let path = linked.to_str().unwrap();
    sandbox.git(&["-C", path, "add", "b.py"]);
    sandbox.git(&["-C", path, "commit", "-qm", "second"]);
    // The environment is the main work tree's.
    assert_eq!(
        sandbox.git(&["-C", path, "show", "HEAD:requirements.txt"]),
        BOTH
    );
    assert_eq!(sandbox.git(&["-C", path, "status", "--porcelain"]), "");
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
    assert_eq!(
        sandbox.git(&["show", ":requirements.txt"]),
        "requests==2.31.0\n"
    );
}

#[test]
fn a_named_git_dir_and_work_tree() {
    let sandbox = project();
    sandbox.write("b.py", "import numpy\n");
    let root = sandbox.root();
    let git_dir = format!("--git-dir={}", root.join(".git").display());
    let work_tree = format!("--work-tree={}", root.display());
    sandbox.git(&[&git_dir, &work_tree, "add", "b.py"]);
    sandbox.git(&[&git_dir, &work_tree, "commit", "-qm", "second"]);
    assert_eq!(committed(&sandbox), BOTH);
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn from_a_subfolder() {
    let sandbox = project();
    sandbox.write("sub/b.py", "import numpy\n");
    let sub = sandbox.root().join("sub");
    sandbox.git(&["-C", sub.to_str().unwrap(), "add", "b.py"]);
    sandbox.git(&[
        "-C",
        sub.to_str().unwrap(),
        "commit",
        "-qm",
        "second",
        "b.py",
    ]);
    assert_eq!(committed(&sandbox), BOTH);
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_rebase_is_left_alone() {
    let sandbox = project();
    sandbox.write("b.py", "import numpy\n");
    sandbox.git(&["add", "b.py"]);
    sandbox.git(&["commit", "-qnm", "second"]);
    let mut command = sandbox.command("git");
    command
        .env("GIT_SEQUENCE_EDITOR", "sed -i s/pick/reword/")
        .env("GIT_EDITOR", "true");
    assert!(
        command
            .args(["rebase", "-qi", "HEAD~1"])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(committed(&sandbox), "requests==2.31.0\n");
}

#[test]
fn a_merge_with_a_conflict_gets_both_sides() {
    let sandbox = project();
    sandbox.git(&["switch", "-qc", "side"]);
    sandbox.write("a.py", "import requests\nimport numpy\n");
    sandbox.git(&["commit", "-qam", "side"]);
    sandbox.git(&["switch", "-q", "main"]);
    sandbox.write("a.py", "import requests\nimport flask\n");
    sandbox.git(&["commit", "-qam", "main"]);
    assert_eq!(sandbox.try_git(&["merge", "side"]).status, Some(1));
    sandbox.write("a.py", "import requests\nimport flask\nimport numpy\n");
    sandbox.git(&["checkout", "--ours", "requirements.txt"]);
    sandbox.git(&["add", "-A"]);
    sandbox.git(&["commit", "-qm", "merge"]);
    assert_eq!(committed(&sandbox), format!("flask==3.0.0\n{BOTH}"));
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn settings_come_from_what_is_committed() {
    let sandbox = project();
    sandbox.write("agile.toml", "[requirements]\nhook = \"check\"\n");
    sandbox.write("b.py", "import numpy\n");
    sandbox.git(&["add", "agile.toml", "b.py"]);
    let said = sandbox.try_git(&["commit", "-qm", "second"]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("+numpy==1.26.4"), "{}", said.err);
    assert_eq!(sandbox.read("requirements.txt"), "requests==2.31.0\n");
    sandbox.write("agile.toml", "[requirements]\nhook = \"off\"\n");
    sandbox.git(&["add", "agile.toml"]);
    sandbox.git(&["commit", "-qm", "second"]);
    sandbox.write("agile.toml", "[requirements]\nhok = \"off\"\n");
    sandbox.git(&["add", "agile.toml"]);
    let said = sandbox.try_git(&["commit", "-qm", "third"]);
    assert!(said.err.contains("agile.toml:2:"), "{}", said.err);
    sandbox.git(&["commit", "-qnm", "third"]);
}

#[test]
fn an_ignored_file_is_nobodys_to_commit() {
    let sandbox = Sandbox::new();
    sandbox.hook();
    sandbox.write(".gitignore", "requirements.txt\n");
    sandbox.write("a.py", "import numpy\n");
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "first"]);
    assert!(!sandbox.root().join("requirements.txt").exists());
}

#[test]
fn line_ends_and_mode_are_kept() {
    let sandbox = project();
    sandbox.git(&["config", "core.autocrlf", "true"]);
    sandbox.write("requirements.txt", "# top\r\nrequests==2.31.0\r\n");
    sandbox.write("b.py", "import numpy\r\n");
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "second"]);
    assert_eq!(
        committed(&sandbox),
        "# top\nnumpy==1.26.4\nrequests==2.31.0\n"
    );
    assert_eq!(
        sandbox.read("requirements.txt"),
        "# top\r\nnumpy==1.26.4\r\nrequests==2.31.0\r\n"
    );
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_pip_would_fetch_from_elsewhere_is_said() {
    let sandbox = project();
    sandbox.write(
        "requirements.txt",
        "--extra-index-url https://me:word@h/simple\nrequests==2.31.0\n-e ./lib\n",
    );
    sandbox.git(&["add", "."]);
    let said = sandbox.try_git(&["commit", "-qm", "second"]);
    assert_eq!(
        said.err,
        "requirements.txt: this commit adds `--extra-index-url https://h/simple`, `-e ./lib`\n"
    );
}

#[test]
fn a_submodule_has_an_index_of_its_own() {
    let sandbox = project();
    sandbox.git(&["clone", "-q", ".", "../lib"]);
    sandbox.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        "../lib",
        "lib",
    ]);
    sandbox.git(&["commit", "-qm", "second"]);
    sandbox.write("lib/b.py", "import numpy\n");
    let hooks = sandbox.root().join(".git/hooks");
    sandbox.git(&[
        "-C",
        "lib",
        "config",
        "core.hooksPath",
        hooks.to_str().unwrap(),
    ]);
    sandbox.git(&["-C", "lib", "add", "b.py"]);
    sandbox.git(&["-C", "lib", "commit", "-qm", "third"]);
    assert_eq!(
        sandbox.git(&["-C", "lib", "show", "HEAD:requirements.txt"]),
        "numpy\nrequests==2.31.0\n"
    );
    assert_eq!(sandbox.git(&["-C", "lib", "status", "--porcelain"]), "");
    assert_eq!(
        sandbox.git(&["show", ":requirements.txt"]),
        "requests==2.31.0\n"
    );
}

/// libgit2 reads neither a split nor a sparse index: git is asked.
#[test]
fn split_and_sparse_indexes() {
    for sparse in [false, true] {
        let sandbox = project();
        sandbox.write("c.py", "import flask\n");
        sandbox.write("far/away.txt", "x\n");
        sandbox.git(&["add", "."]);
        sandbox.git(&["commit", "-qm", "far"]);
        if sparse {
            sandbox.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "near"]);
        } else {
            sandbox.git(&["update-index", "--split-index"]);
        }
        sandbox.write("b.py", "import numpy\n");
        sandbox.git(&["add", "b.py"]);
        let said = sandbox.try_git(&["commit", "-qm", "second"]);
        assert_eq!(
            said.err, "requirements.txt: +numpy==1.26.4\n",
            "sparse: {sparse}"
        );
        assert_eq!(committed(&sandbox), format!("flask==3.0.0\n{BOTH}"));
        assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
        sandbox.write("b.py", "import requests\n");
        sandbox.write("c.py", "import flask as f\n");
        sandbox.git(&["add", "c.py"]);
        sandbox.git(&["commit", "-qm", "third", "b.py"]);
        assert_eq!(committed(&sandbox), "flask==3.0.0\nrequests==2.31.0\n");
        assert_eq!(
            sandbox.git(&["status", "--porcelain"]),
            "M  c.py\n",
            "sparse: {sparse}"
        );
    }
}

/// pre-commit, prek and lefthook call the command itself: it writes the file, and they see that it changed.
#[test]
fn a_hook_manager_stages_nothing_of_ours() {
    let sandbox = project();
    let hook = sandbox.root().join(".git/hooks/pre-commit");
    let program = env!("CARGO_BIN_EXE_git-agile");
    std::fs::write(
        &hook,
        format!("#!/bin/sh\n'{program}' requirements && git diff --quiet\n"),
    )
    .unwrap();
    sandbox.write("a.py", "import requests, numpy\n");
    let said = sandbox.try_git(&["commit", "-qam", "second"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(
        sandbox.git(&["show", ":requirements.txt"]),
        "requests==2.31.0\n"
    );
    assert_eq!(sandbox.read("requirements.txt"), BOTH);
    sandbox.git(&["commit", "-qam", "second"]);
    assert_eq!(committed(&sandbox), BOTH);
}

#[test]
fn a_damaged_cache_is_rebuilt_silently() {
    let sandbox = project();
    let folder = sandbox.root().join(".git/agile");
    let cache = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&cache).unwrap();
    let mut turned = whole.clone();
    turned[30] ^= 0x20;
    let damages = [
        b"".to_vec(),
        b"\xff\0nonsense\n".repeat(3),
        whole[..whole.len() / 2].to_vec(),
        turned,
    ];
    for (number, damage) in damages.iter().enumerate() {
        std::fs::write(&cache, damage).unwrap();
        sandbox.write("b.py", format!("import numpy\n# {number}\n"));
        sandbox.git(&["add", "b.py"]);
        let said = sandbox.try_git(&["commit", "-qm", "next"]);
        let expected = if number == 0 {
            "requirements.txt: +numpy==1.26.4\n"
        } else {
            ""
        };
        assert_eq!((said.status, &*said.err), (Some(0), expected), "{number}");
        assert_eq!(committed(&sandbox), BOTH);
    }
    // A folder in its place is no reason to fail either.
    std::fs::remove_file(&cache).unwrap();
    std::fs::create_dir(&cache).unwrap();
    sandbox.write("b.py", "import flask\n");
    sandbox.git(&["commit", "-qam", "last"]);
    assert_eq!(committed(&sandbox), "flask==3.0.0\nrequests==2.31.0\n");
}

#[test]
fn commits_at_once_share_the_cache() {
    let sandbox = project();
    let folders: Vec<_> = (0..6)
        .map(|number| {
            let folder = format!("../linked{number}");
            sandbox.git(&["worktree", "add", "-q", &folder]);
            sandbox.root().join(folder)
        })
        .collect();
    for round in 0..4 {
        std::thread::scope(|scope| {
            for (number, folder) in folders.iter().enumerate() {
                let sandbox = &sandbox;
                scope.spawn(move || {
                    let text = format!("import numpy\n# {round} {number}\n");
                    std::fs::write(folder.join("b.py"), text).unwrap();
                    let path = folder.to_str().unwrap();
                    sandbox.git(&["-C", path, "add", "."]);
                    sandbox.git(&["-C", path, "commit", "-qm", "next"]);
                    assert_eq!(
                        sandbox.git(&["-C", path, "show", "HEAD:requirements.txt"]),
                        BOTH
                    );
                });
            }
        });
    }
    // Every line is whole.
    let cache = std::fs::read_dir(sandbox.root().join(".git/agile"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let text = std::fs::read_to_string(cache.path()).unwrap();
    assert!(
        text.lines()
            .filter(|line| !line.is_empty())
            .all(|line| line.split(' ').count() >= 3 && line.ends_with('}')),
        "{text}"
    );
}

/// The hook does not run for a clean merge: the push says what it left undone, and pushes.
#[test]
fn a_push_looks_at_what_the_hook_did_not_see() {
    let sandbox = project();
    sandbox.git(&["init", "-q", "--bare", "../remote.git"]);
    sandbox.git(&["remote", "add", "origin", "../remote.git"]);
    sandbox.write("b.py", "import numpy\n");
    sandbox.write("agile.toml", "[push]\nlaunch = \"never\"\n");
    sandbox.git(&["add", "b.py", "agile.toml"]);
    sandbox.git(&["commit", "-qnm", "second"]);
    let said = sandbox.agile(&["push", "origin", "main"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    for line in [
        "warning: requirements.txt of HEAD does not match its code: +numpy==1.26.4\n",
        "hint: git agile requirements && git commit -m 'Bring requirements.txt up to date' -- requirements.txt\n",
    ] {
        assert!(said.err.contains(line), "{line} in {}", said.err);
    }
    let check = "[push]\nlaunch = \"never\"\n[requirements]\nhook = \"check\"\n";
    sandbox.write("agile.toml", check);
    sandbox.git(&["add", "agile.toml"]);
    sandbox.git(&["commit", "-qnm", "third"]);
    let said = sandbox.agile(&["push", "origin", "main"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.err
            .starts_with("error: requirements.txt of HEAD does not match"),
        "{}",
        said.err
    );
    sandbox.agile(&["requirements"]).success();
    sandbox.git(&["commit", "-qam", "fourth"]);
    let said = sandbox.agile(&["push", "origin", "main"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(!said.err.contains("requirements.txt"), "{}", said.err);
}

/// Killed at any moment, the hook loses nothing, and the next commit goes through.
#[test]
fn a_killed_hook_blocks_nothing() {
    let sandbox = project();
    for moment in 0..50_u64 {
        sandbox.write(
            "b.py",
            format!("import {}\n", ["numpy", "flask"][moment as usize % 2]),
        );
        sandbox.git(&["add", "b.py"]);
        let program = env!("CARGO_BIN_EXE_git-agile");
        let mut hook = sandbox.command(program);
        hook.args(["hook", "pre-commit"])
            .env("GIT_INDEX_FILE", ".git/index");
        let mut child = hook.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(moment * 400));
        child.kill().unwrap();
        child.wait().unwrap();
        // What git itself would leave when it is killed at that moment, and what it says to do then.
        let _ = std::fs::remove_file(sandbox.root().join(".git/index.lock"));
        let said = sandbox.try_git(&["commit", "-qm", "next"]);
        assert_eq!(said.status, Some(0), "moment {moment}: {said:?}");
        let expected = [
            "numpy==1.26.4\nrequests==2.31.0\n",
            "flask==3.0.0\nrequests==2.31.0\n",
        ];
        assert_eq!(
            committed(&sandbox),
            expected[moment as usize % 2],
            "moment {moment}"
        );
        assert_eq!(
            sandbox.read("requirements.txt"),
            committed(&sandbox),
            "moment {moment}"
        );
    }
}

/// How a pointer file of Git LFS to `content` looks, and where LFS keeps that.
fn lfs(content: &str) -> (String, String) {
    let oid: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n",
        content.len()
    );
    let path = format!(".git/lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]);
    (pointer, path)
}

/// What cannot be read may import anything.
#[test]
fn a_file_that_cannot_be_read_removes_nothing() {
    let utf16 = [0xff, 0xfe, b'i', 0, b'm', 0];
    for (path, bytes) in [
        ("a.ipynb", b"<<<<<<< HEAD\n{}".as_slice()),
        ("a.py", &utf16),
        ("a.py", b"\0GITCRYPT\0\x12\x34\xff"),
        ("a.py", lfs("import requests\n").0.as_bytes()),
    ] {
        let sandbox = project();
        sandbox.git(&["rm", "-q", "a.py"]);
        sandbox.write(path, bytes);
        sandbox.write("b.py", "import numpy\n");
        sandbox.git(&["add", "."]);
        sandbox.git(&["commit", "-qm", "second"]);
        assert_eq!(committed(&sandbox), BOTH, "{path}");
        for place in [&[][..], &["--staged"]] {
            let said = sandbox.agile(&[&["requirements", "--check"], place].concat());
            assert!(said.err.contains(&format!("{path}:1: ")), "{said:?}");
        }
        sandbox.write(path, if path == "a.py" { "" } else { "{}" });
        sandbox.git(&["commit", "-qam", "third"]);
        assert_eq!(committed(&sandbox), "numpy==1.26.4\n", "{path}");
    }
}

/// The index has a pointer where the work tree has the file.
#[test]
fn a_file_of_git_lfs_is_read_where_it_is() {
    let sandbox = project();
    let content = "import numpy\n";
    let (pointer, object) = lfs(content);
    sandbox.write("../pointer", pointer);
    sandbox.git(&["config", "filter.lfs.clean", "cat ../pointer #"]);
    sandbox.write(".gitattributes", "a.py filter=lfs\n");
    sandbox.write("a.py", content);
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "second"]);
    assert_eq!(committed(&sandbox), "requests==2.31.0\n");
    let print = |place: &[&str]| {
        let said = sandbox.agile(&[&["requirements", "--print"], place].concat());
        said.success()
    };
    assert_eq!(print(&["--staged"]), "requests==2.31.0\n");
    assert_eq!(print(&[]), "numpy==1.26.4\n");
    std::fs::remove_dir_all(sandbox.root().join(".git/agile")).unwrap();
    assert_eq!(print(&["--staged"]), "requests==2.31.0\n");
    sandbox.write(&object, content);
    sandbox.write("b.py", "");
    sandbox.git(&["add", "b.py"]);
    sandbox.git(&["commit", "-qm", "third"]);
    assert_eq!(committed(&sandbox), "numpy==1.26.4\n");
}

/// A partial clone lacks what is outside of its sparse checkout; libgit2 does not fetch it.
#[test]
fn a_partial_clone_fetches_what_it_lacks() {
    let sandbox = project();
    sandbox.write("far/b.py", "import numpy\n");
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "second"]);
    sandbox.git(&["config", "uploadpack.allowFilter", "true"]);
    sandbox.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let root = sandbox.root();
    let clone = |name: &str| {
        let address = format!("file://{}", root.display());
        let path = root.with_file_name(name);
        let to = path.to_str().unwrap().to_string();
        let options = ["clone", "-q", "--filter=blob:none", "--sparse"];
        sandbox.git(&[&options[..], &[address.as_str(), &to]].concat());
        std::fs::copy(
            root.join(".git/hooks/pre-commit"),
            path.join(".git/hooks/pre-commit"),
        )
        .unwrap();
        std::fs::write(path.join("a.py"), "import flask\n").unwrap();
        to
    };
    let listed = |clone: &str, place: &[&str]| {
        let program = env!("CARGO_BIN_EXE_git-agile");
        let mut command = sandbox.command(program);
        command.args(["requirements", "--print"]).args(place);
        let output = command.current_dir(clone).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let wanted = "Flask\nnumpy==1.26.4\n";
    let whole = clone("whole");
    sandbox.git(&["-C", &whole, "commit", "-qam", "third"]);
    assert_eq!(
        sandbox.git(&["-C", &whole, "show", "HEAD:requirements.txt"]),
        wanted
    );
    let work_tree = clone("work-tree");
    assert_eq!(listed(&work_tree, &[]), wanted);
    // Nothing is refused and nothing removed when the server is away.
    let alone = clone("alone");
    std::fs::rename(root.join(".git"), root.join("away")).unwrap();
    assert_eq!(listed(&alone, &[]), format!("Flask\n{BOTH}"));
    std::fs::rename(root.join("away"), root.join(".git")).unwrap();
}

/// A name need not be UTF-8.
#[test]
fn a_file_of_any_name_counts() {
    use std::os::unix::ffi::OsStrExt as _;
    let sandbox = project();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.py");
    std::fs::write(sandbox.root().join(name), "import numpy\n").unwrap();
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "second"]);
    assert_eq!(committed(&sandbox), BOTH);
    for place in [&[][..], &["--staged"]] {
        let said = sandbox.agile(&[&["requirements", "--print"], place].concat());
        assert_eq!(said.success(), BOTH);
    }
}

/// What links and submodules lead to is the project's own.
#[test]
fn links_and_submodules_are_local() {
    let sandbox = project();
    sandbox.git(&["init", "-q", "../inner"]);
    sandbox.write("../inner/flask/__init__.py", "");
    sandbox.git(&["-C", "../inner", "add", "."]);
    sandbox.git(&["-C", "../inner", "commit", "-qm", "first"]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet"];
    sandbox.git(&[&add[..], &["add", "../inner", "ext"]].concat());
    sandbox.write("lib/numpy/core.py", "");
    sandbox.write("lib/other/requests.py", "");
    sandbox.write("a/b.py", "import requests\n");
    let link = |to: &str, from: &str| {
        std::os::unix::fs::symlink(to, sandbox.root().join(from)).unwrap();
    };
    link("lib/numpy", "numpy");
    link("../lib/other/requests.py", "a/requests.py");
    link("/", "away");
    link("..", "lib/up");
    sandbox.write(
        "a.py",
        "import sys\nsys.path.append('ext')\nimport flask, numpy.core\nimport ext.flask\n",
    );
    sandbox.git(&["add", "."]);
    sandbox.git(&["commit", "-qm", "second"]);
    let print = |place: &[&str]| {
        let said = sandbox.agile(&[&["requirements", "--print"], place].concat());
        assert!(!said.err.contains("nothing provides"), "{said:?}");
        said.success()
    };
    assert_eq!(committed(&sandbox), "");
    assert_eq!(print(&[]), "");
    // One that is not here is known by its folder alone.
    sandbox.git(&["submodule", "--quiet", "deinit", "ext"]);
    sandbox.write("a.py", "import ext.flask\n");
    assert_eq!(print(&[]), "");
}
