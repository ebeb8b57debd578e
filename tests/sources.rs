//! What a commit needs beside its own objects, and a repository on the server that is damaged.

mod support;

use std::fs;

use support::{GitHost, Lab, Server, configuration, run, wait_until};

/// A project whose runs on `box` need the submodule `lib`, which has one itself.
fn with_submodules(lab: &Lab, source: &str) {
    let text = configuration(&["box"], "grid = { lr = [0.1, 0.2] }");
    lab.project_with(&text.replace("path = ", &format!("source = \"{source}\"\npath = ")));
    let origin = lab.origin();
    for name in ["inner", "lib"] {
        origin
            .sh(&format!("git init -q --bare -b main {name}.git"))
            .succeeds();
        lab.git(&[
            "clone",
            "--quiet",
            &format!("origin:{name}.git"),
            &format!("../{name}"),
        ])
        .succeeds();
        let folder = lab.home().join(name);
        fs::write(folder.join(format!("{name}.txt")), format!("{name}\n")).unwrap();
        let git = |arguments: &[&str]| {
            let all = [&["-C", folder.to_str().unwrap()], arguments].concat();
            lab.git(&all).succeeds();
        };
        if name == "lib" {
            git(&["submodule", "--quiet", "add", "../inner.git", "deep/inner"]);
        }
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "-m", name]);
        git(&["push", "--quiet", "origin", "HEAD:main"]);
    }
    lab.git(&["submodule", "--quiet", "add", "../lib.git", "lib"])
        .succeeds();
    lab.git(&["submodule", "--quiet", "update", "--init", "--recursive"])
        .succeeds();
    lab.commit("Use the library");
    lab.agile(&["trust", "--all"]).succeeds();
}

fn code_of_runs(server: &Server, file: &str) -> String {
    server
        .sh(&format!("cat ~/agile/proj/runs/*/code/{file}"))
        .stdout
}

#[test]
fn submodules_are_checked_out_in_every_run() {
    for source in ["origin", "direct"] {
        let lab = Lab::new();
        let server = lab.server("box");
        with_submodules(&lab, source);
        lab.agile(&["push", "-u", "origin", "main"])
            .succeeds()
            .complains("2 runs started");
        lab.agile(&["wait", "--timeout", "300"]).succeeds();
        assert_eq!(
            code_of_runs(&server, "lib/lib.txt"),
            "lib\nlib\n",
            "{source}"
        );
        assert_eq!(
            code_of_runs(&server, "lib/deep/inner/inner.txt"),
            "inner\ninner\n",
            "{source}"
        );
        let state = server.sh("cd ~/agile/proj/runs && for run in *; do git -C $run/code status --porcelain --untracked-files=no; done");
        assert_eq!(state.stdout, "", "{source}");

        // One that no server can get is named before anything starts.
        lab.git(&[
            "-C",
            "lib",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "Only here",
        ])
        .succeeds();
        lab.commit("Use what only I have");
        let pushed = lab.agile(&["push"]);
        match source {
            "direct" => drop(pushed.succeeds().complains("2 runs started")),
            _ => drop(
                pushed
                    .ends_with(5)
                    .explains("of the submodule lib", "--recurse-submodules"),
            ),
        }
        wait_until(20, "the launches", || {
            server.launches() == if source == "direct" { 4 } else { 2 }
        });
        lab.agile(&["wait", "--timeout", "300"]);
    }
}

#[test]
fn a_damaged_repository_on_the_server_is_made_anew() {
    for source in ["origin", "direct"] {
        damage_and_deploy(source);
    }
}

fn damage_and_deploy(source: &str) {
    let lab = Lab::new();
    let server = lab.server("box");
    let text = configuration(&["box"], "grid = { lr = [0.1] }");
    lab.project_with(&text.replace("path = ", &format!("source = \"{source}\"\npath = ")));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    // Of a commit that is there, only the commit itself can be read; of the next one, nothing can be built.
    let damage = "cd ~/agile/proj/repo.git && for pack in objects/pack/*.pack; do mv $pack /tmp/x$$ && \
                  git unpack-objects -q </tmp/x$$; rm -f /tmp/x$$ ${pack%.pack}.*; done; \
                  for file in $(find objects -type f -path 'objects/??/*'); do chmod u+w $file; \
                  test \"$(git cat-file -t $(echo $file | cut -d / -f 2,3 | tr -d /))\" = commit || : >$file; done";
    for again in ["--again", "--experiment=train"] {
        server.sh(damage).succeeds();
        if again != "--again" {
            lab.write("note.txt", "more");
            lab.commit("One more");
            lab.git(&["push", "--quiet"]).succeeds();
        }
        lab.agile(&["deploy", again])
            .succeeds()
            .complains("1 run started");
        lab.agile(&["wait", "--timeout", "300"]).succeeds();
        server
            .sh("git --git-dir ~/agile/proj/repo.git fsck")
            .succeeds();
    }
    assert_eq!(server.launches(), 3);
    server.sh("rm -rf ~/agile/proj/repo.git/objects").succeeds();
    lab.agile(&["deploy", "--again"]).succeeds();
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert_eq!(server.launches(), 4);
}

