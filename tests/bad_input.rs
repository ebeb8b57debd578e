//! What goes wrong: each time one `error:` that says what happened to which thing, one `hint:` that says what mends it,
//! the documented exit status, and nothing half done.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Lab, Outcome, Running, configuration, wait_until};

/// A project with one server that the person has agreed to; its commit is on the git host. It needs no requirements, so
/// that its environment is there at once.
fn agreed(lab: &Lab) {
    lab.project(&["box"]);
    lab.git(&["rm", "--quiet", "requirements.txt"]).succeeds();
    lab.git(&["commit", "--quiet", "--amend", "--no-edit"])
        .succeeds();
    lab.server("box");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.git(&["push", "--quiet", "-u", "origin", "main"])
        .succeeds();
}

/// A command line of the client, changed by `change` before it runs.
fn with(lab: &Lab, line: &[&str], change: impl FnOnce(&mut Command)) -> Outcome {
    let mut command = lab.command(line[0]);
    change(command.args(&line[1..]).stdin(Stdio::null()));
    Running::start(&mut command).finish()
}

fn in_folder(lab: &Lab, folder: &Path, arguments: &[&str]) -> Outcome {
    let line: Vec<_> = ["git", "agile"].iter().chain(arguments).copied().collect();
    with(lab, &line, |command| {
        command.current_dir(folder);
    })
}

/// The names of the records that the project has.
fn records(lab: &Lab) -> Vec<String> {
    let refs = lab.git(&["for-each-ref", "--format=%(refname)", "refs/agile"]);
    refs.succeeds().stdout.lines().map(str::to_owned).collect()
}

/// The folder of the runs on a server.
fn run_folders(lab: &Lab, server: &str) -> usize {
    let runs = lab.server(server).home().join("agile/proj/runs");
    fs::read_dir(runs).map_or(0, |entries| entries.count())
}

// ---- where the command stands --------------------------------------------------------------------------------------

#[test]
fn a_repository_with_a_work_tree_and_a_commit_is_needed() {
    let lab = Lab::new();
    let home = lab.home();
    in_folder(&lab, &home, &["status"])
        .ends_with(3)
        .explains("not a git repository", "git init");

    lab.git(&["init", "--quiet", "--bare", "bare.git"])
        .succeeds();
    in_folder(&lab, &home.join("bare.git"), &["deploy"])
        .ends_with(3)
        .explains("bare repository", "git clone");

    lab.git(&["init", "--quiet", "new"]).succeeds();
    let new = home.join("new");
    for line in [&["push"][..], &["deploy"], &["design"], &["trust", "--all"]] {
        in_folder(&lab, &new, line)
            .ends_with(3)
            .explains("no commit yet", "git commit");
    }
    in_folder(&lab, &new, &["status"])
        .succeeds()
        .complains("no runs yet");
}

#[test]
fn a_commit_without_agile_toml_is_pushed_by_git_alone() {
    let lab = Lab::new();
    lab.project(&["box"]);
    lab.git(&["rm", "--quiet", "--cached", "agile.toml"])
        .succeeds();
    lab.git(&["commit", "--quiet", "--amend", "--no-edit"])
        .succeeds();
    let short = &lab.head()[..7];
    for line in [&["push", "origin"][..], &["deploy"], &["design"]] {
        lab.agile(line).ends_with(3).explains(
            &format!("no agile.toml in commit {short}"),
            "git add agile.toml",
        );
    }
    fs::remove_file(lab.project_folder().join("agile.toml")).expect("it is not needed");
    lab.agile(&["push"])
        .ends_with(3)
        .explains("no agile.toml", "git agile init");
    let there = lab.git(&["ls-remote", "origin"]);
    assert_eq!(there.succeeds().stdout, "", "nothing was pushed");
}

#[test]
fn a_detached_head_is_deployed_and_not_pushed() {
    let lab = Lab::new();
    agreed(&lab);
    lab.git(&["checkout", "--quiet", "--detach"]).succeeds();
    let twin = lab.git(&["push"]);
    let pushed = lab.agile(&["push"]);
    pushed.ends_with(128).complains("not currently on a branch");
    assert_eq!(pushed.stderr, twin.stderr);
    assert_eq!(lab.server("box").launches(), 0);
    lab.agile(&["deploy"])
        .succeeds()
        .complains("box: 1 run started");
    lab.agile(&["wait"]).succeeds();
}

