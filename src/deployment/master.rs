//! The `ssh` process that holds a server's one connection, and its control socket.
//!
//! The master is started by `ssh` itself, so that jump hosts, keys and everything else of the person's configuration
//! count, and so that the person can answer a password or one-time code. It stays for a while after the last use;
//! the next command finds its socket and needs no handshake.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssh::Session;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::development::git;
use crate::error::{Context as _, Error, Result};
use crate::model::names::{Destination, ServerName};
use crate::model::nonce::Nonce;
use crate::model::shell::quote;
use crate::terminal::{Output, clean, clean_lines};

/// How long an unused connection stays, in seconds.
const IDLE: &str = "600";
/// The longest that opening a connection takes without a person to ask.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
/// How long the person is not told that another command is waited for.
const WAIT_IN_SILENCE: Duration = Duration::from_secs(2);
/// The longest that a master on this machine takes to say that it is there.
const CHECK_LIMIT: Duration = Duration::from_secs(2);
/// What `sun_path` holds, less the seventeen characters that ssh adds while it binds (OpenSSH `mux.c`), less NUL.
const MAX_SOCKET_PATH: usize = 104 - 17 - 1;

/// Whether ssh may ask the person something.
#[derive(Clone, Copy)]
pub enum Asking<'a> {
    /// Not now; what would need an answer fails.
    Never,
    /// On the terminal, if there is one, while this output is silent.
    OnTerminal(&'a Output),
}

/// A usable session to `destination`, and whether its connection was there before.
///
/// # Errors
/// [`Kind::Unreachable`](crate::error::Kind::Unreachable) with ssh's reason and what mends it.
pub(super) async fn open(
    server: &ServerName,
    destination: &Destination,
    asking: Asking<'_>,
) -> Result<(Session, bool)> {
    let socket = socket_path(destination)?;
    // Two commands that start a master for the same socket at once would leave one of them behind for ever.
    let _held = hold(server, &socket.with_extension("lock"), asking).await?;
    if let Some(session) = resume(&socket).await {
        return Ok((session, true));
    }
    let _ = fs::remove_file(&socket);
    start(server, destination, &socket, asking).await?;
    match resume(&socket).await {
        Some(session) => Ok((session, false)),
        None => Err(Error::unreachable(format!(
            "{server}: ssh to {destination} ended right after it had connected"
        ))
        .hint(format!(
            "ssh {destination} true must work and print nothing"
        ))),
    }
}

/// A new connection to a server, beside one that is there and silent.
pub(super) struct Beside {
    session: Arc<Session>,
    destination: Destination,
    socket: PathBuf,
    _held: fs::File,
}

/// Connects to `destination` although there is a connection. Nobody is asked anything.
///
/// # Errors
/// As [`open`].
pub(super) async fn open_beside(server: &ServerName, destination: &Destination) -> Result<Beside> {
    let lock = socket_path_of(&format!("beside {destination}"))?;
    let held = hold(server, &lock.with_extension("lock"), Asking::Never).await?;
    // A name that no other master has had: each removes its first one when it ends.
    let socket = socket_path_of(&format!("{destination} {}", Nonce::fresh()?.as_str()))?;
    start(server, destination, &socket, Asking::Never).await?;
    Ok(Beside {
        session: Arc::new(Session::resume_mux(socket.as_path().into(), None)),
        destination: destination.clone(),
        socket,
        _held: held,
    })
}

impl Beside {
    /// The new connection.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Ends the silent connection, and puts this one in its place.
    pub async fn take_over(self) -> Session {
        let Ok(place) = socket_path(&self.destination) else {
            return Session::resume_mux(self.socket.as_path().into(), None);
        };
        let end = tokio::process::Command::from(end_command(&self.destination, &place))
            .kill_on_drop(true)
            .status();
        let _ = timeout(CHECK_LIMIT, end).await;
        // A master removes its socket when it ends, which must not be ours by then.
        let begun = Instant::now();
        while place.exists() && begun.elapsed() < CHECK_LIMIT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match fs::rename(&self.socket, &place) {
            Ok(()) => Session::resume_mux(place.as_path().into(), None),
            Err(_) => Session::resume_mux(self.socket.as_path().into(), None),
        }
    }
}