/// A project on the https host whose file `big.bin` Git LFS keeps; false where there is no git-lfs.
fn with_lfs(lab: &Lab, host: &GitHost) -> bool {
    if run(lab.command("git").args(["lfs", "version"])).code != Some(0) {
        eprintln!("skipped: no git-lfs");
        return false;
    }
    lab.project(&["box"]);
    lab.git(&[
        "remote",
        "set-url",
        "origin",
        &format!("{}/proj.git", host.url("")),
    ])
    .succeeds();
    lab.git(&["lfs", "install", "--local"]).succeeds();
    lab.git(&["lfs", "track", "*.bin"]).succeeds();
    lab.write("big.bin", &"0123456789\n".repeat(1000));
    lab.commit("Add what is large");
    lab.agile(&["trust", "--all"]).succeeds();
    true
}

#[test]
fn git_lfs_files_arrive_as_what_they_stand_for() {
    let lab = Lab::new();
    let server = lab.server("box");
    let host = GitHost::start(&lab, "host", None);
    if !with_lfs(&lab, &host) {
        return;
    }
    host.set_password("ada", "secret");
    lab.git(&[
        "config",
        "credential.helper",
        "!f() { echo username=ada; echo password=secret; }; f",
    ])
    .succeeds();
    lab.agile(&["push", "-u", "origin", "main"])
        .succeeds()
        .complains("1 run started");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    let size = server.sh("cat ~/agile/proj/runs/*/code/big.bin | wc -c");
    size.says("11000");

    server.hide(&["git-lfs"]);
    lab.write("big.bin", "another\n");
    lab.commit("Change what is large");
    lab.agile(&["push"]).ends_with(5).explains(
        "box: Git LFS keeps the content of 1 file, and there is no git-lfs",
        "install git-lfs on box",
    );
    assert_eq!(server.launches(), 1);
}

#[test]
fn git_lfs_files_of_a_submodule_arrive_too() {
    let lab = Lab::new();
    let server = lab.server("box");
    let host = GitHost::start(&lab, "host", None);
    if !with_lfs(&lab, &host) {
        return;
    }
    let made = format!(
        "cp -R {0}/proj.git {0}/lib.git; cd ..; git clone -q {1}/lib.git lib; cd lib; git lfs install --local >/dev/null
        git lfs track '*.dat' >/dev/null; seq 1 5000 >numbers.dat; git add .; git commit -qm Numbers; git push -q origin HEAD:main
        cd ../proj; git submodule --quiet add {1}/lib.git lib; git commit -qam 'Use numbers'",
        host.folder().display(),
        host.url("")
    );
    lab.run("sh", &["-ec", &made]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"])
        .succeeds()
        .complains("1 run started");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    let numbers = code_of_runs(&server, "lib/numbers.dat");
    assert!(numbers.ends_with("\n5000\n"), "{numbers}");
    assert_eq!(code_of_runs(&server, "big.bin").len(), 11_000);

    // What is not sent is not taken for what it stands for.
    let direct = lab
        .read("agile.toml")
        .replace("path = ", "source = \"direct\"\npath = ");
    server.sh("rm -rf ~/agile/proj/modules").succeeds();
    lab.write("agile.toml", &direct);
    lab.commit("Send it");
    lab.agile(&["trust", "box"]).succeeds();
    lab.agile(&["push"]).ends_with(5).explains(
        "Git LFS keeps files of the submodule lib",
        "source = \"origin\"",
    );
    assert_eq!(server.launches(), 1);
}

#[test]
fn a_repository_in_the_commit_that_nobody_can_get_is_said() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project(&["box"]);
    lab.agile(&["trust", "--all"]).succeeds();
    lab.run(
        "sh",
        &[
            "-ec",
            "git init -q inner; cd inner; git commit -q --allow-empty -m x",
        ],
    )
    .succeeds();
    lab.git(&["-c", "advice.addEmbeddedRepo=false", "add", "inner"])
        .succeeds();
    lab.commit("By mistake");
    lab.agile(&["push", "-u", "origin", "main"])
        .ends_with(3)
        .explains(
            "the submodule inner cannot be deployed",
            "git rm --cached inner",
        );
    assert_eq!(server.launches(), 0);
}