#[test]
fn only_the_commit_is_deployed_and_that_is_said() {
    let lab = Lab::new();
    agreed(&lab);
    let short = &lab.head()[..7];
    lab.write("train.py", "raise SystemExit('not this')\n");
    lab.agile(&["push"])
        .succeeds()
        .complains(&format!(
            "warning: there are uncommitted changes; only commit {short} is deployed"
        ))
        .complains("box: 1 run started");
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["logs"]).says("done").never_says("not this");
}

// ---- agile.toml ----------------------------------------------------------------------------------------------------

#[test]
fn mistakes_in_agile_toml_are_refused_before_anybody_is_contacted() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    server.reset_counts();
    let good = configuration(&["box"], "grid = { lr = [0.1] }");
    let with = |old: &str, new: &str| {
        assert!(good.contains(old), "{old}");
        good.replace(old, new)
    };
    let line = |text: &str| {
        let at = good.lines().position(|line| line.contains(text));
        format!("agile.toml:{}: ", 1 + at.expect("it is there"))
    };
    let axes: String = (0..20)
        .map(|axis| format!("p{axis} = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "))
        .collect();
    let cases = [
        (
            with("[servers.box]", "[servers.box"),
            line("[servers.box]"),
            "git agile design",
        ),
        (
            with("servers =", "sever ="),
            format!("{}unknown key `sever`", line("servers =")),
            "did you mean `servers`?",
        ),
        (
            with("[experiments.", "[experiment."),
            format!("{}unknown key `experiment`", line("[experiments")),
            "did you mean `experiments`?",
        ),
        (
            with("servers = [\"box\"]", "servers = [\"bix\"]"),
            format!(
                "{}experiments.train.servers: there is no server `bix`",
                line("servers =")
            ),
            "did you mean `box`?",
        ),
        (
            with("command = \"python train.py --lr {lr}\"", ""),
            "experiments.train: the experiment has no `command`".into(),
            "command = ",
        ),
        (
            with("--lr {lr}", "--lr {rate}"),
            "uses {rate}, which is no parameter".into(),
            "add `rate` to `grid` or `set`",
        ),
        (
            with("grid =", "set = { lr = 1 }\ngrid ="),
            "`lr` is in `set` and in the design".into(),
            "remove one",
        ),
        (
            with("grid =", "list = [{ lr = 1 }]\ngrid ="),
            "exclude each other".into(),
            "keep one",
        ),
        (
            with("[0.1]", "0.1"),
            "experiments.train.grid.lr: a grid parameter takes a list".into(),
            "`set`",
        ),
        (
            with("lr = [0.1] }", "lr = [0.1], LR = [1] }"),
            "differ by case alone".into(),
            "rename",
        ),
        (
            with("{ lr = [0.1] }", &format!("{{ lr = [0.1], {axes} }}")),
            "more than 10000 runs".into(),
            "fewer values",
        ),
        (
            with("host = \"box\"\n", ""),
            "servers.box: the server has no `host`".into(),
            "host = ",
        ),
        (
            with("path = ", "launcher = \"scren\"\npath = "),
            format!("{}unknown value `scren`", line("path = ")),
            "did you mean `screen`?",
        ),
        (
            with(
                "path = ",
                "launcher = \"slurm\"\nslurm = { wrap = \"id\" }\npath = ",
            ),
            "servers.box.slurm.wrap: the option `wrap` cannot be given".into(),
            "`man sbatch` on the server lists its options",
        ),
        (
            with("grid =", "stop = { metric = \"loss\" }\ngrid ="),
            "experiments.train.stop: nothing says when `loss` ends a run".into(),
            "patience",
        ),
        (
            with("\"~/agile/proj\"", "7"),
            line("path = "),
            "git agile design",
        ),
        (
            "\u{feff}".repeat(3),
            "agile.toml:1: ".into(),
            "git agile design",
        ),
        (
            good.replace('\n', "\r\n").replace("box", "b\u{fffd}x\0"),
            "agile.toml:1: ".into(),
            "git agile design",
        ),
        (" ".repeat(2 << 20), "larger than 1 MiB".into(), "split"),
        (
            "[".repeat(20_000),
            "agile.toml:1: ".into(),
            "git agile design",
        ),
        (
            String::new(),
            "has no experiment".into(),
            "[experiments.train]",
        ),
    ];
    for (text, error, hint) in cases {
        lab.write("agile.toml", &text);
        lab.commit("A mistake");
        let outcome = lab.agile(&["deploy"]);
        outcome.ends_with(3).explains(&error, hint);
        assert!(outcome.stderr.len() < 2048, "{outcome}");
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(records(&lab), Vec::<String>::new());

    // Not text, and not a file.
    fs::write(lab.project_folder().join("agile.toml"), b"a = \"\xff\"\n").expect("write it");
    lab.commit("Bytes");
    lab.agile(&["push"])
        .ends_with(3)
        .explains("agile.toml:1: not UTF-8 text", "UTF-8");
    fs::remove_file(lab.project_folder().join("agile.toml")).expect("remove it");
    std::os::unix::fs::symlink("/etc/passwd", lab.project_folder().join("agile.toml"))
        .expect("link it");
    lab.commit("A link");
    lab.agile(&["push"])
        .ends_with(3)
        .explains("agile.toml is a symbolic link", "plain file");
    assert_eq!(server.connections(), 0);
}

