//! A server: one real sshd on a loopback port that leads into a home of its own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use super::holds_within;
use super::lab::{
    SYSTEM_PATH, generate_key, kill, private_folder, processes, reap, replace, ssh_wrapper, user,
    write, write_program,
};
use super::outcome::{Outcome, run};

/// A direction of a connection, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// A server of the [`Lab`](super::Lab). Its processes run as the user who runs the tests; home, `PATH`, and the sockets
/// of screen and tmux are its own.
///
/// What a test asserts on stands in [`Server::home`]; how the server behaves stands beside it:
///
/// | file | says |
/// | --- | --- |
/// | `environment` | the variables of every session |
/// | `rc` | sourced by `sh` after them: noise, umask, more variables ([`Server::set_rc`]) |
/// | `login-shell` | runs what ssh asks for ([`Server::set_login_shell`]) |
/// | `filter` | when it is there, runs instead of the login shell ([`Server::set_filter`]) |
/// | `boot-id` | what the kernel would say; [`Server::reboot`] changes it |
/// | `shim/` | programs that stand before all others on `PATH` ([`Server::shim`]) |
pub struct Server {
    name: String,
    folder: PathBuf,
    port: Mutex<u16>,
    sshd: Mutex<Option<Child>>,
    counted_from: Mutex<u64>,
}

impl Server {
    /// Makes the account and starts its sshd.
    pub(super) fn new(root: &Path, name: &str) -> Self {
        let server = Self {
            name: name.into(),
            folder: root.join(name),
            port: Mutex::new(0),
            sshd: Mutex::new(None),
            counted_from: Mutex::new(0),
        };
        for folder in ["home", "run", "screen", "tmp", "bin", "shim", "bytes"] {
            private_folder(&server.path(folder));
        }
        for file in ["rc", "sessions", "known-hosts", "relay.conf", "ssh-config"] {
            write(&server.path(file), "");
        }
        write(&server.path("login-shell"), "/bin/sh\n");
        generate_key(&server.path("key"));
        generate_key(&server.path("host-key"));
        let client = fs::read_to_string(root.join("key.pub")).expect("the client has a key");
        write(&server.path("authorized-keys"), &client);
        write(&server.path("environment"), &server.environment());
        write_program(&server.path("session"), &server.session_script());
        write_program(
            &server.path("bin/ssh"),
            &ssh_wrapper(&server.path("ssh-config")),
        );
        server.new_boot_id();
        server.start();
        server
    }

    /// Its name in `ssh NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The home of whoever logs in.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The folder that holds the home and the files that steer the server.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port of this moment.
    pub fn port(&self) -> u16 {
        *self.port.lock().expect("no test failed in here")
    }

    /// The git URL of a repository in the home, as everybody in the laboratory may use it.
    pub fn url(&self, repository: &str) -> String {
        format!("{}:{repository}", self.name)
    }

    // ---- how it behaves --------------------------------------------------------------------------------------------

    /// Shell text that every later session reads before its command: start-up noise, a umask, variables. It may read
    /// from standard input, as bad start-up files do.
    pub fn set_rc(&self, text: &str) {
        replace(&self.path("rc"), text);
    }

    /// The shell that runs what ssh asks for: `/bin/sh` unless a test says `/usr/bin/fish`, `/usr/bin/tcsh`, …
    pub fn set_login_shell(&self, shell: &str) {
        assert!(Path::new(shell).exists(), "{shell}: run script/bootstrap");
        replace(&self.path("login-shell"), &format!("{shell}\n"));
    }

    /// A program that runs in place of the login shell, with the command as its one argument and the connection as
    /// its standard streams: to cut, alter or forge what the server says.
    pub fn set_filter(&self, script: &str) {
        write_program(&self.path("filter"), script);
    }

    /// The login shell is asked again.
    pub fn remove_filter(&self) {
        let _ = fs::remove_file(self.path("filter"));
    }

    /// A program that stands before all others of its name. `$LAB_SHIM` is the folder of the shims, so that a shim can
    /// find what it stands before: `PATH=${PATH#"$LAB_SHIM:"}`.
    pub fn shim(&self, name: &str, script: &str) {
        write_program(&self.path("shim").join(name), script);
    }