impl Drop for Beside {
    /// What was not needed ends.
    fn drop(&mut self) {
        if self.socket.exists() {
            let _ = end_command(&self.destination, &self.socket).status();
        }
    }
}

/// A command that ends the master of `socket`.
fn end_command(destination: &Destination, socket: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("ssh");
    command
        .arg("-S")
        .arg(socket)
        .args(["-O", "exit", "--", destination.as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Whether the master is there and listens; a socket that nobody serves is no answer within two seconds.
async fn resume(socket: &Path) -> Option<Session> {
    if !socket.exists() {
        return None;
    }
    let session = Session::resume_mux(socket.into(), None);
    let alive = matches!(timeout(CHECK_LIMIT, session.check()).await, Ok(Ok(())));
    alive.then_some(session)
}

/// `ssh` through the master of `destination`, for what needs a terminal.
///
/// # Errors
/// As [`socket_path`].
pub(super) fn command(destination: &Destination) -> Result<std::process::Command> {
    let mut command = std::process::Command::new("ssh");
    command.arg("-S").arg(socket_path(destination)?).args([
        "-o",
        "ForwardAgent=no",
        "-o",
        "ForwardX11=no",
        "-o",
        "LogLevel=ERROR", // no "Shared connection to … closed."
    ]);
    Ok(command)
}

/// A command for git's `GIT_SSH_COMMAND` that goes through the master of `destination`, or nowhere.
///
/// # Errors
/// As [`socket_path`].
pub(super) fn git_command(destination: &Destination) -> Result<String> {
    let socket = socket_path(destination)?;
    let socket = quote(&socket.to_string_lossy())
        .or_step(|| "the path of the control socket holds a NUL".into())?;
    Ok(format!(
        "ssh -S {socket} -o ControlMaster=no -o ProxyCommand=false -o ForwardAgent=no -o ForwardX11=no"
    ))
}

async fn start(
    server: &ServerName,
    destination: &Destination,
    socket: &Path,
    asking: Asking<'_>,
) -> Result<()> {
    let log = socket.with_extension("log");
    let idle = idle()?;
    let mut command = master_command(
        destination,
        socket,
        &log,
        &idle,
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
    );
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let said = match timeout(OPEN_LIMIT, command.kill_on_drop(true).status()).await {
        Ok(ended) => outcome(ended, &log)?,
        Err(_) => Some(format!("no answer within {} seconds", OPEN_LIMIT.as_secs())),
    };
    let Some(mut said) = said else { return Ok(()) };
    let has = |text| said.contains(text);
    let needs_answer = has("Permission denied") || has("Host key verification failed");
    if let Asking::OnTerminal(output) = asking
        && needs_answer
        && !has("IDENTIFICATION HAS CHANGED")
        && !REFUSED.lock().await.contains(destination.as_str())
        && fs::File::open("/dev/tty").is_ok()
    {
        // This blocks all servers: the person answers one question at a time. And each only once: a second wrong
        // answer may lock an account.
        let mut command = master_command(
            destination,
            socket,
            &log,
            &idle,
            "BatchMode=no",
            "StrictHostKeyChecking=ask",
        );
        match outcome(
            output
                .progress()
                .suspend(|| command.stdout(Stdio::null()).status()),
            &log,
        )? {
            None => return Ok(()),
            Some(answered) => {
                said = answered;
                REFUSED.lock().await.insert(destination.to_string());
            }
        }
    }
    Err(refusal(server, destination, &said))
}

/// Who has refused an answer of the person's: a command that comes back to them does not ask again.
static REFUSED: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());

/// How long a connection stays open that nobody uses, in seconds: `agile.idle` of git's configuration.
fn idle() -> Result<String> {
    let set = git::ask(git::command(), &["config", "--get", "agile.idle"])?;
    let Some(value) = set else {
        return Ok(IDLE.to_string());
    };
    match value.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(seconds.to_string()),
        _ => {
            let said = format!("`{}` is no value of agile.idle", clean(&value));
            Err(Error::config(said).hint(format!("git config agile.idle {IDLE}")))
        }
    }
}

fn master_command(
    destination: &Destination,
    socket: &Path,
    log: &Path,
    idle: &str,
    batch: &str,
    strict: &str,
) -> std::process::Command {
    let mut command = std::process::Command::new("ssh");
    command
        .arg("-E")
        .arg(log)
        .arg("-S")
        .arg(socket)
        .args(["-M", "-N", "-f"]);
    let persist = format!("ControlPersist={idle}");
    for option in [
        persist.as_str(),
        batch,
        strict,
        "ConnectTimeout=15",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=3",
        "NumberOfPasswordPrompts=1",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
    ] {
        command.arg("-o").arg(option);
    }
    command.arg("--").arg(destination.as_str());
    command
}

/// What ssh said when it could not connect; nothing when it could.
fn outcome(ended: std::io::Result<std::process::ExitStatus>, log: &Path) -> Result<Option<String>> {
    let said = fs::read(log).unwrap_or_default();
    let _ = fs::remove_file(log);
    let status = ended.or_step(|| "cannot run `ssh`".into());
    let status = status.map_err(|error| error.hint("install the OpenSSH client"))?;
    let said = String::from_utf8_lossy(&said[..said.len().min(8 << 10)]).into_owned();
    Ok((!status.success()).then_some(said))
}

/// The command with which ssh says that a changed key is forgotten: only ssh knows under which name it is kept.
fn forgetting(said: &str) -> Option<String> {
    let mut lines = said.lines().map(str::trim);
    let line = lines.find(|line| line.starts_with("ssh-keygen -f") && line.contains(" -R "))?;
    Some(clean(line))
}

/// ssh's refusal as an error with what mends it.
fn refusal(server: &ServerName, destination: &Destination, said: &str) -> Error {
    let has = |text: &str| said.contains(text);
    let (what, hint) = if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        (
            "its host key has changed; somebody may be in between",
            format!(
                "ask who runs it; if the change is right: {}, then ssh {destination}",
                forgetting(said)
                    .unwrap_or_else(|| format!("ssh-keygen -R {}", host_of(destination)))
            ),
        )
    } else if has("Host key verification failed") {
        (
            "its host key is not known here",
            format!("ssh {destination}, and compare the fingerprint it shows"),
        )
    } else if has("Permission denied") || has("Too many authentication failures") {
        (
            "it refused to let you in",
            format!("ssh {destination} must work; ssh-copy-id {destination} installs your key"),
        )
    } else if has("Could not resolve hostname") {
        let correct = format!("correct `host` of [servers.{server}] in agile.toml");
        let is_digits = |port: &&str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = destination.as_str().rsplit_once(':').map(|(_, port)| port);
        let hint = match port.filter(is_digits) {
            Some(port) => format!("{correct}; a port is written ssh://HOST:{port}"),
            None => format!("{correct}, or ~/.ssh/config"),
        };
        ("there is no host of that name", hint)
    } else if has("Connection refused") {
        (
            "nothing listens there for ssh",
            format!("ssh {destination} must work; is the server up?"),
        )
    } else if has("too long for Unix domain socket") {
        (
            "the path of the control socket is too long",
            "set XDG_RUNTIME_DIR to a folder with a short name".to_string(),
        )
    } else {
        (
            "it does not answer",
            format!("ssh {destination} must work; is the server up?"),
        )
    };
    let error = Error::unreachable(format!("{server}: cannot connect to {destination}: {what}"));
    let noise =
        |line: &&str| !line.trim().is_empty() && !line.starts_with('@') && !line.starts_with("** ");
    let last = said.lines().rfind(noise).unwrap_or("").trim().to_string();
    error.cause(clean_lines(&last)).hint(hint)
}