/// Text that would be an option, a command, another place or a trick on the eye, if it got anywhere.
#[test]
fn hostile_text_in_agile_toml_reaches_nobody() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    server.reset_counts();
    let hosts = [
        "",
        " ",
        "-oProxyCommand=touch PWNED",
        "-V",
        "-Qcipher",
        "me@-V",
        "-l@box",
        "box;touch PWNED",
        "box touch",
        "box\ntouch",
        "a$HOME@box",
        "box`touch PWNED`",
        "$(touch PWNED)",
        "box|touch",
        "box>x",
        "../box",
        "a@b@c",
        "@box",
        "box\u{1b}[2J",
        "b\u{202e}ox",
        "bøx",
        "ssh://-V",
        "ssh://me@box/x",
        "box#",
        "file:///etc/passwd",
        "\\box",
        "'box'",
        "\"box\"",
        "box\u{7f}",
        "b\u{0}ox",
        "*",
        "%d;x",
    ];
    let paths = [
        "",
        "/",
        "~",
        "~/",
        ".",
        "~root/x",
        "../x",
        "a/../../b",
        "-rf",
        "$(touch PWNED)",
        "`touch PWNED`",
        "a;touch PWNED",
        "a|b",
        "a'b",
        "a\"b",
        "a\nb",
        "a\u{1b}]0;x\u{7}",
        "$HOME/x",
        "a!b",
        "a*b",
        "a?b",
        "a{b",
        "a\\b",
        "a&b",
        "a<b",
        "a#b",
        "a\u{0}b",
        "a\u{9b}b",
    ];
    let names = [
        "",
        "-x",
        "a b",
        "a/b",
        "../a",
        "a\nb",
        "a\u{1b}",
        "#(touch PWNED)",
        "a;b",
        "é",
        "a$b",
    ];
    let inside = [
        "/etc/passwd",
        "../x",
        "a/../../b",
        ".git/config",
        "a/.GIT/x",
        "~/x",
        "$HOME/x",
        "-x",
        "a\nb",
        "a\u{1b}b",
        "",
    ];
    let parameters = ["", "1a", "a-b", "a b", "a=b", "é", "a;b", "a$(id)"];
    let variables = [
        "LD_PRELOAD",
        "BASH_ENV",
        "ENV",
        "IFS",
        "AGILE_RUN",
        "a b",
        "a=b",
        "",
        "1A",
    ];

    let quoted = |text: &str| serde_json::to_string(text).expect("JSON strings are TOML strings");
    let mut texts = Vec::new();
    let mut add = |text: String| texts.push(text);
    for host in hosts {
        add(configuration(&["box"], "")
            .replace("host = \"box\"", &format!("host = {}", quoted(host))));
    }
    for path in paths {
        add(configuration(&["box"], "").replace("\"~/agile/proj\"", &quoted(path)));
    }
    for name in names {
        add(format!(
            "{}[servers.{}]\nhost = \"box\"\n",
            configuration(&["box"], ""),
            quoted(name)
        ));
        add(format!(
            "{}[experiments.{}]\ncommand = \"x\"\n",
            configuration(&["box"], ""),
            quoted(name)
        ));
    }
    for path in inside {
        add(configuration(&["box"], "").replace("\"results/**\"", &quoted(path)));
        add(format!(
            "{}[requirements]\nfile = {}\n",
            configuration(&["box"], ""),
            quoted(path)
        ));
    }
    for name in parameters {
        add(configuration(
            &["box"],
            &format!("grid = {{ lr = [1], {} = [1] }}", quoted(name)),
        ));
    }
    for name in variables {
        add(format!(
            "{}[servers.box.env]\n{} = \"x\"\n",
            configuration(&["box"], ""),
            quoted(name)
        ));
    }
    assert!(texts.len() >= 100);
    for text in &texts {
        lab.write("agile.toml", text);
        lab.commit("Hostile");
        let outcome = lab.agile(&["deploy"]);
        outcome.ends_with(3).explains("agile.toml", "");
        let raw = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!outcome.stderr.contains(raw), "{:?}", outcome.stderr);
    }
    assert_eq!(server.connections(), 0);
    assert_eq!(records(&lab), Vec::<String>::new());
    let found = lab.run("find", &[&lab.root().to_string_lossy(), "-name", "PWNED"]);
    assert_eq!(found.succeeds().stdout, "");
}

