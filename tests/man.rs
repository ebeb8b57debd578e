//! The manual: true to the program, and clean for every `man`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::Lab;

/// Every page below a folder of manuals, by its file's name.
fn pages(folder: &Path) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for section in [1, 5, 7] {
        let section = folder.join(format!("man{section}"));
        for page in fs::read_dir(section).expect("a section") {
            let path = page.expect("a page").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            pages.insert(name.into_owned(), fs::read_to_string(&path).expect("text"));
        }
    }
    pages
}

fn installed() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/man"))
}

#[test]
fn the_pages_say_what_the_program_says() {
    let lab = Lab::new();
    let fresh = lab.root().join("man");
    lab.agile(&["help", "--write", &fresh.to_string_lossy()])
        .succeeds();
    let (fresh, here) = (pages(&fresh), pages(installed()));
    assert!(
        fresh.keys().eq(here.keys()),
        "run script/man: {:?} differ",
        fresh.keys().filter(|name| !here.contains_key(*name))
    );
    for (name, text) in &fresh {
        assert!(here[name] == *text, "man/{name} is old: run script/man");
    }
    assert!(fresh.len() >= 20, "{:?}", fresh.keys());
}

#[test]
fn every_man_reads_them_without_complaint() {
    let lab = Lab::new();
    for (name, _) in pages(installed()) {
        let section = name.rsplit('.').next().expect("a section");
        let path = installed().join(format!("man{section}/{name}"));
        let path = path.to_string_lossy();
        let shown = lab.run("man", &["--warnings=w", "-l", &path]);
        assert_eq!(shown.succeeds().stderr, "", "{shown}");
        if lab.run("sh", &["-c", "command -v mandoc"]).code != Some(0) {
            println!("skipped: no mandoc");
            continue;
        }
        let judged = lab.run("mandoc", &["-Tlint", "-Wwarning", &path]);
        assert_eq!(judged.stdout, "", "{judged}");
    }
}

/// `git agile --help` is git's, which looks for an installed page; `git agile help` is ours, and needs none.
#[test]
fn help_is_found_installed_or_not() {
    let lab = Lab::new();
    let with_man = |line: &str| {
        let set = format!("MANPATH={}: MANPAGER=cat {line}", installed().display());
        lab.run("sh", &["-c", &set])
    };
    for line in ["git agile --help", "git help agile", "man git-agile"] {
        with_man(line)
            .succeeds()
            .says("git-agile - commit, push, and the experiment runs");
    }
    with_man("man agile.toml").succeeds().says("[servers.NAME]");

    lab.agile(&["help"]).succeeds().says("SYNOPSIS");
    lab.agile(&["help", "push"])
        .succeeds()
        .says("git-agile-push - git push, and then launch");
    lab.agile(&["help", "tutorial"])
        .succeeds()
        .says("1 REQUIREMENTS");
    lab.agile(&["help", "agile.toml"]).succeeds().says("slots");
    lab.agile(&["help", "psuh"])
        .ends_with(2)
        .explains("there is no page about `psuh`", "git agile help push");

    let screen = lab.terminal(&["git", "agile", "help", "wait"]);
    screen.shows("GIT-AGILE-WAIT(1)");
    screen.keys(&["q"]);
    assert_eq!(screen.ends(), 0);
    // Without `man` the page is text.
    let bare = lab.root().join("bare");
    fs::create_dir(&bare).expect("a new folder");
    let bare = bare.to_string_lossy();
    let binary = env!("CARGO_BIN_EXE_git-agile");
    let screen = lab.terminal(&["env", &format!("PATH={bare}"), binary, "help", "wait"]);
    screen.shows("git-agile-wait - block until");
    assert_eq!(screen.ends(), 0);
}

#[test]
fn a_configuration_key_is_explained_where_it_is_defined() {
    let lab = Lab::new();
    let page = lab.agile(&["help", "agile.toml"]);
    for text in [
        "How many runs at once; the rest wait in the server's queue.",
        "exact (==: what is installed here)",
        "random.PARAMETER",
        "stop.patience",
    ] {
        page.says(text);
    }
}

/// As git's own do, an option of all commands stands before the command or behind it.
#[test]
fn an_option_of_all_commands_stands_on_either_side() {
    let lab = Lab::new();
    let help = lab.agile(&["-h"]).succeeds().stdout.clone();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 20, "{help}");
    for command in commands {
        lab.agile(&["-q", command, "-h"]).succeeds();
        // What stands behind `push` is git's.
        if command != "push" {
            lab.agile(&[command, "-q", "-h"])
                .succeeds()
                .says("-q, --quiet");
        }
    }
    lab.project(&[]);
    let said = |words: &[&str]| lab.agile(words).succeeds().stderr.clone();
    assert!(said(&["uninstall"]).contains("not installed"));
    assert_eq!(said(&["uninstall", "-q"]), "");
    assert_eq!(said(&["-q", "uninstall"]), "");
    // git's `-q` quietens both.
    lab.git(&["config", "agile.launch", "never"]).succeeds();
    for words in [
        &["push", "-q", "origin", "main"][..],
        &["push", "origin", "main", "--quiet"],
    ] {
        let outcome = lab.agile(words);
        assert_eq!(outcome.succeeds().stderr, "", "{outcome}");
    }
}