    /// Removes a shim.
    pub fn remove_shim(&self, name: &str) {
        fs::remove_file(self.path("shim").join(name)).expect("the shim is there");
    }

    /// Hides programs: a session finds everything of `/usr/bin` and `/bin` but these.
    pub fn hide(&self, programs: &[&str]) {
        let folder = self.path("visible");
        let _ = fs::remove_dir_all(&folder);
        private_folder(&folder);
        for place in SYSTEM_PATH.split(':') {
            for entry in fs::read_dir(place).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if !programs.iter().any(|program| name == *program) {
                    let _ = std::os::unix::fs::symlink(entry.path(), folder.join(name));
                }
            }
        }
        let text = self
            .environment()
            .replace(SYSTEM_PATH, &folder.to_string_lossy());
        replace(&self.path("environment"), &text);
    }

    /// Every program is found again.
    pub fn show_all(&self) {
        replace(&self.path("environment"), &self.environment());
    }

    // ---- what happens to it ----------------------------------------------------------------------------------------

    /// Nobody listens any more: connections are refused. Those that are open live on.
    pub fn stop(&self) {
        // Also at the end of a test that failed while it held the lock: then the reaper ends it.
        let Ok(mut sshd) = self.sshd.lock() else {
            return;
        };
        if let Some(mut child) = sshd.take() {
            self.remember_sessions(child.id() as i32);
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Listens again, on the same port.
    pub fn start(&self) {
        let mut sshd = self.sshd.lock().expect("no test failed in here");
        let mut port = self.port.lock().expect("no test failed in here");
        if sshd.is_some() {
            return;
        }
        let known = *port != 0;
        let mut problem = String::new();
        for _ in 0..40 {
            let wanted = if known { *port } else { free_port() };
            match self.listen(wanted) {
                Ok(child) => {
                    *sshd = Some(child);
                    *port = wanted;
                    drop((sshd, port));
                    if !known {
                        self.reset_counts();
                    }
                    return;
                }
                // Somebody else was faster with that port.
                Err(log) => problem = log,
            }
        }
        panic!("{}: sshd does not start:\n{problem}", self.name);
    }

    /// Kills the sshd processes of the open connections, as a line that breaks: what runs on the server is not told.
    /// Says how many there were.
    pub fn kill_connections(&self) -> usize {
        let listener = self
            .sshd
            .lock()
            .expect("no test failed in here")
            .as_ref()
            .map(|child| child.id() as i32);
        if let Some(listener) = listener {
            self.remember_sessions(listener);
        }
        let sessions = self.live_sessions();
        sessions.iter().for_each(|pid| kill(*pid));
        holds_within(Duration::from_secs(5), || self.live_sessions().is_empty());
        sessions.len()
    }

    /// The open connections fall silent and stay open, as after a router has forgotten them; new ones are served. Says
    /// how many processes that took.
    pub fn freeze_connections(&self) -> usize {
        let sshd = self.sshd.lock().expect("no test failed in here");
        let listener = sshd.as_ref().map(|child| child.id() as i32);
        self.remember_sessions(listener.expect("it listens"));
        let sessions = self.live_sessions();
        for pid in &sessions {
            let pid = rustix::process::Pid::from_raw(*pid).expect("a process id");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
        }
        sessions.len()
    }

    /// The power fails and comes back: every process of the server is gone, the boot id is another.
    pub fn reboot(&self) {
        self.power_off();
        self.new_boot_id();
        self.start();
    }

    /// The power fails: every process of the server is gone, and nobody listens.
    pub fn power_off(&self) {
        self.stop();
        reap(&self.folder);
    }

    /// Another host key from now on; the client still knows the old one.
    pub fn change_host_key(&self) {
        self.stop();
        generate_key(&self.path("host-key"));
        self.start();
    }

    /// No key is good enough any more.
    pub fn refuse_auth(&self) {
        fs::rename(
            self.path("authorized-keys"),
            self.path("authorized-keys.away"),
        )
        .expect("keys were accepted until now");
    }

    /// Keys are accepted again.
    pub fn accept_auth(&self) {
        fs::rename(
            self.path("authorized-keys.away"),
            self.path("authorized-keys"),
        )
        .expect("keys were refused until now");
    }

    /// Every later connection ends after exactly so many bytes of one direction.
    pub fn cut(&self, direction: Direction, bytes: u64) {
        self.relay(&format!("drop {direction} {bytes}"));
    }

    /// Every later connection falls silent after exactly so many bytes of one direction, and stays open.
    pub fn stall(&self, direction: Direction, bytes: u64) {
        self.relay(&format!("stall {direction} {bytes}"));
    }

    /// Later connections go through a relay that counts their bytes and leaves them alone.
    pub fn meter(&self) {
        self.relay("");
    }

    /// Later connections go straight to the server again.
    pub fn uncut(&self) {
        replace(&self.path("relay.conf"), "");
    }

    /// The bytes that the newest relayed connection carried so far, up and down.
    pub fn bytes(&self) -> (u64, u64) {
        let newest = fs::read_dir(self.path("bytes"))
            .expect("the folder is there")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .max()
            .expect("a connection went through the relay");
        let text = fs::read_to_string(newest).expect("read the count");
        let mut numbers = text
            .split_whitespace()
            .map(|number| number.parse().expect("a number"));
        (
            numbers.next().expect("bytes up"),
            numbers.next().expect("bytes down"),
        )
    }

    // ---- what is seen of it ----------------------------------------------------------------------------------------

    /// The TCP connections since the last [`Server::reset_counts`].
    pub fn connections(&self) -> usize {
        self.count("Connection from ")
    }

    /// The shells, commands and subsystems that were started on them.
    pub fn sessions(&self) -> usize {
        self.count("Starting session: ")
    }

    /// Counting begins anew.
    pub fn reset_counts(&self) {
        let length = fs::metadata(self.path("sshd.log")).map_or(0, |data| data.len());
        *self.counted_from.lock().expect("no test failed in here") = length;
    }

    /// What sshd has to say since then.
    pub fn log(&self) -> String {
        let from = *self.counted_from.lock().expect("no test failed in here");
        let mut text = Vec::new();
        let mut file = fs::File::open(self.path("sshd.log")).expect("sshd keeps a log");
        file.seek(SeekFrom::Start(from)).expect("seek the log");
        file.read_to_end(&mut text).expect("read the log");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Runs a command in the environment of a session (without its `rc`), not by ssh, so that nothing is counted.
    #[track_caller]
    pub fn sh(&self, command: &str) -> Outcome {
        let script = format!(
            ". {}; cd && exec /bin/sh -c \"$1\"",
            self.path("environment").display()
        );
        run(Command::new("/bin/sh")
            .args(["-c", &script, "sh", command])
            .env_clear()
            .env("USER", user())
            .env("LOGNAME", user())
            .env("SHELL", "/bin/sh"))
    }

    /// How often the example's `train.py` was launched here.
    pub fn launches(&self) -> usize {
        fs::read_to_string(self.home().join("launches")).map_or(0, |text| text.lines().count())
    }

    /// Runs of the example wait at their end until the gate opens.
    pub fn close_gate(&self) {
        write(&self.home().join("gate"), "");
    }

    /// Lets them end.
    pub fn open_gate(&self) {
        fs::remove_file(self.home().join("gate")).expect("the gate was closed");
    }

    // ---- for the laboratory ----------------------------------------------------------------------------------------

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The line of a known-hosts file.
    pub(super) fn known_host(&self) -> String {
        let key = fs::read_to_string(self.path("host-key.pub")).expect("it has a host key");
        format!("{} {}", self.name, key.trim())
    }

    /// The public key with which it goes to other servers.
    pub(super) fn public_key(&self) -> String {
        fs::read_to_string(self.path("key.pub")).expect("it has a key")
    }

    /// How to reach it, for an ssh configuration.
    pub(super) fn stanza(&self) -> String {
        format!(
            "Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias {name}\n",
            name = self.name,
            port = self.port()
        )
    }

    /// A file with more settings for the client's way here.
    pub(super) fn relay_config(&self) -> PathBuf {
        self.path("relay.conf")
    }

    /// Tells it the way to another server.
    pub(super) fn introduce(&self, other: &Server) {
        let here = self.folder.display();
        replace(
            &self.path("known-hosts"),
            &format!("{}\n", other.known_host()),
        );
        replace(
            &self.path("ssh-config"),
            &format!(
                "{}Host *\n  User {}\n  IdentityFile {here}/key\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
                 UserKnownHostsFile {here}/known-hosts\n  GlobalKnownHostsFile /dev/null\n  UpdateHostKeys no\n",
                other.stanza(),
                user()
            ),
        );
    }

    /// Lets the owner of a key log in.
    pub(super) fn admit(&self, key: &str) {
        let path = self.path("authorized-keys");
        let mut keys = fs::read_to_string(&path).expect("keys are accepted");
        if !keys.contains(key) {
            keys += key;
            replace(&path, &keys);
        }
    }

    fn relay(&self, rule: &str) {
        let here = self.folder.display();
        let root = self.folder.parent().expect("the laboratory").display();
        replace(&self.path("cut"), rule);
        replace(
            &self.path("relay.conf"),
            &format!(
                "ProxyCommand {} -I -S {root}/relay.py %h %p {here}/cut {here}/bytes\n",
                find_program("python3").display()
            ),
        );
    }

    fn new_boot_id(&self) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("it is after 1970");
        replace(
            &self.path("boot-id"),
            &format!("00000000-0000-4000-8000-{:012x}\n", now.as_millis()),
        );
    }

    fn environment(&self) -> String {
        let here = self.folder.display();
        format!(
            "export HOME={here}/home TMPDIR={here}/tmp XDG_RUNTIME_DIR={here}/run\n\
             export SCREENDIR={here}/screen TMUX_TMPDIR={here}/run\n\
             export LAB_SHIM={here}/shim AGILE_BOOT_ID={here}/boot-id\n\
             export PATH={here}/shim:{here}/bin:{SYSTEM_PATH}\n\
             export GIT_CONFIG_NOSYSTEM=1\n\
             unset SHLVL OLDPWD BASH_ENV ENV LANG LC_ALL\n"
        )
    }

    /// What sshd runs for every session, whatever was asked for.
    fn session_script(&self) -> String {
        format!(
            r#"#!/bin/sh
# Our sshd may be gone already, and we have been given to a stranger.
read -r stat </proc/$PPID/stat && case $stat in *"(sshd"*) set -- ${{stat##*) }} && echo "$PPID ${{20}}" >>{here}/sessions ;; esac
set --
. {here}/environment
read -r SHELL <{here}/login-shell
export SHELL
cd "$HOME" || exit 1
. {here}/rc
if [ -x {here}/filter ]; then exec {here}/filter "${{SSH_ORIGINAL_COMMAND-}}"; fi
if [ -n "${{SSH_ORIGINAL_COMMAND+there}}" ]; then exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"; fi
exec "$SHELL" -i
"#,
            here = self.folder.display()
        )
    }

    fn listen(&self, port: u16) -> Result<Child, String> {
        if user() == "root" {
            let _ = fs::create_dir_all("/run/sshd"); // sshd insists on it
        }
        let here = self.folder.display();
        let mut config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {here}/host-key\nPidFile none\nLogLevel VERBOSE\n\
             AuthorizedKeysFile {here}/authorized-keys\nUsePAM {pam}\nStrictModes no\nUseDNS no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             PermitUserRC no\nPrintMotd no\nPrintLastLog no\nX11Forwarding no\nMaxStartups 1000\n\
             SetEnv HOME={here}/home\nForceCommand {here}/session\n",
            pam = if root_is_locked() { "yes" } else { "no" }
        );
        if sshd_has_penalties() {
            config += "PerSourcePenalties no\n"; // everybody comes from the same address, and is cut off on purpose
        }
        write(&self.path("sshd-config"), &config);
        let log = self.path("sshd.log");
        let before = fs::metadata(&log).map_or(0, |data| data.len());
        let mut child = Command::new(find_program("sshd"))
            .arg("-D")
            .arg("-f")
            .arg(self.path("sshd-config"))
            .arg("-E")
            .arg(&log)
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("start sshd");
        let said = || {
            let log = fs::read(&log).unwrap_or_default();
            String::from_utf8_lossy(log.get(before as usize..).unwrap_or_default()).into_owned()
        };
        let listening = holds_within(Duration::from_secs(60), || {
            said().contains("Server listening on")
                || child.try_wait().is_ok_and(|end| end.is_some())
        });
        if listening && child.try_wait().is_ok_and(|end| end.is_none()) {
            return Ok(child);
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(said())
    }

    fn count(&self, prefix: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.starts_with(prefix))
            .count()
    }

    /// Adds the sshd processes below the listener to those that the sessions noted themselves.
    fn remember_sessions(&self, listener: i32) {
        let all: Vec<_> = processes().filter_map(Process::read).collect();
        let mut parents = vec![listener];
        let mut lines = fs::read_to_string(self.path("sessions")).unwrap_or_default();
        while let Some(parent) = parents.pop() {
            for child in all.iter().filter(|process| process.parent == parent) {
                if child.is_sshd {
                    parents.push(child.pid);
                    lines += &format!("{} {}\n", child.pid, child.started);
                }
            }
        }
        replace(&self.path("sessions"), &lines);
    }

    /// The noted sshd processes that are still the ones they were.
    fn live_sessions(&self) -> Vec<i32> {
        let noted = fs::read_to_string(self.path("sessions")).unwrap_or_default();
        let mut live: Vec<i32> = noted
            .lines()
            .filter_map(|line| {
                let (pid, started) = line.split_once(' ')?;
                let process = Process::read(pid.parse().ok()?)?;
                let same = process.started.to_string() == started && process.is_sshd;
                same.then_some(process.pid)
            })
            .collect();
        live.sort_unstable();
        live.dedup();
        live
    }
}

/// A line of the process table.
struct Process {
    pid: i32,
    parent: i32,
    /// In ticks since the boot: with it, a process id that was used again is noticed.
    started: u64,
    is_sshd: bool,
}

impl Process {
    /// `None` when the process has ended, or is only waited for.
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        (fields[0] != "Z").then_some(Self {
            pid,
            parent: fields[1].parse().ok()?,
            started: fields[19].parse().ok()?,
            is_sshd: name.starts_with("sshd"),
        })
    }
}

