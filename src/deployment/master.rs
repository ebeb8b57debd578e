//! The `ssh` process that holds a server's one connection, and its control socket.
//!
//! The master is started by `ssh` itself, so that jump hosts, keys and everything else of the person's configuration
//! count, and so that the person can answer a password or one-time code. It stays for a while after the last use;
//! the next command finds its socket and needs no handshake.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use openssh::Session;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::error::{Context as _, Error, Result};
use crate::model::names::{Destination, ServerName};
use crate::terminal::{Output, clean_lines};

/// How long an unused connection stays, in seconds.
const IDLE: u32 = 600;
/// The longest that opening a connection takes without a person to ask.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
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
    let lock = socket.with_extension("lock");
    let held = tokio::task::spawn_blocking(move || hold(&lock)).await;
    // Two commands that start a master for the same socket at once would leave one of them behind for ever.
    let _held = held.or_step(|| "cannot wait for another command's connection".into())??;
    if let Some(session) = resume(&socket).await {
        return Ok((session, true));
    }
    let _ = fs::remove_file(&socket);
    start(server, destination, &socket, asking).await?;
    match resume(&socket).await {
        Some(session) => Ok((session, false)),
        None => Err(Error::unreachable(format!(
            "{server}: ssh to {destination} ended right after it had connected"
        ))),
    }
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
    ]);
    Ok(command)
}

async fn start(
    server: &ServerName,
    destination: &Destination,
    socket: &Path,
    asking: Asking<'_>,
) -> Result<()> {
    let log = socket.with_extension("log");
    let mut command = master_command(
        destination,
        socket,
        &log,
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
        && fs::File::open("/dev/tty").is_ok()
    {
        // This blocks all servers: the person answers one question at a time. And each only once: a second wrong
        // answer may lock an account.
        let mut command = master_command(
            destination,
            socket,
            &log,
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
            Some(answered) => said = answered,
        }
    }
    Err(refusal(server, destination, &said))
}

fn master_command(
    destination: &Destination,
    socket: &Path,
    log: &Path,
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
    let persist = format!("ControlPersist={IDLE}");
    for option in [
        persist.as_str(),
        batch,
        strict,
        "ConnectTimeout=15",
        "ServerAliveInterval=10",
        "ServerAliveCountMax=3",
        "NumberOfPasswordPrompts=1",
        "ForwardAgent=no",
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

/// ssh's refusal as an error with what mends it.
fn refusal(server: &ServerName, destination: &Destination, said: &str) -> Error {
    let has = |text: &str| said.contains(text);
    let (what, hint) = if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        (
            "its host key has changed; somebody may be in between",
            format!(
                "ask who runs it; if the change is right: ssh-keygen -R {}, then ssh {destination}",
                host_of(destination)
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
        (
            "there is no host of that name",
            format!("correct `host` of [servers.{server}] in agile.toml, or ~/.ssh/config"),
        )
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
    let error = if last.is_empty() {
        error
    } else {
        error.cause(clean_lines(&last))
    };
    error.hint(hint)
}

fn host_of(destination: &Destination) -> &str {
    let text = destination.as_str().trim_start_matches("ssh://");
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// The control socket of `destination`, in a folder that only this person can enter. Its name is a digest of the
/// destination and of the ssh program found, since another one may have another configuration.
fn socket_path(destination: &Destination) -> Result<PathBuf> {
    let dir = socket_dir()?;
    let mut digest = Sha256::new();
    digest.update(destination.as_str());
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

/// Holds the lock file until the value is dropped.
fn hold(path: &Path) -> Result<fs::File> {
    let named = || format!("cannot lock {}", OsStr::to_string_lossy(path.as_os_str()));
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .or_step(named)?;
    flock(&file, FlockOperation::LockExclusive).or_step(named)?;
    Ok(file)
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
    }
}