fn host_of(destination: &Destination) -> &str {
    let text = destination.as_str().trim_start_matches("ssh://");
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// How long a connection to the git host waits for the next push, in seconds. Short: nobody would notice that its network
/// has gone.
const GIT_HOST_IDLE: u64 = 60;

/// The program that runs `text` on the server with the person's agent, where their own configuration for `destination`
/// forwards it (`ForwardAgent` in ssh_config(5)) and there is one. We never ask for that ourselves.
pub(super) fn with_agent(destination: &Destination, text: &str) -> Option<std::process::Command> {
    std::env::var_os("SSH_AUTH_SOCK")?;
    let mut ask = std::process::Command::new("ssh");
    ask.args(["-G", "--", destination.as_str()])
        .stdin(Stdio::null());
    let output = ask.output().ok()?;
    let settings = String::from_utf8_lossy(&output.stdout);
    let forward = settings
        .lines()
        .find_map(|line| line.strip_prefix("forwardagent "));
    if forward.is_none_or(|forward| forward == "no") {
        return None;
    }
    let mut command = std::process::Command::new("ssh");
    command.arg("-S").arg(socket_path(destination).ok()?).args([
        "-T",
        "-o",
        "ControlMaster=no",
        "-o",
        "BatchMode=yes",
        "-o",
        "ForwardX11=no",
        "-o",
        "ClearAllForwardings=yes",
        "-o",
        "RemoteCommand=none",
        "--",
    ]);
    command.arg(destination.as_str()).arg(text);
    Some(command)
}

/// A connection to a git host that the pushes of a minute share, while one of them uses it.
pub struct GitHost {
    /// What git is to use for `ssh` (`GIT_SSH_COMMAND`, git(1)).
    pub command: String,
    _lock: fs::File,
}

/// The connection to `host` for one push by `ssh`, which is shell text; nothing where the person has configured that
/// host's connections otherwise, or another push is using it.
pub fn shared_git_host(ssh: &str, host: &Destination, port: Option<u16>) -> Option<GitHost> {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("{ssh} -G \"$@\""), "ssh"]);
    if let Some(port) = port {
        command.arg("-p").arg(port.to_string());
    }
    command.arg("--").arg(host.as_str()).stdin(Stdio::null());
    let output = command.output().ok()?;
    let settings = String::from_utf8_lossy(&output.stdout);
    let is = |line: &str| settings.lines().any(|other| other == line);
    let has_path = |line: &str| line.starts_with("controlpath ") && line != "controlpath none";
    if !is("controlmaster false") || settings.lines().any(has_path) {
        return None;
    }
    let socket = socket_path_of(&format!("git {ssh} {host} {port:?}")).ok()?;
    let lock = fs::File::create(socket.with_extension("lock")).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    // What the master itself would notice only after a while: the machine slept, or moved to another network.
    let used = socket.with_extension("used");
    let last = fs::metadata(&used).and_then(|meta| meta.modified()).ok();
    let age = last.and_then(|time| time.elapsed().ok());
    if age.is_none_or(|age| age.as_secs() >= GIT_HOST_IDLE) {
        let _ = fs::remove_file(&socket);
    }
    fs::write(&used, "").ok()?;
    let socket = quote(&socket.to_string_lossy()).ok()?;
    let command = format!(
        "{ssh} -o ControlMaster=auto -o ControlPersist={GIT_HOST_IDLE} -o ServerAliveInterval=5 \
         -o ServerAliveCountMax=2 -S {socket}"
    );
    Some(GitHost {
        command,
        _lock: lock,
    })
}