/// The absolute path of a program, which sshd wants of itself.
pub fn find_program(name: &str) -> PathBuf {
    SYSTEM_PATH
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|path| {
            fs::metadata(path)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
        .unwrap_or_else(|| panic!("{name} is missing: run script/bootstrap"))
}

/// A port that was free a moment ago, and that no other test of this process is given. Below the range from which the
/// kernel takes ports for outgoing connections, so that a server that was stopped finds its own still free.
pub(super) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = 10_000 + (entropy() % 22_000) as u16;
        let is_new = GIVEN.lock().expect("nothing fails in here").insert(port);
        if is_new && TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// A different number each time and in each process.
pub(super) fn entropy() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Whether `ssh -t` works: an sshd that is not root's cannot give a terminal to the group `tty`. Where terminals belong to
/// it from the start, as they do on an ordinary Linux system but not in every container, it does not have to.
pub fn sshd_gives_terminals() -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    let tty = group
        .lines()
        .find_map(|line| line.strip_prefix("tty:")?.split(':').nth(1));
    let option = format!("gid={}", tty.unwrap_or_default());
    user() == "root"
        || tty.is_none()
        || mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .rfind(|mount| mount.get(1) == Some(&"/dev/pts"))
            .is_some_and(|mount| mount[3].split(',').any(|set| set == option))
}

/// Since 9.8, sshd makes addresses wait from which many connections end badly.
fn sshd_has_penalties() -> bool {
    static PENALTIES: OnceLock<bool> = OnceLock::new();
    *PENALTIES.get_or_init(|| {
        let output = Command::new("ssh").arg("-V").output().expect("run ssh");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let version = text
            .strip_prefix("OpenSSH_")
            .unwrap_or_default()
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()
            .unwrap_or_default();
        let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        (numbers.next(), numbers.next()) >= (Some(9), Some(8))
    })
}

/// Without PAM, sshd refuses an account whose password is locked, as root's is on some systems.
fn root_is_locked() -> bool {
    user() == "root"
        && fs::read_to_string("/etc/shadow")
            .is_ok_and(|shadow| shadow.lines().any(|line| line.starts_with("root:!")))
}