// ---- the command line ----------------------------------------------------------------------------------------------

#[test]
fn what_is_not_there_is_named_with_the_nearest_that_is() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    lab.agile(&["logs"])
        .ends_with(2)
        .explains("no runs yet", "git agile push");
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    let run = lab.agile(&["show", "--json"]).json()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    lab.agile(&["fetch-results"]).succeeds();
    let typo = run.replace("train", "trian");
    let kept = records(&lab);
    server.reset_counts();
    let sessions = server.sessions();
    for (line, error, hint) in [
        (
            &["deploy", "-e", "trian"][..],
            "no experiment `trian`",
            "did you mean `train`?",
        ),
        (
            &["deploy", "-s", "bix"],
            "no server `bix`",
            "did you mean `box`?",
        ),
        (
            &["deploy", "-s", "elsewhere"],
            "no server `elsewhere`",
            "box",
        ),
        (&["deploy", "--set", "rate=1"], "no parameter `rate`", "lr"),
        (&["deploy", "--set", "lr"], "write NAME=VALUE", "--help"),
        (
            &["deploy", "--set", "l r=1"],
            "\"l r\" is not a valid parameter name",
            "--help",
        ),
        (&["deploy", "nosuch"], "`nosuch` is not a commit", "git log"),
        (&["deploy", "--", "-x"], "`-x` is not a commit", "git log"),
        (
            &["deploy", "a\u{1b}[2Jb"],
            "`a\\x1b[2Jb` is not a commit",
            "git log",
        ),
        (
            &["deploy", "HEAD:train.py"],
            "`HEAD:train.py` is not a commit",
            "git log",
        ),
        (&["design", "nosuch"], "`nosuch` is not a commit", "git log"),
        (&["trust", "bix"], "no server `bix`", "did you mean `box`?"),
        (&["ssh", "bix"], "no server `bix`", "did you mean `box`?"),
        (&["ssh", "elsewhere"], "no server `elsewhere`", "box"),
        (
            &["logs", &typo],
            &format!("no run `{typo}`"),
            &format!("did you mean `{run}`?"),
        ),
        (&["show", "x"], "no run `x`", "git agile status --all"),
        (
            &["wait", "-e", "trian"],
            "experiment `trian`",
            "did you mean `train`?",
        ),
        (
            &["stop", "-s", "bix"],
            "server `bix`",
            "did you mean `box`?",
        ),
        (
            &["status", "--sprint", "1999"],
            "sprint `1999`",
            "git agile status --all",
        ),
        (
            &["fetch-results", "\u{1b}"],
            "no run `\\x1b`",
            "git agile status --all",
        ),
        (
            &["review", "--sort", "los"],
            "`los`",
            "did you mean `loss`?",
        ),
        (&["stauts"], "'stauts'", "'status'"),
        (&["status", "--jsn"], "'--jsn'", "'--json'"),
        (&["status", "--watch", "--json"], "'--watch'", "--help"),
        (&["logs", "-n", "many"], "'many'", "--help"),
        (&["attach"], "attach needs a terminal", "git agile logs -f"),
        (
            &["init", "--server", "a b"],
            "\"a b\" is not a valid server name",
            "--help",
        ),
        (&["demo", "."], "is not empty", "git agile demo"),
    ] {
        let outcome = lab.agile(line);
        outcome.ends_with(2).explains(error, hint);
        assert!(!outcome.stderr.contains('\u{1b}'), "{outcome}");
    }
    lab.agile(&[])
        .ends_with(2)
        .complains("Usage: git agile [OPTIONS] <COMMAND>")
        .complains("fetch-results");
    assert_eq!((server.connections(), server.sessions()), (0, sessions));
    assert_eq!(records(&lab), kept);
}