#[test]
fn what_git_lfs_keeps_travels_with_the_commit() {
    let lab = Lab::new();
    let server = lab.server("box");
    if run(lab.command("git").args(["lfs", "version"])).code != Some(0) {
        eprintln!("skipped: no git-lfs");
        return;
    }
    let text = configuration(&["box"], "grid = { lr = [0.1] }");
    lab.project_with(&text.replace("path = ", "source = \"direct\"\npath = "));
    lab.agile(&["trust", "--all"]).succeeds();
    // There is nobody whom the server could ask.
    lab.git(&["remote", "remove", "origin"]).succeeds();
    lab.git(&["lfs", "install", "--local"]).succeeds();
    lab.git(&["lfs", "track", "*.bin"]).succeeds();
    lab.write("big.bin", &"0123456789\n".repeat(100_000));
    lab.write("empty.bin", "");
    lab.write("small.bin", "small\n");
    lab.commit("Add what is large");
    let foreseen = || lab.agile(&["deploy", "--dry-run"]);
    foreseen()
        .succeeds()
        .says("2 files of Git LFS: send: 2, 1.05 MiB");

    // A file that arrives damaged is not taken, and comes again.
    let damage = "PATH=${PATH#\"$LAB_SHIM:\"}\ntar \"$@\"\nfor file in *; do echo x >>\"$file\"; break; done\n";
    server.shim("tar", &format!("#!/bin/sh\n{damage}"));
    lab.agile(&["deploy"])
        .ends_with(5)
        .explains("did not arrive whole", "git lfs fsck");
    server.remove_shim("tar");
    foreseen().succeeds().says("2 files of Git LFS: send: 1, ");
    lab.agile(&["deploy"]).succeeds().complains("1 run started");
    lab.agile(&["wait", "--timeout", "60"]).succeeds();
    assert_eq!(code_of_runs(&server, "big.bin").len(), 1_100_000);
    assert_eq!(code_of_runs(&server, "small.bin"), "small\n");
    lab.agile(&["deploy", "--dry-run", "--again"])
        .succeeds()
        .says("2 files of Git LFS: there");
    let left = server.sh("ls -A ~/agile/proj/repo.git/lfs/incoming");
    assert_eq!(left.stdout, "");

    // What is not here cannot be sent, and is said.
    lab.write("big.bin", "another\n");
    lab.commit("Change what is large");
    lab.run("sh", &["-c", "rm -r .git/lfs/objects"]).succeeds();
    lab.agile(&["deploy"]).ends_with(3).explains(
        "box: 1 file that Git LFS keeps of commit",
        "git lfs fetch origin",
    );
    assert_eq!(server.launches(), 1);
}

#[test]
fn the_persons_agent_serves_the_fetch_where_they_forward_it() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project(&["box"]);
    lab.spy_on_environment();
    lab.agile(&["trust", "--all"]).succeeds();
    lab.git(&["push", "--quiet", "-u", "origin", "main"])
        .succeeds();
    // The server has no key that the git host knows.
    let file = server.folder().join("ssh-config");
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace(
            &format!("IdentityFile {}/key", server.folder().display()),
            "IdentityFile none",
        )
        .replace("IdentitiesOnly yes", "IdentitiesOnly no")
        .replace("IdentityAgent none", "IdentityAgent SSH_AUTH_SOCK");
    fs::write(&file, text).unwrap();
    let socket = lab.root().join("agent");
    let agent = lab.run("ssh-agent", &["-a", socket.to_str().unwrap()]);
    agent.succeeds();
    let with_agent = |arguments: &[&str]| {
        let mut command = lab.command("git-agile");
        run(command.args(arguments).env("SSH_AUTH_SOCK", &socket))
    };
    run(lab
        .command("ssh-add")
        .arg(lab.root().join("key"))
        .env("SSH_AUTH_SOCK", &socket))
    .succeeds();
    with_agent(&["deploy"])
        .ends_with(5)
        .explains("box: cannot fetch", "give box access to the git host");

    let config = fs::read_to_string(lab.ssh_config()).unwrap();
    fs::write(
        lab.ssh_config(),
        format!("Host box\n  ForwardAgent yes\n  IdentityAgent SSH_AUTH_SOCK\n{config}"),
    )
    .unwrap();
    lab.kill_masters();
    with_agent(&["deploy"])
        .succeeds()
        .complains("1 run started");
    lab.agile(&["wait", "--timeout", "300"]).succeeds();
    assert!(!code_of_runs(&server, "environment").contains("SSH_AUTH_SOCK"));
    lab.write("note.txt", "more");
    lab.commit("One more");
    with_agent(&["push"]).succeeds().complains("1 run started");
    let pid = agent
        .stdout
        .split("SSH_AGENT_PID=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    lab.run("kill", &[pid]).succeeds();
}
