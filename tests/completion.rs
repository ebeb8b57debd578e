//! Completion, as a person has it: the TAB key in real shells on a real terminal.

mod support;

use std::fs;

use support::{Lab, Terminal, configuration, wait_until};

const COMPLETIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/completions");

/// A project with a run that has ended, another branch, and a second remote whose address has a password.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.server("box");
    let text = configuration(&["box"], "grid = { lr = [0.1] }\nset = { epochs = 2 }");
    lab.project_with(&text);
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-q", "-u", "origin", "main"])
        .succeeds();
    lab.agile(&["wait"]).succeeds();
    lab.git(&["branch", "try-momentum"]).succeeds();
    let url = "https://me:s3cret@git.example/p.git";
    lab.git(&["remote", "add", "backup", url]).succeeds();
    // Where packages put them; the shells find them by themselves.
    let share = lab.root().join("share");
    for (from, to) in [
        ("git-agile.bash", "bash-completion/completions/git-agile"),
        ("_git-agile", "zsh/site-functions/_git-agile"),
        ("git-agile.fish", "fish/vendor_completions.d/git-agile.fish"),
    ] {
        let to = share.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("make the folder");
        fs::copy(format!("{COMPLETIONS}/{from}"), to).expect("install the completion");
    }
    lab
}

fn has(lab: &Lab, what: &str) -> bool {
    let there = lab.run("sh", &["-c", what]).code == Some(0);
    if !there {
        println!("skipped: no {what}");
    }
    there
}

/// What a line becomes when TAB is pressed (twice when there is a choice), until it contains `expected`.
#[track_caller]
fn completes(shell: &Terminal, typed: &str, expected: &[&str]) {
    shell.keys(&["C-u", "C-l"]);
    wait_until(10, "an empty line", || !shell.visible().contains("git"));
    shell.types(typed);
    wait_until(10, "the echo", || shell.visible().contains(typed));
    shell.keys(&["Tab"]);
    let all = || expected.iter().all(|text| shell.visible().contains(text));
    if !support::holds_within(std::time::Duration::from_secs(2), all) {
        shell.keys(&["Tab"]);
    }
    let seen = support::holds_within(std::time::Duration::from_secs(60), all);
    assert!(
        seen,
        "{typed:?} does not give {expected:?}:\n{}",
        shell.visible()
    );
}

/// What every shell must know, after `git agile` and after `git-agile` alike.
fn knows(lab: &Lab, shell: &Terminal, has_descriptions: bool) {
    let id = lab.agile(&["status", "--json"]).json()[0]["id"].clone();
    let id = id.as_str().expect("an id").to_string();
    for program in ["git agile", "git-agile"] {
        completes(shell, &format!("{program} fetch-r"), &["fetch-results "]);
        completes(
            shell,
            &format!("{program} logs tr"),
            &[&format!("logs {id} ")],
        );
        completes(
            shell,
            &format!("{program} deploy --server b"),
            &["--server box "],
        );
        completes(
            shell,
            &format!("{program} deploy --server=b"),
            &["--server=box "],
        );
        completes(
            shell,
            &format!("{program} deploy --set ep"),
            &["--set epochs="],
        );
        completes(
            shell,
            &format!("{program} deploy --set lr=0"),
            &["--set lr=0.1 "],
        );
        completes(shell, &format!("{program} deploy -e t"), &["-e train "]);
        completes(shell, &format!("{program} deploy --ag"), &["--again "]);
        completes(shell, &format!("{program} push b"), &["push backup "]);
        completes(
            shell,
            &format!("{program} push origin try"),
            &["origin try-momentum "],
        );
        completes(
            shell,
            &format!("{program} push --force-w"),
            &["--force-with-lease"],
        );
        completes(
            shell,
            &format!("{program} review --format js"),
            &["--format json "],
        );
        completes(shell, &format!("{program} help tut"), &["help tutorial "]);
        completes(shell, &format!("{program} st"), &["status", "stop"]);
        if has_descriptions {
            completes(
                shell,
                &format!("{program} show "),
                &[&id, "succeeded train on box epochs=2 lr=0.1"],
            );
            completes(
                shell,
                &format!("{program} push "),
                &["backup", "https://git.example/p.git"],
            );
        }
    }
    completes(shell, "git -C .. agile --ver", &["--version"]);
    assert!(!shell.capture().contains("s3cret"));
}

#[test]
fn bash() {
    let lab = lab();
    let completion = "/usr/share/bash-completion";
    if !has(&lab, &format!("test -e {completion}/completions/git")) {
        return;
    }
    let share = lab.root().join("share").display().to_string();
    fs::write(
        lab.home().join(".bashrc"),
        format!("PS1='at> '\nXDG_DATA_DIRS={share}:/usr/share\n. {completion}/bash_completion\n"),
    )
    .expect("write .bashrc");
    let shell = lab.terminal(&["bash", "-i"]);
    shell.shows("at>");
    knows(&lab, &shell, false);
    // An alias of git is completed as what it stands for.
    lab.git(&["config", "alias.a", "agile"]).succeeds();
    completes(&shell, "git a fetch-r", &["git a fetch-results "]);
    // What is no word to bash is quoted.
    lab.git(&["branch", "odd$(id)'s"]).succeeds();
    completes(&shell, "git agile push origin od", &[r"odd\$\(id\)\'s"]);
    // In another repository, by -C.
    lab.run("git", &["init", "-q", "../other"]).succeeds();
    lab.run("git", &["-C", "../other", "remote", "add", "far", "x"])
        .succeeds();
    completes(&shell, "git -C ../other agile push f", &["push far "]);
}