// ---- trust ---------------------------------------------------------------------------------------------------------

#[test]
fn a_server_is_contacted_only_after_the_person_agreed() {
    let lab = Lab::new();
    lab.project(&["box", "box2"]);
    let (server, other) = (lab.server("box"), lab.server("box2"));
    lab.agile(&["trust", "box"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"])
        .ends_with(3)
        .explains(
            "you have not agreed yet to the server 'box2' (box2)",
            "git agile trust box2",
        )
        .complains("box: 1 run started");
    wait_until(10, "the launch", || server.launches() == 1);
    assert_eq!(other.connections(), 0);
    assert_eq!(
        records(&lab).len(),
        1,
        "the intent is recorded for box alone"
    );
    for line in [&["ssh", "box2", "true"][..], &["deploy", "-s", "box2"]] {
        lab.agile(line).ends_with(3).explains(
            "not agreed yet to the server 'box2'",
            "git agile trust box2",
        );
    }
    assert_eq!(other.connections(), 0);
    lab.agile(&["trust", "box2"]).succeeds();
    lab.agile(&["push"])
        .succeeds()
        .complains("box2: 1 run started");
    lab.agile(&["wait", "--all"]).succeeds();
}

#[test]
fn a_server_that_a_commit_points_elsewhere_is_another_server() {
    let lab = Lab::new();
    agreed(&lab);
    let other = lab.server("box2");
    let text = lab
        .read("agile.toml")
        .replace("host = \"box\"", "host = \"box2\"");
    lab.write("agile.toml", &text);
    lab.commit("Move the box");
    lab.agile(&["push"]).ends_with(3).explains(
        "server 'box' now means box2 (was box)",
        "git agile trust box",
    );
    assert_eq!((other.connections(), records(&lab).len()), (0, 0));

    lab.agile(&["trust", "--list"])
        .succeeds()
        .says("server 'box' now means box2 (was box)");
    lab.agile(&["trust", "box"]).succeeds();
    lab.agile(&["push"])
        .succeeds()
        .complains("box: 1 run started");
    wait_until(10, "the launch", || other.launches() == 1);

    // Another git host is another thing to agree to.
    let url = other.url("elsewhere.git");
    lab.git(&["remote", "set-url", "origin", &url]).succeeds();
    other.reset_counts();
    lab.agile(&["deploy", "--again"]).ends_with(3).explains(
        "server 'box' would now fetch from box2 (was origin)",
        "git agile trust box",
    );
    assert_eq!(other.connections(), 0);
}

// ---- the way to a server -------------------------------------------------------------------------------------------

#[test]
fn a_server_that_cannot_be_reached_says_why() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    let deploy = || lab.agile(&["deploy"]);

    server.stop();
    deploy().ends_with(4).explains(
        "box: cannot connect to box: nothing listens there for ssh",
        "is the server up?",
    );
    lab.agile(&["status"])
        .succeeds()
        .says("not launched")
        .says("cannot connect to box: nothing listens there for ssh");
    server.start();

    server.refuse_auth();
    deploy().ends_with(4).explains(
        "box: cannot connect to box: it refused to let you in",
        "ssh-copy-id box",
    );
    server.accept_auth();

    let known = fs::read_to_string(lab.known_hosts()).expect("read the known hosts");
    fs::write(lab.known_hosts(), "").expect("forget the known hosts");
    deploy()
        .ends_with(4)
        .explains("its host key is not known here", "compare the fingerprint");
    let now = fs::read_to_string(lab.known_hosts()).expect("read the known hosts");
    assert_eq!(now, "", "nobody agreed to that key");
    fs::write(lab.known_hosts(), known).expect("remember them");

    server.change_host_key();
    deploy()
        .ends_with(4)
        .explains("its host key has changed", "ssh-keygen -f");
    assert_eq!((server.launches(), run_folders(&lab, "box")), (0, 0));

    let text = lab
        .read("agile.toml")
        .replace("host = \"box\"", "host = \"nowhere.invalid\"");
    lab.write("agile.toml", &text);
    lab.commit("A name that nobody has");
    lab.agile(&["trust", "box"]).succeeds();
    deploy().ends_with(4).explains(
        "cannot connect to nowhere.invalid: there is no host of that name",
        "agile.toml",
    );
}

#[test]
fn one_server_s_failure_does_not_stop_the_others() {
    let lab = Lab::new();
    lab.project(&["box", "box2"]);
    let (server, other) = (lab.server("box"), lab.server("box2"));
    lab.agile(&["trust", "--all"]).succeeds();
    server.stop();
    lab.agile(&["push", "origin", "main"])
        .ends_with(4)
        .explains("box: cannot connect", "is the server up?")
        .complains("box2: 1 run started");
    wait_until(10, "the launch", || other.launches() == 1);
    server.start();
    lab.agile(&["push", "origin", "main"])
        .succeeds()
        .complains("box: 1 run started");
    lab.agile(&["wait"]).succeeds();
    assert_eq!((server.launches(), other.launches()), (1, 1));
}

#[test]
fn a_login_shell_may_print_and_must_not_read() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    let deploy = || lab.agile(&["deploy"]);
    server.set_rc("cat >/dev/null; echo 'Welcome\u{1b}]0;you\u{7}'\n");
    let outcome = deploy();
    outcome
        .ends_with(4)
        .explains("box: the server did not run the script", "ssh box true")
        .complains("caused by: Welcome\\x1b]0;you\\x07");
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome}");

    server.set_rc("echo 'This account is closed.' >&2; exit 1\n");
    deploy()
        .ends_with(4)
        .explains("box: the server did not run the script", "ssh box true")
        .complains("This account is closed.");
    server.set_login_shell("/bin/false");
    server.set_rc("");
    deploy()
        .ends_with(4)
        .explains("box: the server did not run the script", "ssh box true");
    server.set_login_shell("/bin/sh");
    assert_eq!((server.launches(), run_folders(&lab, "box")), (0, 0));

    server.set_rc("echo Welcome; echo Mind the step >&2; printf 'no line feed'\n");
    deploy()
        .succeeds()
        .complains("box: 1 run started")
        .never_says("Welcome");
    lab.agile(&["wait"]).succeeds();
    lab.agile(&["logs", "-n", "1"]).succeeds();
}

