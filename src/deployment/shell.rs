//! Shells on a server or here: their streams, and their end.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openssh::Session;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::protocol::{Broken, SILENCE};
use crate::error::{Context as _, Error, Result};

/// How long the end of a shell is waited for once its answer is known.
pub(super) const MOMENT: Duration = Duration::from_secs(1);

pub(super) type Reader = BufReader<Box<dyn AsyncRead + Unpin + Send + Sync>>;

/// A started shell: its streams, and what keeps it.
pub(super) struct Shell {
    pub input: Box<dyn AsyncWrite + Unpin + Send + Sync>,
    output: Reader,
    errors: Box<dyn AsyncRead + Unpin + Send + Sync>,
    child: Child,
}

pub(super) enum Child {
    Process(Box<tokio::process::Child>),
    Ssh(Box<openssh::Child<Arc<Session>>>),
}

/// A program on the server that reads.
pub struct Feed {
    input: Box<dyn AsyncWrite + Unpin + Send + Sync>,
    words: JoinHandle<String>,
    noise: JoinHandle<String>,
    child: Child,
}

impl Feed {
    /// The program that `shell` is.
    pub(super) fn new(shell: Shell) -> Self {
        Feed {
            input: shell.input,
            words: tokio::spawn(tail_of(shell.errors)),
            noise: tokio::spawn(tail_of(shell.output)),
            child: shell.child,
        }
    }

    /// Gives it `bytes`.
    ///
    /// # Errors
    /// When it does not take them.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        write(&mut self.input, bytes)
            .await
            .map_err(io::Error::other)
    }

    /// Waits for its end, and gives its last words. That it has taken everything proves nothing.
    pub async fn finish(mut self) -> String {
        let _ = timeout(SILENCE, self.input.shutdown()).await;
        drop(self.input);
        let _ = timeout(SILENCE, self.noise).await;
        let words = timeout(MOMENT, self.words).await;
        let _ = timeout(MOMENT, self.child.finish()).await;
        words.ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// A shell that was told what to do.
pub(super) struct Talk {
    pub output: Reader,
    pub words: JoinHandle<String>,
    pub child: Child,
    /// What went wrong before it said anything.
    pub trouble: Option<Broken>,
}

impl Talk {
    /// Tells `shell` what `text` says, and waits for the first that it says, or its end.
    pub async fn begin(shell: Shell, text: &[u8]) -> Self {
        let Shell {
            input,
            mut output,
            errors,
            child,
        } = shell;
        let words = tokio::spawn(tail_of(errors));
        let sent = send(input, text).await;
        let trouble = match sent {
            Err(trouble) => Some(trouble),
            Ok(()) => match timeout(SILENCE, output.fill_buf()).await {
                Err(_) => Some(Broken::Stalled),
                Ok(first) => first.err().map(Broken::Io),
            },
        };
        Talk {
            output,
            words,
            child,
            trouble,
        }
    }
}

/// Starts a command on the server at the end of `session`.
pub(super) async fn start_in(session: &Arc<Session>, text: &str) -> io::Result<Shell> {
    let mut command = session.clone().arc_raw_command(text);
    command
        .stdin(openssh::Stdio::piped())
        .stdout(openssh::Stdio::piped())
        .stderr(openssh::Stdio::piped());
    let mut child = command.spawn().await.map_err(io::Error::other)?;
    match (
        child.stdin().take(),
        child.stdout().take(),
        child.stderr().take(),
    ) {
        (Some(input), Some(output), Some(errors)) => Ok(Shell {
            input: Box::new(input),
            output: BufReader::new(Box::new(output)),
            errors: Box::new(errors),
            child: Child::Ssh(Box::new(child)),
        }),
        _ => Err(io::Error::other("no pipes")),
    }
}

impl Child {
    /// Its exit status, where it had one: a connection that was lost, and a signal, give none.
    pub async fn finish(self) -> Option<i32> {
        let status = match self {
            Child::Process(mut child) => child.wait().await.ok(),
            Child::Ssh(child) => child.wait().await.ok(),
        };
        status?.code().filter(|status| *status != 255)
    }
}

/// Whether a variable belongs to the repository, session or run that we were started in, and not to the person.
fn is_ours_alone(name: &str) -> bool {
    let of_git = name.starts_with("GIT_")
        && !name.starts_with("GIT_SSH")
        && !name.starts_with("GIT_CONFIG_");
    let of_a_run = name.starts_with("AGILE_") && name != "AGILE_BOOT_ID";
    of_git
        || of_a_run
        || matches!(
            name,
            "GIT_CONFIG_PARAMETERS" | "GIT_CONFIG_COUNT" | "VIRTUAL_ENV" | "PYTHONHOME"
        )
}

/// Writes the script. A server that stops reading says so by ending its answer; one that hangs does not.
async fn send(mut input: impl AsyncWrite + Unpin, text: &[u8]) -> Result<(), Broken> {
    match write(&mut input, text).await {
        Ok(()) => {}
        Err(Broken::Io(_)) => return Ok(()),
        Err(stalled) => return Err(stalled),
    }
    let _ = timeout(SILENCE, input.shutdown()).await;
    Ok(())
}

/// Gives all of `text`, piece by piece, to somebody who may stop reading.
pub(super) async fn write(
    input: &mut (impl AsyncWrite + Unpin),
    text: &[u8],
) -> Result<(), Broken> {
    for piece in text.chunks(16 << 10) {
        match timeout(SILENCE, input.write_all(piece)).await {
            Ok(written) => written?,
            Err(_) => return Err(Broken::Stalled),
        }
    }
    Ok(())
}

/// A shell on this machine, without anything of the repository or session that we were started in, and in a
/// process group of its own: an interrupt typed here ends us, not a deployment half way.
pub(super) fn shell_here(text: &str) -> Result<Shell> {
    let mut command = std::process::Command::new("/bin/sh");
    command.arg("-c").arg(text);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours_alone(&name.to_string_lossy()))
    {
        command.env_remove(name);
    }
    if let Some(home) = std::env::home_dir() {
        command.current_dir(home);
    }
    process(command)
}

/// Starts a program of this machine that is or leads to a shell.
pub(super) fn process(command: std::process::Command) -> Result<Shell> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::from(command);
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .or_step(|| format!("cannot run {program}"))?;
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(input), Some(output), Some(errors)) => Ok(Shell {
            input: Box::new(input),
            output: BufReader::new(Box::new(output)),
            errors: Box::new(errors),
            child: Child::Process(Box::new(child)),
        }),
        _ => Err(Error::step(format!("cannot talk to {program}"))),
    }
}

/// The last two kilobytes of a stream that is read to its end.
async fn tail_of(mut stream: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0u8; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let excess = kept.len().saturating_sub(2048);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).trim().to_string()
}
