//! The hooks: where they are installed, what they keep, and what a plain `git push` deploys.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{Lab, Outcome, configuration, wait_until};

fn shell(lab: &Lab, text: &str) -> Outcome {
    lab.run("sh", &["-c", text])
}

/// A project with one server, agreed to.
fn on_box() -> Lab {
    let lab = Lab::new();
    lab.server("box");
    lab.project_with(&configuration(&["box"], "grid = { lr = [0.1] }"));
    lab.agile(&["trust", "--all"]).succeeds();
    lab
}

fn write_hook(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    fs::write(path, text).expect("write the hook");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
}

/// How often anything was launched, once nothing is being deployed any more.
#[track_caller]
fn launches(lab: &Lab, expected: usize) {
    let server = lab.server("box");
    wait_until(60, "the deployment", || {
        server.launches() >= expected && !is_deploying(lab)
    });
    assert_eq!(server.launches(), expected);
}

fn is_deploying(lab: &Lab) -> bool {
    let ours = lab.root().to_string_lossy().into_owned();
    fs::read_dir("/proc")
        .expect("Linux")
        .flatten()
        .any(|entry| {
            let read = |file| fs::read(entry.path().join(file)).unwrap_or_default();
            let has = |bytes: Vec<u8>, text: &str| String::from_utf8_lossy(&bytes).contains(text);
            has(read("cmdline"), "plain-push") && has(read("environ"), &ours)
        })
}

fn touch(lab: &Lab) -> String {
    lab.commit_nothing("Nothing new")
}

// ---- a plain push --------------------------------------------------------------------------------------------------

#[test]
fn a_plain_push_deploys_what_arrives() {
    let lab = on_box();
    lab.agile(&["install", "--plain-push"]).succeeds();
    lab.agile(&["install", "--check"]).succeeds();

    // The first push, with -u; the pipe is not held open by what goes on in the background (`Running::finish` sees to it).
    lab.git(&["push", "-u", "origin", "main"])
        .succeeds()
        .complains("Deploying in the background");
    launches(&lab, 1);
    // Up to date: nothing to do, and nothing said.
    lab.git(&["push"]).succeeds().never_says("Deploying");
    // A dry run pushes nothing.
    touch(&lab);
    lab.git(&["push", "--dry-run"])
        .succeeds()
        .never_says("Deploying");
    lab.git(&["push", "-n"]).succeeds().never_says("Deploying");
    // A fetch moves the same refs, but is no push.
    lab.git(&["push", "--no-verify"])
        .succeeds()
        .never_says("Deploying");
    lab.git(&["update-ref", "-d", "refs/remotes/origin/main"])
        .succeeds();
    lab.git(&["fetch"]).succeeds().never_says("Deploying");
    // A tag, a deletion.
    lab.git(&["tag", "v1"]).succeeds();
    lab.git(&["push", "origin", "v1"])
        .succeeds()
        .never_says("Deploying");
    lab.git(&["push", "--no-verify", "origin", "main:gone"])
        .succeeds();
    lab.git(&["push", "origin", ":gone"])
        .succeeds()
        .never_says("Deploying");
    launches(&lab, 1);

    // Several refs at once, of which one is refused.
    lab.git(&["checkout", "-q", "-b", "other", "HEAD~1"])
        .succeeds();
    touch(&lab);
    lab.git(&["checkout", "-q", "-b", "behind", "HEAD~1"])
        .succeeds();
    lab.git(&["push", "--no-verify", "origin", "main:behind"])
        .succeeds();
    lab.git(&["checkout", "-q", "main"]).succeeds();
    let head = touch(&lab);
    lab.git(&["push", "origin", "main", "other", "behind"])
        .ends_with(1)
        .complains("Deploying in the background");
    launches(&lab, 3);
    let status = lab.agile(&["status", "--all", "--json"]).json();
    let commits: Vec<_> = status
        .as_array()
        .expect("a list")
        .iter()
        .map(|run| run["commit"].clone())
        .collect();
    assert!(commits.contains(&head.into()), "{commits:?}");

    // From a linked worktree and a subfolder.
    lab.git(&["worktree", "add", "-q", "-b", "linked", "../linked"])
        .succeeds();
    shell(&lab, "cd ../linked && git commit -q --allow-empty -m More && mkdir -p sub && cd sub && git push origin linked")
        .succeeds()
        .complains("Deploying in the background");
    launches(&lab, 4);

    // With `git agile push` there is one deployment, in the foreground.
    touch(&lab);
    lab.agile(&["push"])
        .succeeds()
        .complains("box: 1 run started")
        .never_says("background");
    launches(&lab, 5);
    let notes = shell(
        &lab,
        "ls .git/agile .git/worktrees/linked/agile | grep '^push-'",
    );
    assert!(notes.stdout.lines().count() <= 2, "{notes}");

    // A remote that [push] does not name, a mirror, an address.
    touch(&lab);
    shell(
        &lab,
        "git init -q --bare ../backup.git && git remote add backup ../backup.git",
    )
    .succeeds();
    lab.git(&["push", "backup", "main"]).succeeds();
    lab.git(&["push", "../backup.git", "main:again"])
        .succeeds()
        .never_says("Deploying");
    touch(&lab);
    lab.git(&["push", "--mirror", "backup"])
        .succeeds()
        .never_says("Deploying");
    launches(&lab, 5);
}