// ---- what a server lacks -------------------------------------------------------------------------------------------

#[test]
fn missing_programs_are_named() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    let pythons: Vec<String> = (0..30).map(|minor| format!("python3.{minor}")).collect();
    let mut no_python = vec!["python3", "python"];
    no_python.extend(pythons.iter().map(String::as_str));
    server.hide(&["git"]);
    lab.agile(&["deploy"])
        .ends_with(5)
        .explains("box: there is no git on the server", "install git on box");
    server.show_all();
    server.hide(&no_python);
    lab.agile(&["deploy"]).ends_with(5).explains(
        "box: there is no python3 on the server",
        "install it on box",
    );
    server.show_all();
    for launcher in ["screen", "tmux"] {
        let good = configuration(&["box"], "grid = { lr = [0.1] }");
        lab.write(
            "agile.toml",
            &good.replace("path =", &format!("launcher = \"{launcher}\"\npath =")),
        );
        lab.commit(launcher);
        lab.git(&["push", "--quiet"]).succeeds();
        server.hide(&[launcher]);
        lab.agile(&["deploy"]).ends_with(5).explains(
            &format!("box: there is no {launcher} on the server"),
            "launcher = \"auto\"",
        );
        server.show_all();
    }
    assert_eq!(server.launches(), 0);
    // Nothing stands in the way of the same command once that is mended.
    lab.agile(&["deploy"]).succeeds().complains("1 run started");
    lab.agile(&["wait"]).succeeds();
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let lab = Lab::new();
    let server = lab.server("box");
    fs::write(server.home().join("taken"), "a file").expect("write it");
    let text = configuration(&["box"], "grid = { lr = [0.1] }").replace("~/agile", "~/taken");
    lab.project_with(&text);
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"])
        .ends_with(5)
        .explains(
            "box: cannot make the folder",
            "correct `path` of [servers.box]",
        );
    assert_eq!(
        fs::read_to_string(server.home().join("taken"))
            .ok()
            .as_deref(),
        Some("a file")
    );
}