/// The control socket of `destination`, in a folder that only this person can enter. Its name is a digest of the
/// destination and of the ssh program found, since another one may have another configuration.
fn socket_path(destination: &Destination) -> Result<PathBuf> {
    socket_path_of(destination.as_str())
}

fn socket_path_of(what: &str) -> Result<PathBuf> {
    let dir = socket_dir()?;
    let mut digest = Sha256::new();
    digest.update(what);
    digest.update([0]);
    digest.update(program("ssh").unwrap_or_default().as_os_str().as_bytes());
    let name: String = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(dir.join(name))
}

fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

fn socket_dir() -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let runtime = absolute("XDG_RUNTIME_DIR").map(|dir| dir.join("git-agile"));
    let cache =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let cache = cache.map(|dir| dir.join("git-agile/ssh"));
    let fits = |dir: &PathBuf| dir.as_os_str().len() + 1 + 16 <= MAX_SOCKET_PATH;
    let candidates = [runtime, cache].into_iter().flatten().filter(fits);
    for dir in candidates {
        if fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .is_ok()
            && is_private(&dir)
        {
            return Ok(dir);
        }
    }
    Err(
        Error::step("there is no folder for the connections' control sockets")
            .hint("set XDG_RUNTIME_DIR to a folder of your own (mode 0700) with a short name"),
    )
}