#[test]
fn a_plain_push_on_a_terminal_gives_it_back() {
    let lab = on_box();
    lab.agile(&["install", "--plain-push"]).succeeds();
    let screen = lab.terminal(&["sh", "-c", "git push -u origin main | cat; echo over"]);
    screen.shows("over");
    assert_eq!(screen.ends(), 0);
    screen.close();
    launches(&lab, 1);
}

/// What a person has not agreed to is not contacted from the background either; the log says why.
#[test]
fn nobody_is_asked_in_the_background() {
    let lab = Lab::new();
    lab.server("box");
    lab.project_with(&configuration(&["box"], "grid = { lr = [0.1] }"));
    lab.agile(&["install", "--plain-push"]).succeeds();
    lab.git(&["push", "origin", "main"])
        .succeeds()
        .complains("plain-push.log");
    let log = lab.project_folder().join(".git/agile/plain-push.log");
    wait_until(30, "the refusal", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("git agile trust"))
    });
}

/// Whatever state the rest is in, refs go on to be updated.
#[test]
fn reference_transaction_never_refuses() {
    let lab = on_box();
    lab.agile(&["install", "--plain-push"]).succeeds();
    let hook = ".git/hooks/reference-transaction";
    let fed = |arguments: &str, input: &str| {
        shell(&lab, &format!("printf '{input}' | {hook} {arguments}"))
    };
    for state in ["preparing", "prepared", "committed", "aborted", ""] {
        fed(state, "0 1 refs/remotes/origin/main\\n").succeeds();
    }
    // With a note of this very process, but nonsense in it, or no program to be found.
    let noted = "mkdir -p .git/agile && echo nonsense >.git/agile/push-$$ && ";
    let update = format!("printf '0 1 refs/remotes/origin/main\\n' | {hook} committed; echo $?");
    assert!(
        shell(&lab, &format!("{noted}{update}"))
            .stdout
            .ends_with("0\n")
    );
    let lost = format!("git config --unset agile.program; {noted}PATH=/usr/bin:/bin; {update}");
    assert!(shell(&lab, &lost).stdout.ends_with("0\n"));
    // It costs next to nothing: no program is started. (strace would tell best; a shell without commands tells too.)
    shell(
        &lab,
        &format!("PATH=/nowhere /bin/sh {hook} committed </dev/null"),
    )
    .succeeds();
    shell(
        &lab,
        &format!("PATH=/nowhere /bin/sh {hook} prepared </dev/null"),
    )
    .succeeds();

    // A hook that was there keeps its say.
    lab.agile(&["uninstall"]).succeeds();
    let prior = "#!/bin/sh\ncat >>\"$HOME/seen\"\n[ \"$1\" != prepared ] || ! grep -q refs/heads/no \"$HOME/seen\"\n";
    write_hook(&lab.project_folder().join(hook), prior);
    lab.agile(&["install", "--plain-push"])
        .succeeds()
        .complains("runs before it");
    lab.git(&["branch", "yes"]).succeeds();
    assert_ne!(lab.git(&["branch", "no"]).code, Some(0));
    fs::remove_file(lab.home().join("seen")).expect("it saw");
    lab.git(&["push", "origin", "main"])
        .succeeds()
        .complains("Deploying");
    launches(&lab, 1);
    let seen = fs::read_to_string(lab.home().join("seen")).expect("it saw");
    assert!(seen.contains(" refs/remotes/origin/main\n"), "{seen}");
}

