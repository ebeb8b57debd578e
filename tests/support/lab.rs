//! The laboratory: the client's side, and the end of everything.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use super::outcome::{Outcome, Running, run};
use super::server::{self, Server};
use super::terminal::Terminal;

const REAPER: &str = include_str!("reap.sh");
const RELAY: &str = include_str!("relay.py");

/// Where programs are looked for, by the client and on the servers. The caller's own `PATH` may lead to shims (of
/// pyenv, rustup, …) that read the caller's home.
pub const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// See the [module](super).
pub struct Lab {
    root: PathBuf,
    servers: Mutex<BTreeMap<String, Arc<Server>>>,
    reaper: Mutex<Child>,
}

impl Lab {
    /// A client with a home of its own, and nothing else yet.
    pub fn new() -> Self {
        let root = new_folder();
        let lab = Self {
            reaper: Mutex::new(start_reaper(&root)),
            root,
            servers: Mutex::new(BTreeMap::new()),
        };
        for folder in ["bin", "me", "me/home", "me/run", "me/screen", "me/tmp"] {
            private_folder(&lab.root.join(folder));
        }
        private_folder(&lab.root.join("wheels"));
        write(&lab.root.join("relay.py"), RELAY);
        generate_key(&lab.root.join("key"));
        write(&lab.known_hosts(), "");
        lab.write_ssh_config();
        write_program(&lab.root.join("bin/ssh"), &ssh_wrapper(&lab.ssh_config()));
        write(
            &lab.home().join(".gitconfig"),
            "[user]\n\tname = Ada Lab\n\temail = ada@lab.example\n[init]\n\tdefaultBranch = main\n",
        );
        lab.write_pip_config(&lab.home());
        lab
    }

    /// The folder of the whole laboratory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The client's home.
    pub fn home(&self) -> PathBuf {
        self.root.join("me/home")
    }

    /// Where [`Lab::project`] makes its repository: the folder in which [`Lab::git`] and [`Lab::agile`] run.
    pub fn project_folder(&self) -> PathBuf {
        self.home().join("proj")
    }