#[test]
fn a_requirement_that_cannot_be_installed_launches_nothing() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    lab.agile(&["deploy"]).succeeds();
    lab.agile(&["wait"]).succeeds();
    let environments = || {
        let text = server.sh("cat agile/proj/envs/*/ok").stdout;
        (text.lines().count(), text)
    };
    let before = environments();
    lab.write("requirements.txt", "no-such-thing==1.0\n");
    let config = lab.read("agile.toml") + "[requirements]\nkeep = [\"no-such-thing\"]\n";
    lab.write("agile.toml", &config);
    lab.commit("Need something");
    lab.agile(&["push"])
        .ends_with(5)
        .explains(
            "box: cannot build the Python environment from requirements.txt",
            "mend requirements.txt",
        )
        .complains("No matching distribution found for no-such-thing==1.0");
    assert_eq!((server.launches(), environments()), (1, before));
    lab.agile(&["status"])
        .succeeds()
        .says("not launched")
        .says("cannot build the Python environment");
    lab.agile(&["wait"])
        .ends_with(1)
        .explains("1 of 1 run did not succeed", "git agile deploy");
    lab.agile(&["logs"])
        .ends_with(5)
        .explains("was not launched", "git agile deploy ");
    lab.agile(&["stop", "--yes"])
        .succeeds()
        .complains("None of these runs is going on.");

    lab.wheel("no_such_thing", "1.0");
    lab.agile(&["push"])
        .succeeds()
        .complains("1 run started, environment built");
    lab.agile(&["wait"]).succeeds();
}

// ---- the commit's way to the server --------------------------------------------------------------------------------

#[test]
fn the_server_must_be_able_to_fetch_the_commit() {
    let lab = Lab::new();
    agreed(&lab);
    let (server, origin) = (lab.server("box"), lab.server("origin"));
    lab.write("note", "not pushed");
    let commit = lab.commit("Not pushed");
    lab.agile(&["deploy"])
        .ends_with(5)
        .explains(&format!("box: cannot fetch {commit}"), "git agile push");
    lab.git(&["push", "--quiet"]).succeeds();

    origin.stop();
    lab.agile(&["deploy"])
        .ends_with(5)
        .explains(
            "box: cannot fetch",
            "on box, `git ls-remote origin:proj.git` must work",
        )
        .complains("Connection refused");
    origin.start();
    fs::write(server.folder().join("known-hosts"), "").expect("forget the git host");
    lab.agile(&["deploy"])
        .ends_with(5)
        .explains("box: cannot fetch", "box does not know the git host yet");
    lab.git(&["remote", "remove", "origin"]).succeeds();
    lab.agile(&["deploy"])
        .ends_with(3)
        .explains("there is no git remote `origin`", "git remote add origin");
    assert_eq!((server.launches(), run_folders(&lab, "box")), (0, 0));
}

// ---- the surroundings ----------------------------------------------------------------------------------------------

#[test]
fn without_a_home_nothing_is_guessed() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    server.reset_counts();
    let homeless = |arguments: &[&str]| {
        with(&lab, &[&["git-agile"], arguments].concat(), |command| {
            for name in [
                "HOME",
                "XDG_CONFIG_HOME",
                "XDG_CACHE_HOME",
                "XDG_DATA_HOME",
                "XDG_STATE_HOME",
            ] {
                command.env_remove(name);
            }
        })
    };
    homeless(&["deploy"])
        .ends_with(3)
        .explains("there is no HOME", "export HOME");
    homeless(&["design"]).succeeds().says("train.py --lr 0.1");
    assert_eq!((server.connections(), records(&lab).len()), (0, 0));
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let lab = Lab::new();
    let lrs: Vec<String> = (1..5000).map(|n| n.to_string()).collect();
    let text = configuration(&["box"], &format!("grid = {{ lr = [{}] }}", lrs.join(", ")));
    lab.project_with(&text);
    lab.run("sh", &["-c", "git agile design --json | head -n 1"])
        .succeeds()
        .says("[\n");
    lab.run(
        "bash",
        &["-c", "git agile design | head -n 1; exit ${PIPESTATUS[0]}"],
    )
    .succeeds()
    .says("4999 runs");
    for line in [
        "design",
        "design --json",
        "--help",
        "status --json",
        "--version",
    ] {
        lab.run("sh", &["-c", &format!("git-agile {line} >/dev/full")])
            .ends_with(5)
            .explains("cannot write to standard output", "space");
    }
    lab.run("sh", &["-c", "git-agile design >&-"]).succeeds();
    lab.run("sh", &["-c", "git-agile deploy nosuch 2>&-"])
        .ends_with(2);
    lab.run("sh", &["-c", "git-agile deploy nosuch 2>/dev/full"])
        .ends_with(2);
}