#[test]
fn zsh() {
    let lab = lab();
    if !has(&lab, "command -v zsh") {
        return;
    }
    let functions = lab.root().join("share/zsh/site-functions");
    fs::write(
        lab.home().join(".zshrc"),
        format!(
            "PS1='at> '\nfpath=({} $fpath)\nautoload -Uz compinit\ncompinit -u -D\n",
            functions.display()
        ),
    )
    .expect("write .zshrc");
    let shell = lab.terminal(&["zsh", "-i"]);
    shell.shows("at>");
    knows(&lab, &shell, true);
    lab.run("git", &["init", "-q", "../other"]).succeeds();
    lab.run("git", &["-C", "../other", "remote", "add", "far", "x"])
        .succeeds();
    completes(&shell, "git -C ../other agile push f", &["push far "]);
    // It is among the commands of git, with a line about it.
    completes(&shell, "git agi", &["git agile "]);
}

#[test]
fn fish() {
    let lab = lab();
    if !has(&lab, "command -v fish") {
        return;
    }
    let share = lab.root().join("share").display().to_string();
    let config = lab.home().join(".config/fish");
    fs::create_dir_all(&config).expect("make the folder");
    fs::write(
        config.join("config.fish"),
        "function fish_prompt; echo 'at> '; end\nfunction fish_right_prompt; end\nset -g fish_greeting\nset -g fish_autosuggestion_enabled 0\n\
         git-agile completions fish | source\n",
    )
    .expect("write config.fish");
    let shell = lab.terminal(&[
        "env",
        &format!("XDG_DATA_DIRS={share}:/usr/share"),
        "fish",
        "-i",
    ]);
    shell.shows("at>");
    knows(&lab, &shell, true);
}

/// So that nobody waits for TAB, records are not read when there are many of them.
#[test]
fn many_runs_are_named_unread() {
    let lab = lab();
    let id = lab.agile(&["status", "--json"]).json()[0]["id"].clone();
    let id = id.as_str().expect("an id").to_owned();
    let (stem, _) = id.rsplit_once('-').expect("a digest");
    let complete = |words: &str| {
        let line = format!("git-agile complete -- {words}");
        lab.run("sh", &["-c", &line]).succeeds().stdout.clone()
    };
    assert!(complete("logs ''").contains(&format!("{id}\tsucceeded train on box")));
    // Records that hold nothing: only their names can be known.
    let refs = format!(
        "for i in $(seq 1000 1200); do echo create refs/agile/runs/{stem}-000000$i HEAD; done | git update-ref --stdin"
    );
    lab.run("sh", &["-c", &refs]).succeeds();
    let all = complete("logs ''");
    assert!(all.contains(&format!("\n{stem}-0000001200\t\n")), "{all}");
    assert!(all.starts_with("words\n@\tthe newest\n"), "{all}");
    let commit = &lab.head()[..7];
    assert_eq!(complete("log --sprint ''"), complete("status --sprint ''"));
    assert_eq!(
        complete("status --sprint ''"),
        format!("words\n{commit}\t\n")
    );
    assert!(complete("review --sort ''").starts_with("words\n"));
    // As soon as few are meant, they are described again.
    assert!(complete(&format!("logs {id}")).contains("succeeded train on box"));
}

/// No network, no noise, and nothing where there is nothing to say.
#[test]
fn the_provider_is_silent_about_what_is_wrong() {
    let lab = lab();
    let complete = |words: &[&str]| {
        let mut line = vec!["complete", "--"];
        line.extend(words);
        let outcome = lab.run("git-agile", &line);
        assert_eq!(outcome.succeeds().stderr, "", "{outcome}");
        outcome.stdout
    };
    assert!(complete(&["deploy", "-s", ""]).contains("box\tbox\n"));
    assert_eq!(complete(&["stop", ""]), "words\n"); // nothing goes on
    assert_eq!(complete(&["help", "--write", ""]), "files\n");
    assert_eq!(complete(&["init", "--server", ""]), "words\n");
    assert!(complete(&["records", ""]).contains("fetch\t"));
    assert!(complete(&["records", "push", ""]).contains("backup\thttps://git.example/p.git\n"));
    assert_eq!(complete(&["records", "push", "backup", ""]), "words\n");
    assert!(complete(&["completions", ""]).contains("bash\t"));
    assert!(!complete(&[""]).contains("\nhook\t"));
    assert!(complete(&[]).contains("status\t"));
    assert_eq!(
        complete(&["no-such-command", "x", "--", "--y", ""]),
        "words\n"
    );
    assert_eq!(complete(&["deploy", "--nothing=x"]), "words\n");

    lab.write("agile.toml", "[servers\n");
    lab.commit("Break the configuration");
    assert_eq!(complete(&["deploy", "-s", ""]), "words\n");
    let outside = lab.run("sh", &["-c", "cd / && git-agile complete -- logs ''"]);
    assert_eq!(outside.succeeds().stdout, "words\n");
    assert_eq!(outside.stderr, "");
}

#[test]
fn the_scripts_are_part_of_the_program() {
    let lab = Lab::new();
    for (shell, file) in [
        ("bash", "git-agile.bash"),
        ("zsh", "_git-agile"),
        ("fish", "git-agile.fish"),
    ] {
        let text = fs::read_to_string(format!("{COMPLETIONS}/{file}")).expect("a script");
        assert_eq!(lab.agile(&["completions", shell]).succeeds().stdout, text);
    }
    lab.agile(&["completions", "tcsh"]).ends_with(2);
}