    /// The client's known host keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.root.join("known_hosts")
    }

    /// The client's ssh configuration: a stanza for each server.
    pub fn ssh_config(&self) -> PathBuf {
        self.root.join("ssh_config")
    }

    /// The server of that name, started when it is asked for the first time. Any name but `origin` is a machine with
    /// a home of its own that knows the way to `origin`.
    pub fn server(&self, name: &str) -> Arc<Server> {
        let mut servers = self.servers.lock().expect("no test failed in here");
        if let Some(server) = servers.get(name) {
            return server.clone();
        }
        let server = Arc::new(Server::new(&self.root, name));
        self.write_pip_config(&server.home());
        servers.insert(name.into(), server.clone());
        let mut known = fs::OpenOptions::new()
            .append(true)
            .open(self.known_hosts())
            .expect("open the known hosts");
        writeln!(known, "{}", server.known_host()).expect("write the known hosts");
        if let Some(origin) = servers.get("origin") {
            for server in servers.values() {
                if server.name() != "origin" {
                    server.introduce(origin);
                    origin.admit(&server.public_key());
                }
            }
        }
        drop(servers);
        self.write_ssh_config();
        server
    }

    /// The git host: an account of its own with the bare repository `proj.git`, reached as `origin:proj.git` from here
    /// and from every server.
    pub fn origin(&self) -> Arc<Server> {
        let origin = self.server("origin");
        let repository = origin.home().join("proj.git");
        if !repository.exists() {
            origin.sh("git init -q --bare -b main proj.git").succeeds();
        }
        origin
    }

    /// A command of the client: a clean environment with its own home, none of the caller's variables, and its folder
    /// the project once there is one.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let me = self.root.join("me");
        let home = self.home();
        let project = self.project_folder();
        let binary = Path::new(env!("CARGO_BIN_EXE_git-agile"));
        let path = format!(
            "{}:{}:{SYSTEM_PATH}",
            binary.parent().expect("a folder").display(),
            self.root.join("bin").display()
        );
        command
            .env_clear()
            .env("HOME", &home)
            .env("USER", user())
            .env("LOGNAME", user())
            .env("SHELL", "/bin/sh")
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .env("PATH", path)
            .env("TMPDIR", me.join("tmp"))
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_CACHE_HOME", home.join(".cache"))
            .env("XDG_DATA_HOME", home.join(".local/share"))
            .env("XDG_STATE_HOME", home.join(".local/state"))
            .env("XDG_RUNTIME_DIR", me.join("run"))
            .env("SCREENDIR", me.join("screen"))
            .env("TMUX_TMPDIR", me.join("run"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(if project.is_dir() { project } else { home });
        for name in ["RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// `git ARGUMENTS…`.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> Outcome {
        run(self.command("git").args(arguments))
    }

    /// `git agile ARGUMENTS…`, by way of git.
    #[track_caller]
    pub fn agile(&self, arguments: &[&str]) -> Outcome {
        run(self.command("git").arg("agile").args(arguments))
    }

    /// `git-agile ARGUMENTS…`, not waited for. Without git in between, its process id is that of git-agile.
    #[track_caller]
    pub fn start_agile(&self, arguments: &[&str]) -> Running {
        Running::start(
            self.command("git-agile")
                .args(arguments)
                .stdin(Stdio::null()),
        )
    }

    /// Any other command of the client.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        run(self.command(program).args(arguments))
    }

    /// `git agile ARGUMENTS…` on a terminal.
    #[track_caller]
    pub fn agile_in_terminal(&self, arguments: &[&str]) -> Terminal {
        let mut line = vec!["git", "agile"];
        line.extend(arguments);
        self.terminal(&line)
    }

    /// Any command on a terminal.
    #[track_caller]
    pub fn terminal(&self, line: &[&str]) -> Terminal {
        Terminal::start(self, line)
    }

    /// The client's ssh processes that hold a connection open for others.
    pub fn masters(&self) -> Vec<i32> {
        let ours = self.root.to_string_lossy().into_owned();
        processes()
            .filter(|pid| {
                let read = |file: &str| {
                    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                    String::from_utf8_lossy(&bytes).replace('\0', " ")
                };
                let line = read("cmdline");
                read("comm").trim() == "ssh"
                    && line.contains(&ours)
                    && (line.contains("[mux]")
                        || line.contains(" -M ")
                        || line.contains("ControlMaster"))
            })
            .collect()
    }

    /// Kills those, as a closed laptop would end them: nothing is said to the server.
    pub fn kill_masters(&self) -> usize {
        let masters = self.masters();
        masters.iter().for_each(|pid| kill(*pid));
        masters.len()
    }

    /// Puts a distribution with one module of its name into the project's own environment, as pip leaves it.
    pub fn install_here(&self, name: &str, version: &str) {
        let packages = self
            .project_folder()
            .join(".venv/lib/python3.11/site-packages");
        let info = packages.join(format!("{name}-{version}.dist-info"));
        fs::create_dir_all(&info).expect("make the folder");
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        fs::write(info.join("METADATA"), metadata).expect("write it");
        fs::write(info.join("RECORD"), format!("{name}.py,,\n")).expect("write it");
        fs::write(packages.join(format!("{name}.py")), "").expect("write it");
    }

    /// Whether a file system can be mounted in a namespace of one's own; says that the test is skipped where not.
    pub fn may_mount(&self) -> bool {
        let can = self.run("unshare", &["-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]);
        if can.code != Some(0) {
            eprintln!("skipped: this system lets nobody mount in a namespace of their own");
        }
        can.code == Some(0)
    }

    /// Makes a wheel that every pip of the laboratory finds, and nothing else: one module that knows its version.
    /// No pip of the laboratory asks the network.
    pub fn wheel(&self, name: &str, version: &str) {
        let script = r#"
import sys, zipfile
folder, name, version = sys.argv[1:]
stem = f"{name}-{version}"
with zipfile.ZipFile(f"{folder}/{stem}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}.py", f"__version__ = {version!r}\n")
    wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{stem}.dist-info/RECORD", f"{name}.py,,\n{stem}.dist-info/METADATA,,\n{stem}.dist-info/WHEEL,,\n{stem}.dist-info/RECORD,,\n")
"#;
        let wheels = self.root.join("wheels");
        self.run(
            "python3",
            &["-c", script, &wheels.to_string_lossy(), name, version],
        )
        .succeeds();
    }

    /// Every pip finds only the wheels that a test made.
    fn write_pip_config(&self, home: &Path) {
        let text = format!(
            "[global]\nno-index = true\nfind-links = {}\ndisable-pip-version-check = true\nno-cache-dir = true\n",
            self.root.join("wheels").display()
        );
        private_folder(&home.join(".config/pip"));
        write(&home.join(".config/pip/pip.conf"), &text);
    }

    fn write_ssh_config(&self) {
        let servers = self.servers.lock().expect("no test failed in here");
        let mut text = String::new();
        for server in servers.values() {
            text += &server.stanza();
            text += &format!("  Include {}\n", server.relay_config().display());
        }
        drop(servers);
        text += &format!(
            "Host *\n  User {user}\n  IdentityFile {root}/key\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {root}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  UpdateHostKeys no\n",
            user = user(),
            root = self.root.display()
        );
        replace(&self.ssh_config(), &text);
    }
}

impl Drop for Lab {
    /// Ends what is left, whoever started it, and removes the folder.
    fn drop(&mut self) {
        // The listeners are our children: unless we wait for them they stay in the process table.
        if let Ok(servers) = self.servers.get_mut() {
            servers.values().for_each(|server| server.stop());
        }
        let Ok(reaper) = self.reaper.get_mut() else {
            return;
        };
        drop(reaper.stdin.take());
        let ended = reaper.wait();
        if keep() {
            eprintln!("the laboratory is kept: {}", self.root.display());
        } else if !std::thread::panicking() {
            let clean = ended.is_ok_and(|status| status.success()) && !self.root.exists();
            assert!(clean, "something is left in {}", self.root.display());
        }
    }
}

/// Starts the process that ends everything when its standard input does: at the end of the lab, or of the test, however
/// that came.
fn start_reaper(root: &Path) -> Child {
    let mut reaper = reaper_command().spawn().expect("start the reaper");
    let after = if keep() { "keep" } else { "remove" };
    let mut stdin = reaper.stdin.take().expect("piped");
    writeln!(stdin, "{}\n{after}", root.display()).expect("tell the reaper");
    reaper.stdin = Some(stdin);
    reaper
}

/// Ends every process that belongs to a folder, now; the files stay.
pub fn reap(folder: &Path) {
    let mut reaper = reaper_command().spawn().expect("start the reaper");
    let mut stdin = reaper.stdin.take().expect("piped");
    writeln!(stdin, "{}\nkeep", folder.display()).expect("tell the reaper");
    drop(stdin);
    let status = reaper.wait().expect("it is our child");
    assert!(status.success(), "something in {folder:?} does not end");
}

fn reaper_command() -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", REAPER, "reap"])
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .current_dir("/")
        .process_group(0) // ^C on the test must not end it
        .stdin(Stdio::piped());
    command
}

fn keep() -> bool {
    std::env::var_os("GIT_AGILE_KEEP_LAB").is_some_and(|value| !value.is_empty())
}

/// A new folder with a short name (sockets stand in it, and their paths end at 107 bytes) that is no prefix of
/// another laboratory's.
fn new_folder() -> PathBuf {
    let folder = tempfile::Builder::new()
        .prefix("gal-")
        .rand_bytes(8)
        .tempdir_in("/tmp")
        .expect("make the laboratory's folder");
    folder.keep().canonicalize().expect("it is there")
}

/// The login name, as ssh will see it.
pub fn user() -> &'static str {
    static USER: OnceLock<String> = OnceLock::new();
    USER.get_or_init(|| {
        let output = Command::new("id").arg("-un").output().expect("run id");
        String::from_utf8(output.stdout)
            .expect("a login name is text")
            .trim()
            .to_owned()
    })
}