// ---- other people's hooks ------------------------------------------------------------------------------------------

#[test]
fn hooks_of_any_language_run_first_and_come_back() {
    let lab = on_box();
    let hooks = lab.project_folder().join(".git/hooks");
    let python = "#!/usr/bin/python3\nimport os, sys\nopen(os.environ['HOME'] + '/ran', 'a').write(repr(sys.argv[1:]) + sys.stdin.read())\n";
    for name in [
        "pre-commit",
        "post-push",
        "pre-push",
        "reference-transaction",
    ] {
        write_hook(&hooks.join(name), python);
    }
    let dotfile = lab.home().join("dotfile");
    fs::rename(hooks.join("pre-push"), &dotfile).expect("it was written");
    std::os::unix::fs::symlink(&dotfile, hooks.join("pre-push")).expect("a link");
    lab.agile(&["install", "--plain-push"]).succeeds();
    assert_eq!(
        fs::read_to_string(&dotfile).expect("there"),
        python,
        "written through the link"
    );
    lab.git(&["commit", "-q", "--allow-empty", "-m", "x"])
        .succeeds();
    lab.git(&["push", "origin", "main"]).succeeds();
    launches(&lab, 1);
    let ran = fs::read_to_string(lab.home().join("ran")).expect("they ran");
    for text in [
        "[]",
        "['origin', 'origin:proj.git']refs/heads/main ",
        "['committed']",
        "['prepared']",
    ] {
        assert!(ran.contains(text), "no {text} in {ran}");
    }
    lab.agile(&["uninstall"])
        .succeeds()
        .complains("Removed: pre-commit, post-push, pre-push, reference-transaction.");
    for name in ["pre-commit", "post-push", "reference-transaction"] {
        assert_eq!(fs::read_to_string(hooks.join(name)).expect("back"), python);
    }
    assert_eq!(
        fs::read_link(hooks.join("pre-push")).expect("a link"),
        dotfile
    );
    assert_eq!(
        shell(
            &lab,
            "git config --get-regexp agile; grep agile .git/config"
        )
        .stdout,
        ""
    );
}

#[test]
fn hooks_of_an_older_version_are_replaced() {
    let lab = on_box();
    let older = [
        ("pre-commit", include_str!("hooks/pre-commit.0")),
        ("post-push", include_str!("hooks/post-push.0")),
    ];
    let hooks = lab.project_folder().join(".git/hooks");
    for (name, text) in older {
        write_hook(&hooks.join(name), text);
    }
    lab.agile(&["install", "--check"]).ends_with(1).explains(
        "of an older version: pre-commit, post-push",
        "git agile install",
    );
    lab.agile(&["install"])
        .succeeds()
        .complains("replaces that of an older version");
    lab.agile(&["install", "--check"]).succeeds();
    assert!(!hooks.join("pre-commit.agile-prior").exists());
    // And they are taken away as ours.
    write_hook(&hooks.join("pre-commit"), older[0].1);
    lab.agile(&["uninstall"]).succeeds();
    assert!(!hooks.join("pre-commit").exists());
}

