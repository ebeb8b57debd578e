//! A way to run scripts on a server.

use std::io::{self, IsTerminal};
use std::process::Stdio;
use std::time::Duration;

use openssh::Session;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::master;
pub use super::master::Asking;
use super::protocol::{Answer, Broken, Call, Nonce, SILENCE, read_answer, read_raw_opening};
use crate::development::git;
use crate::error::{Context as _, Error, Result};
use crate::model::config::Server;
use crate::model::names::Host;
use crate::terminal::{clean, clean_lines};

/// The one command that is ever run on a server: it works in every login shell.
const SHELL: &str = "exec /bin/sh -s";

/// What mends a connection that was lost.
const AGAIN: &str = "the same command again continues where this one stopped";

/// A connection to one server, or this machine itself.
pub struct Connection {
    server: Server,
    link: Link,
}

enum Link {
    Local,
    Ssh { session: Session, is_reused: bool },
}

/// How long the end of a shell is waited for once its answer is known.
const MOMENT: Duration = Duration::from_secs(1);

type Reader = BufReader<Box<dyn AsyncRead + Unpin + Send>>;

/// A started shell: its streams, and what keeps it.
struct Shell<'a> {
    input: Box<dyn AsyncWrite + Unpin + Send + 'a>,
    output: Reader,
    errors: Box<dyn AsyncRead + Unpin + Send>,
    child: Child<'a>,
}

enum Child<'a> {
    Local(Box<tokio::process::Child>),
    Ssh(openssh::Child<&'a Session>),
}

impl Connection {
    /// A connection to `server`: one that is open already, or a new one.
    ///
    /// # Errors
    /// [`Kind::Unreachable`](crate::error::Kind::Unreachable) with the reason and what mends it.
    pub async fn open(server: &Server, asking: Asking<'_>) -> Result<Self> {
        let link = match &server.host {
            Host::Local => Link::Local,
            Host::Ssh(destination) => {
                let (session, is_reused) = master::open(&server.name, destination, asking).await?;
                Link::Ssh { session, is_reused }
            }
        };
        Ok(Connection {
            server: server.clone(),
            link,
        })
    }

    /// The server at its end.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Runs `call` on the server and gives its answer, passing on what it says meanwhile. Every call can be
    /// repeated, so one that an old connection lost is made again over a new one, once.
    ///
    /// # Errors
    /// [`Kind::Unreachable`](crate::error::Kind::Unreachable) when there is no complete answer: then it is not known
    /// how far the call came.
    pub async fn call(&mut self, call: &Call, mut progress: impl FnMut(&str)) -> Result<Answer> {
        match self.call_once(call, &mut progress).await {
            Err(error)
                if matches!(
                    self.link,
                    Link::Ssh {
                        is_reused: true,
                        ..
                    }
                ) =>
            {
                let fresh = Connection::open(&self.server, Asking::Never)
                    .await
                    .map_err(|_| error)?;
                *self = fresh;
                self.call_once(call, &mut progress).await
            }
            result => result,
        }
    }

    async fn call_once(&self, call: &Call, progress: &mut impl FnMut(&str)) -> Result<Answer> {
        let nonce = Nonce::fresh()?;
        self.converse(&nonce, call, async |output| {
            read_answer(output, &nonce, &mut *progress).await
        })
        .await
    }

    /// Runs `call` on the server and gives its raw answer to `receive`.
    ///
    /// # Errors
    /// As [`Connection::call`]; [`Kind::Step`](crate::error::Kind::Step) when the server says why there is none;
    /// and what `receive` returns.
    pub async fn stream<T>(
        &self,
        call: &Call,
        receive: impl AsyncFnOnce(&mut (dyn AsyncRead + Unpin + Send)) -> Result<T>,
    ) -> Result<T> {
        let nonce = Nonce::fresh()?;
        self.converse(&nonce, call, async |output| {
            match read_raw_opening(output, &nonce).await? {
                None => Ok(receive(output).await),
                Some(answer) => Ok(Err(self.said_instead(&answer))),
            }
        })
        .await?
    }