/// `ssh` with a configuration of its own and nothing of the caller's.
pub fn ssh_wrapper(config: &Path) -> String {
    static SSH: OnceLock<PathBuf> = OnceLock::new();
    let ssh = SSH.get_or_init(|| server::find_program("ssh"));
    format!(
        "#!/bin/sh\nexec {} -F {} \"$@\"\n",
        ssh.display(),
        config.display()
    )
}

/// An ed25519 key without a passphrase, and its `.pub`.
pub fn generate_key(path: &Path) {
    let _ = fs::remove_file(path);
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ssh-keygen failed: run script/bootstrap"
    );
}

/// A folder, with those above it, that nobody else may look into.
pub fn private_folder(path: &Path) {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .unwrap_or_else(|error| panic!("cannot make {path:?}: {error}"));
}

/// Writes a file.
pub fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {path:?}: {error}"));
}

/// Replaces a file that somebody may be reading just now.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    write(&new, text);
    fs::rename(&new, path).unwrap_or_else(|error| panic!("cannot replace {path:?}: {error}"));
}

/// Writes a program. Another process does it: a file that we had open for writing ourselves could be held open for a
/// moment more by a child that some other thread is just starting, and could not be run until then ("text file busy").
pub fn write_program(path: &Path, text: &str) {
    let plain = path.with_extension("text");
    write(&plain, text);
    let status = Command::new("install")
        .args(["-m", "755"])
        .args([&plain, path])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cannot write {path:?}"
    );
    fs::remove_file(&plain).expect("remove the copy");
}

/// Every process id of this moment.
pub fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .expect("Linux has /proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// SIGKILL; a process that has already ended is fine.
pub fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