#[test]
fn without_the_program_git_goes_on() {
    let lab = on_box();
    lab.agile(&["install", "--plain-push"]).succeeds();
    let bare = |line: &str| {
        let line = format!(
            "git config --unset agile.program; PATH={}/bin:/usr/local/bin:/usr/bin:/bin; {line}",
            lab.root().display()
        );
        shell(&lab, &line)
    };
    for line in [
        "git commit -q --allow-empty -m x",
        "git push -q origin main",
    ] {
        let said = bare(line);
        said.succeeds().complains("put git-agile on PATH");
        assert_eq!(said.stderr.lines().count(), 1, "{said}");
    }
    // What `install` noted finds it all the same.
    lab.agile(&["install"]).succeeds();
    let found = format!(
        "PATH=/usr/local/bin:/usr/bin:/bin git commit -q --allow-empty -m y; unset HOME; GIT_CONFIG_GLOBAL={}/.gitconfig git commit -q --allow-empty -m z",
        lab.home().display()
    );
    assert_eq!(shell(&lab, &found).succeeds().stderr, "");
}

// ---- where hooks are -----------------------------------------------------------------------------------------------

#[test]
fn every_place_of_hooks() {
    let lab = on_box();
    let root = lab.project_folder();
    let is_there = |path: &str| root.join(path).join("pre-commit").exists();

    // A folder of the repository, relative as it is usual; for the linked worktree it is another one.
    lab.git(&["config", "core.hooksPath", ".githooks"])
        .succeeds();
    lab.agile(&["install"]).succeeds();
    assert!(is_there(".githooks") && !is_there(".git/hooks"));
    lab.agile(&["uninstall"]).succeeds();
    assert!(!is_there(".githooks"));

    // Outside, or for everybody: nothing is written without being told to.
    let outside = lab.home().join("my hooks'");
    let shown = outside.display().to_string();
    for scope in ["--local", "--global"] {
        lab.git(&["config", "--unset", "core.hooksPath"]);
        lab.git(&["config", scope, "core.hooksPath", &shown])
            .succeeds();
        let said = lab.agile(&["install"]);
        said.ends_with(3)
            .complains("other repositories use too")
            .complains("git agile install --force");
        assert!(!outside.exists());
        lab.agile(&["install", "--check"])
            .ends_with(1)
            .complains("not installed");
        lab.agile(&["install", "--force"]).succeeds();
        assert!(is_there(".git/hooks") && !outside.exists());
        lab.agile(&["uninstall"])
            .succeeds()
            .complains("Removed: pre-commit, post-push.");
        assert!(!is_there(".git/hooks"));
    }
    // Pushing needs no hooks.
    lab.agile(&["push", "origin", "main"])
        .succeeds()
        .complains("box: 1 run started");
    lab.git(&["config", "--global", "--unset", "core.hooksPath"])
        .succeeds();

    for (value, said) in [
        ("/dev/null", "hooks are switched off here"),
        ("", "git does not know where its hooks are"),
    ] {
        lab.git(&["config", "core.hooksPath", value]).succeeds();
        lab.agile(&["install"])
            .ends_with(3)
            .complains(said)
            .complains("hint: git config");
        lab.agile(&["uninstall"]).succeeds();
    }
    lab.git(&["config", "--unset", "core.hooksPath"]).succeeds();

    // A linked worktree shares the hooks of its repository; a submodule has its own.
    lab.git(&["worktree", "add", "-q", "../linked"]).succeeds();
    shell(
        &lab,
        "cd ../linked && git agile install && git agile install --check",
    )
    .succeeds();
    assert!(is_there(".git/hooks"));
    shell(&lab, "git -c protocol.file.allow=always submodule add -q \"$PWD\" sub && cd sub && git agile install").succeeds();
    assert!(is_there(".git/modules/sub/hooks"));
    // By a subfolder, -C, GIT_DIR, an alias.
    lab.agile(&["uninstall"]).succeeds();
    shell(
        &lab,
        "mkdir -p a/b && cd a/b && git agile install && git -C ../.. agile install --check",
    )
    .succeeds();
    shell(&lab, "cd / && GIT_DIR=\"$HOME/proj/.git\" GIT_WORK_TREE=\"$HOME/proj\" git agile install --check").succeeds();
    shell(&lab, "git config alias.ag agile && git ag install --check").succeeds();
    // A bare repository has nothing to commit.
    shell(
        &lab,
        "git init -q --bare ../b.git && cd ../b.git && git agile install",
    )
    .ends_with(3)
    .explains("bare repository", "git clone");
    // A folder that cannot be written to.
    lab.agile(&["uninstall"]).succeeds();
    fs::remove_dir_all(root.join(".git/hooks")).expect("ours");
    fs::write(root.join(".git/hooks"), "no folder").expect("ours");
    lab.agile(&["install"])
        .ends_with(5)
        .complains("cannot make the folder");
}