/// Clipboard, title, a cursor that moves, a query that the terminal answers, and text that turns round.
const TRICK: &str =
    "\u{1b}]52;c;Q0FOQVJZ\u{7}\u{1b}]0;title\u{1b}\\\u{9b}2J\u{1b}[6n\u{202e}x\r\u{8}";

#[test]
fn foreign_text_never_steers_the_terminal() {
    let lab = Lab::new();
    let server = lab.server("box");
    let quoted = serde_json::to_string(TRICK).expect("a string");
    lab.project_with(&configuration(
        &["box"],
        &format!("grid = {{ lr = [0.1], note = [{quoted}] }}"),
    ));
    lab.write(
        "train.py",
        &format!("print({quoted}, flush=True)\nraise SystemExit(3)\n"),
    );
    lab.commit(&format!("Subject {TRICK}"));
    server.set_rc(&format!("printf %s '{TRICK}'; printf %s '{TRICK}' >&2\n"));
    lab.agile(&["trust", "--all"]).succeeds();
    lab.agile(&["push", "-u", "origin", "main"]).succeeds();
    lab.agile(&["wait"])
        .ends_with(1)
        .explains("1 of 1 run did not succeed", "git agile logs train-");
    lab.agile(&["fetch-results"]).succeeds();
    let raw = [
        "\u{1b}]",
        "\u{9b}",
        "\u{1b}[6n",
        "\u{202e}",
        "\u{7}",
        "\u{8}",
    ];
    for line in [
        "status",
        "status --json",
        "show",
        "show --json",
        "design",
        "design --json",
        "deploy --dry-run",
        "deploy",
        "trust --list",
        "review",
        "review --format json",
        "logs -n 5",
        "wait",
        "stop",
        "push",
    ] {
        let outcome = lab.run(
            "script",
            &[
                "-qec",
                &format!("git --no-pager agile {line} </dev/null"),
                "/dev/null",
            ],
        );
        for sequence in raw {
            assert!(
                !outcome.stdout.contains(sequence),
                "{line}: {sequence:?} in {:?}",
                outcome.stdout
            );
        }
    }
    // Into a pipe the log is what it is; on a terminal that wants no colours nothing but text arrives.
    assert!(lab.agile(&["logs"]).stdout.contains(TRICK));
    for name in ["status", "show", "design", "logs"] {
        let outcome = with(
            &lab,
            &["script", "-qec", &format!("git agile {name}"), "/dev/null"],
            |command| {
                command.env("NO_COLOR", "1");
            },
        );
        outcome.succeeds();
        assert!(
            !outcome.stdout.contains('\u{1b}'),
            "{name}: {:?}",
            outcome.stdout
        );
    }
    let painted = lab.run("script", &["-qec", "git agile status", "/dev/null"]);
    assert!(
        painted.stdout.contains("\u{1b}[31m"),
        "a failed run is red: {:?}",
        painted.stdout
    );
}

#[test]
fn what_happens_to_many_runs_alike_is_said_once() {
    let lab = Lab::new();
    agreed(&lab);
    let server = lab.server("box");
    let grid = "grid = { lr = [1, 2, 3, 4, 5] }";
    lab.write("agile.toml", &configuration(&["box"], grid));
    let commit = lab.commit("Five");
    lab.git(&["push", "--quiet"]).succeeds();
    server.shim(
        "git",
        "#!/bin/sh\nPATH=${PATH#\"$LAB_SHIM:\"}\ncase \" $* \" in *' worktree '*) echo 'fatal: no luck' >&2; exit 128 ;; esac\n\
         exec git \"$@\"\n",
    );
    lab.agile(&["deploy"])
        .ends_with(5)
        .explains(
            &format!("box: cannot check out {commit} (5 runs)"),
            "git agile ssh box",
        )
        .complains("fatal: no luck");
    assert_eq!(
        lab.agile(&["status"])
            .stdout
            .matches("not launched")
            .count(),
        5
    );
    server.remove_shim("git");
    lab.agile(&["deploy"])
        .succeeds()
        .complains("box: 5 runs started");
    lab.agile(&["wait"]).succeeds();
    assert_eq!(server.launches(), 5);
}