    /// Sends `call` to a shell of the server and lets `read` make of its output what it can. What else the shell says
    /// is waited for only as long as `read` takes, and a moment longer.
    async fn converse<T>(
        &self,
        nonce: &Nonce,
        call: &Call,
        read: impl AsyncFnOnce(&mut Reader) -> Result<T, Broken>,
    ) -> Result<T> {
        let cannot = || format!("{}: cannot send the script", self.server.name);
        let text = call.text(nonce).or_step(cannot)?;
        let Shell {
            input,
            mut output,
            errors,
            child,
        } = self.shell().await?;
        let mut said = Box::pin(tail_of(errors));
        let work = async {
            send(input, &text).await?;
            read(&mut output).await
        };
        let mut work = std::pin::pin!(work);
        let mut words = None;
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                text = &mut said, if words.is_none() => words = Some(text),
            }
        };
        let words = match words {
            Some(words) => words,
            None => timeout(MOMENT, said).await.unwrap_or_default(),
        };
        // The status of a channel proves nothing, but waiting for it leaves no process behind.
        let _ = timeout(MOMENT, child.finish()).await;
        result.map_err(|broken| self.broken(broken, &words))
    }

    /// A program that runs `text` on the server with this terminal, through the open connection.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when there is no place for control sockets.
    pub fn terminal_command(&self, text: Option<&str>) -> Result<std::process::Command> {
        match &self.server.host {
            Host::Local => {
                let mut command = std::process::Command::new("/bin/sh");
                git::without_repository(&mut command);
                if let Some(text) = text {
                    command.arg("-c").arg(text);
                }
                Ok(command)
            }
            Host::Ssh(destination) => {
                let mut command = master::command(destination)?;
                // A terminal there would change the bytes of an output that goes to a file or pipe here.
                let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
                command
                    .args(is_terminal.then_some("-t"))
                    .arg("--")
                    .arg(destination.as_str())
                    .args(text);
                Ok(command)
            }
        }
    }

    /// What `GIT_SSH_COMMAND` must be for git to use this connection; nothing for this machine.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when there is no place for control sockets.
    pub fn git_transport(&self) -> Result<Option<String>> {
        match &self.server.host {
            Host::Local => Ok(None),
            Host::Ssh(destination) => master::git_command(destination).map(Some),
        }
    }

    /// Whether it leads to this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.link, Link::Local)
    }

    async fn shell(&self) -> Result<Shell<'_>> {
        match &self.link {
            Link::Local => self.local_shell(),
            Link::Ssh { session, .. } => {
                let mut command = session.raw_command(SHELL);
                command
                    .stdin(openssh::Stdio::piped())
                    .stdout(openssh::Stdio::piped())
                    .stderr(openssh::Stdio::piped());
                let lost = || self.lost("before the server answered");
                let mut child = command.spawn().await.map_err(|error| lost().cause(error))?;
                match (
                    child.stdin().take(),
                    child.stdout().take(),
                    child.stderr().take(),
                ) {
                    (Some(input), Some(output), Some(errors)) => Ok(Shell {
                        input: Box::new(input),
                        output: BufReader::new(Box::new(output)),
                        errors: Box::new(errors),
                        child: Child::Ssh(child),
                    }),
                    _ => Err(lost()),
                }
            }
        }
    }

    /// A shell on this machine, without anything of the repository or session that we were started in, and in a
    /// process group of its own: an interrupt typed here ends us, not a deployment half way.
    fn local_shell(&self) -> Result<Shell<'_>> {
        let mut command = std::process::Command::new("/bin/sh");
        command.arg("-s");
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| is_ours_alone(&name.to_string_lossy()))
        {
            command.env_remove(name);
        }
        if let Some(home) = std::env::home_dir() {
            command.current_dir(home);
        }
        let mut command = tokio::process::Command::from(command);
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .or_step(|| "cannot run /bin/sh on this machine".into())?;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(input), Some(output), Some(errors)) => Ok(Shell {
                input: Box::new(input),
                output: BufReader::new(Box::new(output)),
                errors: Box::new(errors),
                child: Child::Local(Box::new(child)),
            }),
            _ => Err(Error::step("cannot talk to /bin/sh on this machine")),
        }
    }

    fn broken(&self, broken: Broken, said: &str) -> Error {
        let name = &self.server.name;
        let error = match &broken {
            Broken::Silent { noise } if noise.trim().is_empty() && said.is_empty() => {
                self.lost("before the server answered")
            }
            Broken::Silent { noise } => {
                let error = Error::unreachable(format!(
                    "{name}: the server did not run the script; its login shell may print or read in its start-up file"
                ));
                let first = noise
                    .lines()
                    .chain(said.lines())
                    .find(|line| !line.trim().is_empty());
                let error = first.map_or(error.clone(), |line| error.cause(clean(line)));
                return error.hint(format!(
                    "ssh {} true, which must print nothing",
                    self.server.host
                ));
            }
            Broken::Cut | Broken::Io(_) => self.lost("in the middle of the answer"),
            Broken::Stalled => Error::unreachable(format!(
                "{name}: no answer for 30 seconds; what was asked for may be done or not"
            ))
            .hint(AGAIN),
            Broken::Damaged(what) => {
                Error::unreachable(format!("{name}: the answer is damaged: {what}")).hint(format!(
                    "the same command again; if it stays so, what does ssh {} true print?",
                    self.server.host
                ))
            }
        };
        if said.is_empty() {
            error
        } else {
            error.cause(clean_lines(said))
        }
    }

    fn lost(&self, when: &str) -> Error {
        Error::unreachable(format!(
            "{}: the connection was lost {when}",
            self.server.name
        ))
        .hint(AGAIN)
    }

    /// The error of a script that could not begin its raw answer.
    fn said_instead(&self, answer: &Answer) -> Error {
        let name = &self.server.name;
        let error = answer.iter().find(|line| line[0] == "error");
        let field = |index: usize| error.and_then(|line| Some(line.get(index)?.as_str()));
        let text = field(2).unwrap_or("the server gave no data");
        let hint = match field(1) {
            Some("python") => format!("install python3 on {name}"),
            _ => "git agile status shows what is known of the runs".to_string(),
        };
        Error::step(format!("{name}: {}", clean(text))).hint(hint)
    }
}

impl Child<'_> {
    async fn finish(self) {
        match self {
            Child::Local(mut child) => drop(child.wait().await),
            Child::Ssh(child) => drop(child.wait().await),
        }
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
    for piece in text.chunks(16 << 10) {
        match timeout(SILENCE, input.write_all(piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(Broken::Stalled),
        }
    }
    let _ = timeout(SILENCE, input.shutdown()).await;
    Ok(())
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