#[test]
fn a_folder_that_may_not_be_written_to() {
    let lab = on_box();
    // root may write anywhere, so the repository is somebody else's there, and they are asked.
    let is_root = shell(&lab, "test \"$(id -u)\" = 0").code == Some(0);
    let by = match is_root {
        true => {
            // The way there.
            let above = lab.project_folder();
            let ours = above
                .ancestors()
                .take_while(|path| path.starts_with(lab.root()));
            for folder in ours {
                fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("ours");
            }
            shell(
                &lab,
                "mkdir ../theirs && cp -r . ../theirs/proj && chown -R 12345:12345 ../theirs",
            )
            .succeeds();
            "cd ../theirs/proj && setpriv --reuid 12345 --regid 12345 --clear-groups env -u XDG_STATE_HOME -u XDG_CONFIG_HOME -u XDG_CACHE_HOME -u XDG_RUNTIME_DIR HOME=\"${PWD%/*}\""
        }
        false => "env",
    };
    let folder = match is_root {
        true => "../theirs/proj/.git/hooks",
        false => ".git/hooks",
    };
    shell(&lab, &format!("chmod a-w {folder}")).succeeds();
    shell(&lab, &format!("{by} git agile install"))
        .ends_with(5)
        .explains(
            "cannot write the hook",
            "git agile push deploys without hooks",
        );
    assert_eq!(
        shell(&lab, &format!("ls {folder} | grep -v sample")).stdout,
        ""
    );
    shell(&lab, &format!("chmod u+w {folder}")).succeeds();
    shell(&lab, &format!("{by} git agile install --check")).ends_with(1);
    shell(&lab, &format!("{by} git agile install")).succeeds();
    // And a repository in which nothing at all can be written.
    let top = folder
        .trim_end_matches("/.git/hooks")
        .trim_end_matches(".git/hooks");
    let top = if top.is_empty() { "." } else { top };
    shell(&lab, &format!("chmod -R a-w {top}/.git")).succeeds();
    shell(&lab, &format!("{by} git agile install")).succeeds();
    shell(&lab, &format!("{by} git agile design")).succeeds();
    shell(&lab, &format!("{by} git agile uninstall"))
        .ends_with(5)
        .complains("cannot remove the hook");
    shell(&lab, &format!("chmod -R u+w {top}/.git")).succeeds();
}

/// A git that says it is older; one that is (2.30) takes `--path-format` for the name of a folder.
#[test]
fn a_git_that_is_too_old_is_named() {
    let lab = on_box();
    write_hook(
        &lab.home().join("old/git"),
        "#!/bin/sh\n[ \"$1\" != --version ] || { echo 'git version 2.30.2'; exit; }\nPATH=${PATH#*:} exec git \"$@\"\n",
    );
    let with_it = |line: &str| shell(&lab, &format!("PATH=\"$HOME/old:$PATH\"; {line}"));
    for line in ["git-agile install", "git-agile install --check"] {
        with_it(line)
            .ends_with(3)
            .explains("git 2.30 is too old", "install git 2.31 or newer");
    }
    with_it("git-agile doctor").says("2.30.2 is older than 2.31");
    assert!(!lab.project_folder().join(".git/hooks/pre-commit").exists());
}