fn is_private(dir: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(dir) else {
        return false;
    };
    meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0
}

/// Holds the lock at `path` until the file is closed; says so when another command has it for long, as it may be asking
/// for a password. Whoever asks nobody gives up after a while.
async fn hold(server: &ServerName, path: &Path, asking: Asking<'_>) -> Result<fs::File> {
    let named = || format!("cannot lock {}", path.display());
    let file = fs::File::create(path).or_step(named)?;
    let begun = Instant::now();
    let mut said = false;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(error) => return Err(Error::step(named()).cause(error)),
        }
        match asking {
            Asking::OnTerminal(output) if !said && begun.elapsed() > WAIT_IN_SILENCE => {
                said = true;
                output.say(&format!(
                    "{server}: waiting for another command that is connecting"
                ));
            }
            Asking::Never if begun.elapsed() > OPEN_LIMIT => {
                let said =
                    format!("{server}: another command is connecting, and does not come to an end");
                return Err(
                    Error::unreachable(said).hint("answer what it asks in its terminal, or end it")
                );
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_mend() {
        let server = ServerName::new("box").unwrap();
        let destination = Destination::new("me@box.example").unwrap();
        for (said, what, hint) in [
            (
                "@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                "host key has changed",
                "ssh-keygen -R box.example",
            ),
            (
                "Host key verification failed.",
                "not known here",
                "compare the fingerprint",
            ),
            (
                "me@box: Permission denied (publickey).",
                "refused to let you in",
                "ssh-copy-id",
            ),
            (
                "ssh: Could not resolve hostname box: x",
                "no host of that name",
                "agile.toml",
            ),
            (
                "connect to host box port 22: Connection refused",
                "nothing listens",
                "is the server up",
            ),
            ("", "does not answer", "is the server up"),
        ] {
            let error = refusal(&server, &destination, said);
            assert!(error.message.contains(what), "{error}");
            assert!(error.hints[0].contains(hint), "{:?}", error.hints);
        }
        let said = "REMOTE HOST IDENTIFICATION HAS CHANGED!\r\n  remove with:\r\n  ssh-keygen -f \"/h/k\" -R \"[b]:2\"\r\n";
        let error = refusal(&server, &destination, said);
        assert!(error.hints[0].contains("ssh-keygen -f \"/h/k\" -R \"[b]:2\", then"));
        let with_port = Destination::new("box.example:2222").unwrap();
        let error = refusal(&server, &with_port, "Could not resolve hostname");
        assert!(error.hints[0].ends_with("ssh://HOST:2222"), "{error}");
    }
}
