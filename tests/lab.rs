//! The laboratory itself: what the other tests rely on holds.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use support::{Direction, Lab, Running, sshd_gives_terminals, wait_until};

/// The processes that name a folder in their environment, command line or current folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("Linux has /proc").flatten() {
        let process = entry.path();
        let read = |file: &str| {
            String::from_utf8_lossy(&fs::read(process.join(file)).unwrap_or_default()).into_owned()
        };
        let place = fs::read_link(process.join("cwd")).unwrap_or_default();
        if read("environ").contains(&name)
            || read("cmdline").contains(&name)
            || place.starts_with(folder)
        {
            found.push(format!(
                "{} {}",
                process.display(),
                read("cmdline").replace('\0', " ")
            ));
        }
    }
    found
}

#[test]
fn two_servers_have_two_homes() {
    let lab = Lab::new();
    for name in ["box", "box2"] {
        let server = lab.server(name);
        let outcome = lab.run("ssh", &[name, "pwd; echo $HOME; echo $0; umask"]);
        let home = server.home().display().to_string();
        let lines: Vec<_> = outcome.succeeds().stdout.lines().collect();
        assert_eq!(lines[..3], [&*home, &*home, "/bin/sh"]);
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn nothing_of_the_caller_reaches_client_or_server() {
    let lab = Lab::new();
    let server = lab.server("box");
    for outcome in [
        lab.run("env", &[]),
        lab.run("ssh", &["box", "env"]),
        server.sh("env"),
    ] {
        for line in outcome.succeeds().stdout.lines() {
            let (name, value) = line.split_once('=').expect("a variable");
            assert!(
                !name.starts_with("SSH_AUTH") && !name.starts_with("VIRTUAL_ENV"),
                "{outcome}"
            );
            assert!(
                name != "HOME" || value.starts_with(&*lab.root().to_string_lossy()),
                "{outcome}"
            );
        }
    }
    lab.git(&["config", "--global", "user.name"])
        .succeeds()
        .says("Ada Lab");
}

#[test]
fn a_server_reaches_the_origin_with_a_key_of_its_own() {
    let lab = Lab::new();
    lab.project(&["box", "box2"]);
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
    let head = lab.head();
    for name in ["box", "box2"] {
        let server = lab.server(name);
        server
            .sh("git ls-remote origin:proj.git main")
            .succeeds()
            .says(&head);
        lab.run("ssh", &[name, "git ls-remote origin:proj.git main"])
            .succeeds()
            .says(&head);
    }
}

#[test]
fn connections_and_sessions_are_counted() {
    let lab = Lab::new();
    let server = lab.server("box");
    assert_eq!((server.connections(), server.sessions()), (0, 0));
    lab.run("ssh", &["box", "true"]).succeeds();
    lab.run("ssh", &["box", "true"]).succeeds();
    assert_eq!((server.connections(), server.sessions()), (2, 2));
    server.reset_counts();
    let socket = lab.root().join("me/run/c");
    let socket = socket.to_string_lossy();
    lab.run(
        "ssh",
        &[
            "-f",
            "-N",
            "-M",
            "-o",
            "ControlPersist=60",
            "-E",
            "/dev/null",
            "-S",
            &socket,
            "box",
        ],
    )
    .succeeds();
    for _ in 0..3 {
        lab.run("ssh", &["-S", &socket, "box", "true"]).succeeds();
    }
    assert_eq!((server.connections(), server.sessions()), (1, 3));
    assert_eq!(lab.kill_masters(), 1);
    wait_until(5, "the master's end", || lab.masters().is_empty());
}

#[test]
fn start_up_files_and_login_shells_are_those_of_the_server() {
    let lab = Lab::new();
    let server = lab.server("box");
    server.set_rc("echo noise; umask 027; NOTE=seen; export NOTE\n");
    for shell in [
        "/bin/sh",
        "/bin/bash",
        "/usr/bin/zsh",
        "/usr/bin/fish",
        "/usr/bin/tcsh",
    ] {
        server.set_login_shell(shell);
        let mut command = lab.command("ssh");
        command.args(["box", "exec /bin/sh -s"]);
        let mut running = Running::start(command.stdin(Stdio::piped()));
        let script = b"m() { echo \"$NOTE $(umask) $SHELL\"; }\nm\n";
        running
            .stdin()
            .expect("piped")
            .write_all(script)
            .expect("send the script");
        let outcome = running.finish();
        assert_eq!(
            outcome.succeeds().stdout,
            format!("noise\nseen 0027 {shell}\n"),
            "{outcome}"
        );
    }
}

#[test]
fn a_shim_stands_before_the_program() {
    let lab = Lab::new();
    let server = lab.server("box");
    server.shim("uname", "#!/bin/sh\necho shimmed\n");
    lab.run("ssh", &["box", "uname"]).says("shimmed\n");
    server.remove_shim("uname");
    lab.run("ssh", &["box", "uname"]).says("Linux");
    server.hide(&["screen"]);
    lab.run(
        "ssh",
        &["box", "command -v screen || echo none; command -v git"],
    )
    .says("none")
    .says("/git");
}

#[test]
fn a_connection_is_cut_at_the_byte() {
    let lab = Lab::new();
    let server = lab.server("box");
    server.meter();
    lab.run("ssh", &["box", "echo whole"]).says("whole");
    let (up, down) = server.bytes();
    assert!(up > 1000 && down > 1000, "{up} {down}");

    server.cut(Direction::Down, 1000);
    lab.run("ssh", &["box", "echo whole"])
        .ends_with(255)
        .never_says("whole");
    assert_eq!(server.bytes().1, 1000);
    server.cut(Direction::Up, 1500);
    lab.run("ssh", &["box", "echo whole"]).ends_with(255);
    assert_eq!(server.bytes().0, 1500);

    server.stall(Direction::Up, 1500);
    let mut silent = lab.command("ssh");
    let mut silent = Running::start(silent.args(["box", "true"]).stdin(Stdio::null()));
    wait_until(10, "the stall", || server.bytes().0 == 1500);
    assert!(!silent.ended());

    server.uncut();
    lab.run("ssh", &["box", "echo whole"]).says("whole");
}

#[test]
fn a_line_that_breaks_leaves_the_command_running() {
    let lab = Lab::new();
    let server = lab.server("box");
    let mut command = lab.command("ssh");
    command.args(["box", "echo $$ >started; trap '' HUP; while :; do sleep 0.05; [ -e go ] && { echo on >ended; exit; }; done"]);
    let running = Running::start(command.stdin(Stdio::null()));
    wait_until(10, "the command", || server.home().join("started").exists());
    assert!(server.kill_connections() >= 1);
    assert_eq!(running.finish().code, Some(255));
    server.sh("touch go").succeeds();
    wait_until(10, "its end", || server.home().join("ended").exists());
    assert_eq!(server.kill_connections(), 0);
}

#[test]
fn a_server_can_be_away_be_another_or_refuse() {
    let lab = Lab::new();
    let server = lab.server("box");
    let ask = || lab.run("ssh", &["-o", "BatchMode=yes", "box", "echo here"]);
    server.stop();
    ask().ends_with(255).complains("Connection refused");
    server.start();
    ask().succeeds();
    server.refuse_auth();
    ask().ends_with(255).complains("Permission denied");
    server.accept_auth();
    ask().succeeds();
    server.change_host_key();
    ask().ends_with(255).complains("IDENTIFICATION HAS CHANGED");
}

#[test]
fn screen_and_tmux_start_detached_and_end_with_the_power() {
    let lab = Lab::new();
    let server = lab.server("box");
    let wait = "sh -c 'touch $0; sleep 600'";
    lab.run("ssh", &["box", &format!("screen -dmS one {wait} screen")])
        .succeeds();
    lab.run(
        "ssh",
        &[
            "box",
            &format!("tmux -L own -f /dev/null new-session -d {wait} tmux"),
        ],
    )
    .succeeds();
    lab.run(
        "ssh",
        &[
            "box",
            &format!("setsid nohup {wait} nohup </dev/null >/dev/null 2>&1 &"),
        ],
    )
    .succeeds();
    for name in ["screen", "tmux", "nohup"] {
        wait_until(10, name, || server.home().join(name).exists());
    }
    lab.run("ssh", &["box", "screen -ls"]).says(".one\t");
    let id = fs::read_to_string(server.folder().join("boot-id")).expect("a boot id");
    server.reboot();
    assert_eq!(processes_of(&server.home()), Vec::<String>::new());
    assert_ne!(
        fs::read_to_string(server.folder().join("boot-id")).expect("a boot id"),
        id
    );
    lab.run("ssh", &["box", "screen -ls || true"])
        .succeeds()
        .never_says("Detached");
}

#[test]
fn a_person_can_attach_to_a_screen_from_a_terminal() {
    if !sshd_gives_terminals() {
        eprintln!("skipped: an ordinary user's sshd cannot give out terminals on this machine");
        return;
    }
    let lab = Lab::new();
    lab.server("box");
    lab.run(
        "ssh",
        &[
            "box",
            "screen -dmS talk sh -c 'echo who; read name; echo \"hello $name\"; read end'",
        ],
    )
    .succeeds();
    let terminal = lab.terminal(&["ssh", "-t", "box", "screen -r talk"]);
    terminal.shows("who").enter("Ada").shows("hello Ada");
    terminal.keys(&["C-a", "d"]);
    assert_eq!(terminal.ends(), 0, "{terminal}");
    let terminal = lab.terminal(&["ssh", "-t", "box", "screen -r talk"]);
    terminal.shows("hello Ada").keys(&["Enter"]);
    assert_eq!(terminal.ends(), 0, "{terminal}");
}

#[test]
fn the_example_trains() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.project(&["box"]);
    lab.git(&["push", "--quiet", "origin", "main"]).succeeds();
    server.close_gate();
    server
        .sh("git clone -q origin:proj.git proj && cd proj && setsid python3 train.py --seed 2 >log 2>&1 </dev/null &")
        .succeeds();
    wait_until(20, "the launch", || server.launches() == 1);
    let metrics = server.home().join("proj/results/metrics.json");
    assert!(!metrics.exists());
    server.open_gate();
    wait_until(10, "the metrics", || metrics.exists());
}

#[test]
fn pip_finds_the_wheels_of_the_test_and_no_others() {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.wheel("tiny", "1.2");
    server
        .sh("python3 -m venv env && env/bin/pip install -q tiny && env/bin/python -c 'import tiny; print(tiny.__version__)'")
        .succeeds()
        .says("1.2");
    assert_ne!(server.sh("env/bin/pip install -q numpy").code, Some(0));
}

#[test]
fn nothing_is_left() {
    let lab = Lab::new();
    lab.server("box");
    lab.server("origin").stop();
    for command in [
        "screen -dmS one sleep 600",
        "tmux -L own -f /dev/null new-session -d sleep 600",
        "cd / && env -i HOME=\"$HOME\" setsid sleep 600 </dev/null >/dev/null 2>&1 &",
        "env -i setsid sleep 600 </dev/null >/dev/null 2>&1 &",
    ] {
        lab.run("ssh", &["box", command]).succeeds();
    }
    let mut open = lab.command("ssh");
    let open = Running::start(open.args(["box", "sleep 600"]).stdin(Stdio::null()));
    let terminal = lab.terminal(&["ssh", "-t", "box"]);
    let mut sessions = 5;
    if sshd_gives_terminals() {
        terminal.enter("echo in $HOME").shows("in /");
        sessions += 1;
    }
    wait_until(10, "the sessions", || {
        lab.server("box").sessions() >= sessions
    });
    lab.project(&["box"]);
    let root = lab.root().to_owned();
    let port = lab.server("box").port();
    assert!(processes_of(&root).len() >= 8, "{:?}", processes_of(&root));
    drop(lab);
    assert_eq!(processes_of(&root), Vec::<String>::new());
    assert!(!root.exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_ne!(open.finish().code, Some(0));
}