#[test]
fn configured_hooks_need_a_git_that_reads_them() {
    let lab = on_box();
    let version = lab.git(&["--version"]).stdout;
    let minor: u32 = version
        .split('.')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a version");
    let said = lab.agile(&["install", "--config"]);
    if version.starts_with("git version 2.") && minor < 54 {
        said.ends_with(3).explains(
            "configured hooks need git 2.54",
            "git agile install --force",
        );
        assert_eq!(shell(&lab, "git config --get-regexp ^hook").stdout, "");
        return;
    }
    said.succeeds();
    lab.agile(&["install", "--check"]).succeeds();
    lab.write("plot.py", "import numpy\n");
    lab.git(&["add", "plot.py"]).succeeds();
    lab.git(&["commit", "-m", "Plot"])
        .complains("requirements.txt");
    // Of an older version: said, and renewed; the folder of hooks stays as it is.
    lab.git(&[
        "config",
        "hook.git-agile.command",
        "git-agile hook pre-commit --",
    ])
    .succeeds();
    lab.agile(&["install", "--check"])
        .ends_with(1)
        .explains("of an older version", "git agile install");
    lab.agile(&["install"]).succeeds();
    lab.agile(&["install", "--check"]).succeeds();
    assert!(!lab.project_folder().join(".git/hooks/pre-commit").exists());
    // It is what is offered where the folder is not ours.
    lab.git(&["config", "--global", "core.hooksPath", "/srv/hooks"])
        .succeeds();
    lab.agile(&["uninstall"]).succeeds();
    lab.agile(&["install"])
        .ends_with(3)
        .explains("other repositories use too", "git agile install --config");
    lab.agile(&["install", "--config"]).succeeds();
    lab.agile(&["uninstall"])
        .succeeds()
        .complains("the configured hook");
    assert_eq!(shell(&lab, "git config --get-regexp ^hook").stdout, "");
}

// ---- hook managers -------------------------------------------------------------------------------------------------

#[test]
fn hook_managers_keep_their_place() {
    for (manager, file, before, marks) in [
        (
            "pre-commit",
            ".pre-commit-config.yaml",
            "repos:\n- repo: local\n  hooks: []\n",
            "- id: git-agile-requirements",
        ),
        ("prek", "prek.toml", "fail_fast = true\n", "[[repos]]"),
        (
            "lefthook",
            "lefthook.yml",
            "output: false\n",
            "run: git-agile hook pre-commit",
        ),
        (
            "husky",
            ".husky/pre-commit",
            "true\n",
            "git-agile hook pre-commit",
        ),
    ] {
        let lab = on_box();
        let hooks = lab.project_folder().join(".git/hooks");
        lab.write(file, before);
        if manager == "husky" {
            lab.write(".husky/_/h", "husky's own\n");
            lab.git(&["config", "core.hooksPath", ".husky/_"])
                .succeeds();
        }
        lab.agile(&["install"])
            .succeeds()
            .complains(&format!("{manager} looks after the hooks"))
            .says(marks);
        assert!(!hooks.join("pre-commit").exists(), "{manager}");
        assert_eq!(lab.read(file), before);
        lab.agile(&["install", "--check"])
            .ends_with(1)
            .explains(manager, "git agile install --write");
        lab.agile(&["install", "--plain-push"])
            .ends_with(3)
            .explains(manager, "git agile push");

        lab.agile(&["install", "--write"]).succeeds();
        assert!(lab.read(file).contains(marks), "{manager}");
        assert!(
            lab.read(file)
                .contains(before.lines().last().expect("a line")),
            "{manager}"
        );
        lab.agile(&["install", "--check"]).succeeds();
        let written = lab.read(file);
        lab.agile(&["install", "--write"]).succeeds();
        assert_eq!(lab.read(file), written, "{manager}");
        lab.agile(&["uninstall"])
            .succeeds()
            .complains("names git-agile: remove that by hand");
    }
}

/// The cost of a ref update that is none of ours: a shell that looks, and no more. This is what is asserted; how long
/// that takes is the machine's business.
#[test]
fn an_update_that_is_none_of_ours_starts_nothing() {
    let lab = on_box();
    lab.agile(&["install", "--plain-push"]).succeeds();
    // A program in every place where the hook would look, which tells on itself.
    let trap = lab.home().join(".local/bin/git-agile");
    write_hook(&trap, "#!/bin/sh\necho started >>\"$HOME/started\"\n");
    let started = || lab.home().join("started").exists();
    let with_trap = |line: &str| {
        let (trap, ssh) = (trap.parent().expect("a folder"), lab.root().join("bin"));
        let path = format!(
            "{}:{}:/usr/local/bin:/usr/bin:/bin",
            trap.display(),
            ssh.display()
        );
        shell(&lab, &format!("PATH={path}; export PATH; {line}")).succeeds();
    };
    lab.git(&["push", "-q", "--no-verify", "origin", "main:old"])
        .succeeds();
    with_trap("git branch b1 && git fetch -q && git commit -q --allow-empty --no-verify -m x");
    assert!(!started());
    // The trap is one: a push springs it.
    with_trap("git push -q origin main");
    assert!(started());
}

// ---- git's manners -------------------------------------------------------------------------------------------------

#[test]
fn what_git_is_told_holds_for_us() {
    let lab = on_box();
    let coloured = |line: &str| {
        let said = shell(&lab, line);
        assert_eq!(said.code, Some(2), "{said}");
        said.stderr.contains("\u{1b}[")
    };
    let wrong = "agile show no-such-run";
    assert!(!coloured(&format!("git {wrong}")));
    assert!(coloured(&format!("git -c color.ui=always {wrong}")));
    lab.git(&["config", "color.ui", "always"]).succeeds();
    assert!(coloured(&format!("git {wrong}")));
    assert!(!coloured(&format!("NO_COLOR=1 git {wrong}")));
    lab.git(&["config", "color.agile", "false"]).succeeds();
    assert!(!coloured(&format!("git {wrong}")));
    lab.git(&["config", "color.agile", "auto"]).succeeds();
    let screen = lab.agile_in_terminal(&["-h"]);
    assert_eq!(screen.ends(), 0);

    // git's own pager, when it is told so.
    let paged = "git -c pager.agile='sed s/^/PAGED/' agile design";
    let screen = lab.terminal(&["sh", "-c", paged]);
    screen.shows("PAGED");
    assert_eq!(screen.ends(), 0);

    // What a person has set for the clone holds before what the project says.
    lab.git(&["config", "agile.launch", "never"]).succeeds();
    lab.agile(&["push", "origin", "main"])
        .succeeds()
        .complains("Nothing is deployed");
    lab.git(&["config", "agile.launch", "often"]).succeeds();
    touch(&lab);
    lab.agile(&["push", "origin", "main"])
        .ends_with(3)
        .explains("`often` is no value", "git config agile.launch");
    lab.git(&["config", "agile.launch", "auto"]).succeeds();
    lab.agile(&["push", "origin", "main"])
        .succeeds()
        .complains("box: 1 run started");
    launches(&lab, 1);
}

#[test]
fn where_git_would_not_go_we_do_not_either() {
    let lab = on_box();
    // Somebody else's repository. (Only root can make one.)
    if shell(&lab, "test \"$(id -u)\" = 0").code == Some(0) {
        shell(&lab, "cp -r . ../theirs && chown -R 12345 ../theirs").succeeds();
        shell(&lab, "cd ../theirs && git agile install")
            .ends_with(3)
            .explains("belongs to another user", "safe.directory");
        shell(&lab, "cd ../theirs && git config --global --add safe.directory \"$PWD\" && git agile install").succeeds();
    } else {
        println!("skipped: not root");
    }
    // A hook outside git's environment, and names that are hard to quote.
    shell(&lab, "cd / && git-agile hook pre-commit")
        .ends_with(3)
        .explains("not a git repository", "git init");
    shell(
        &lab,
        "cd / && echo x | git-agile hook reference-transaction 1",
    )
    .ends_with(3);
    let odd = "d=\"$HOME/a b'\\\"\n$(printf '\\377')\" && cp -r . \"$d\" && cd \"$d\" && ";
    shell(&lab, &format!("{odd} git agile install --plain-push && git agile install --check && git agile trust --all && git commit -q --allow-empty -m x && git push -q origin main"))
        .succeeds();
    launches(&lab, 1);
    shell(
        &lab,
        "unset HOME; git agile install --check || git agile install",
    )
    .succeeds();
}
