//! A way to run scripts on a server.

use std::io::{self, IsTerminal};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openssh::Session;
use tokio::io::AsyncRead;
use tokio::time::timeout;

use super::impatient::Impatient;
pub use super::master::Asking;
use super::master::{self, Beside};
use super::protocol::{
    Answer, Broken, Call, Nonce, read_answer, read_answer_and_noise, read_raw_opening,
};
use super::scripts;
pub use super::shell::Feed;
use super::shell::{MOMENT, Shell, Talk, process, shell_here, start_in, write};
use crate::development::git;
use crate::error::{Context as _, Error, Result};
use crate::model::config::Server;
use crate::model::names::{Destination, Host};
use crate::terminal::{clean, clean_lines};

/// The one command that is ever run on a server: it works in every login shell.
const SHELL: &str = "exec /bin/sh -s";

/// What mends a connection that was lost.
const AGAIN: &str = "the same command again continues where this one stopped";

/// A connection to one server, or this machine itself.
pub struct Connection {
    server: Server,
    link: Link,
    standing_by: Option<StandBy>,
    lends_agent: bool,
}

/// A shell on the server that has read the scripts of a call, and waits for its last line.
struct StandBy {
    opening: Vec<u8>,
    shell: Shell,
}

#[derive(Clone)]
enum Link {
    Local,
    Ssh {
        session: Arc<Session>,
        is_reused: bool,
    },
}

/// How long an old connection may give no sign before another one is tried beside it.
const PATIENCE: Duration = Duration::from_millis(2000);
/// How long raw bytes may not come: a server may have to read large files before it says anything.
pub const LONG_SILENCE: Duration = Duration::from_secs(600);
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
                Link::Ssh {
                    session: Arc::new(session),
                    is_reused,
                }
            }
        };
        Ok(Connection {
            server: server.clone(),
            link,
            standing_by: None,
            lends_agent: false,
        })
    }

    /// The same connection, whose calls have the person's ssh agent where their ssh configuration forwards it there.
    #[must_use]
    pub fn lending_agent(mut self) -> Self {
        self.lends_agent = true;
        self
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
        let is_old = self.is_old();
        match self.call_once(call, &mut progress).await {
            Err(error) if is_old => {
                self.renew().await.map_err(|_| error)?;
                self.call_once(call, &mut progress).await
            }
            result => result,
        }
    }

    async fn call_once(&mut self, call: &Call, progress: &mut impl FnMut(&str)) -> Result<Answer> {
        let nonce = Nonce::fresh()?;
        let mut talk = self.begin(call, &nonce).await?;
        let result = match talk.trouble.take() {
            None => read_answer(&mut talk.output, &nonce, progress).await,
            Some(trouble) => Err(trouble),
        };
        Ok(self.end(talk, result).await?.0)
    }

    /// Runs `call` on the server once, and gives its answer and the beginning of what the login shell printed before it.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn listen(&mut self, call: &Call) -> Result<(Answer, String)> {
        let nonce = Nonce::fresh()?;
        let mut talk = self.begin(call, &nonce).await?;
        let result = match talk.trouble.take() {
            None => read_answer_and_noise(&mut talk.output, &nonce, |_| {}).await,
            Some(trouble) => Err(trouble),
        };
        Ok(self.end(talk, result).await?.0)
    }

    /// Whether the connection was there before and has proved to be dead; then another one has taken its place.
    pub async fn was_dead(&mut self) -> bool {
        self.is_old() && self.ask(scripts::nothing()).await.is_ok() && !self.is_old()
    }

    /// Looks after a while whether the connection is dead, and ends when it was.
    pub fn replaced(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            tokio::time::sleep(PATIENCE).await;
            if !self.was_dead().await {
                std::future::pending().await
            }
        })
    }

    /// As [`Connection::call`], silently. Boxed, so that a task of its own can do it.
    pub fn ask(&mut self, call: Call) -> Pin<Box<dyn Future<Output = Result<Answer>> + Send + '_>> {
        Box::pin(async move { self.call(&call, |_| {}).await })
    }

    /// A connection to `server` for which nobody is asked anything. Boxed, so that a task of its own can open it.
    pub fn open_unasked(server: Server) -> Pin<Box<dyn Future<Output = Result<Self>> + Send>> {
        Box::pin(async move { Connection::open(&server, Asking::Never).await })
    }

    /// Makes ready for `call`, or for one that differs only in its arguments: a shell reads its scripts, and runs
    /// `meanwhile`, whose function has no answer. What fails here fails again, and is said, when the call is made.
    pub async fn stand_by(&mut self, call: &Call, meanwhile: Option<&Call>) {
        if self.is_local() {
            return;
        }
        let (Ok(nonce), Ok(opening)) = (Nonce::fresh(), call.opening()) else {
            return;
        };
        let line = meanwhile.map_or(Ok(Vec::new()), |meanwhile| meanwhile.meanwhile(&nonce));
        let (Ok(line), Ok(mut shell)) = (line, self.shell().await) else {
            return;
        };
        let text = [opening.as_slice(), &line].concat();
        if write(&mut shell.input, &text).await.is_ok() {
            self.standing_by = Some(StandBy { opening, shell });
        }
    }

    /// The same connection, for something that is done meanwhile.
    #[must_use]
    pub fn twin(&self) -> Self {
        Connection {
            server: self.server.clone(),
            link: self.link.clone(),
            standing_by: None,
            lends_agent: self.lends_agent,
        }
    }

    /// The same connection, with the shell that stands by on its `twin`.
    #[must_use]
    pub fn joined_by(self, twin: Connection) -> Self {
        Connection {
            standing_by: twin.standing_by,
            ..self
        }
    }

    /// Runs `call` on the server and gives its raw answer to `receive`. Reading fails with
    /// [`TimedOut`](io::ErrorKind::TimedOut) where nothing comes for a long time.
    ///
    /// # Errors
    /// As [`Connection::call`]; [`Kind::Step`](crate::error::Kind::Step) when the server says why there is none;
    /// and what `receive` returns.
    pub async fn stream<T>(
        &mut self,
        call: &Call,
        receive: impl AsyncFnOnce(&mut (dyn AsyncRead + Unpin + Send)) -> Result<T>,
    ) -> Result<T> {
        let mut is_over = false;
        let receive = async |stream: &mut (dyn AsyncRead + Unpin + Send)| {
            let mut stream = Impatient::new(stream, LONG_SILENCE);
            let result = receive(&mut stream).await;
            is_over = stream.is_over();
            result
        };
        let (result, status) = self.converse(call, receive).await?;
        result.map_err(|error| match status {
            // Whoever has an exit status has not been cut off.
            None if is_over => {
                let mut lost = self
                    .lost("in the middle of the answer")
                    .cause(error.message);
                lost.causes.extend(error.causes);
                lost
            }
            _ => error,
        })
    }

    /// As [`Connection::stream`], for what may be silent for as long as it likes; and whether the shell has ended in good
    /// order, for an answer that does not say itself that it is whole.
    ///
    /// # Errors
    /// As [`Connection::stream`].
    pub async fn follow<T>(
        &mut self,
        call: &Call,
        receive: impl AsyncFnOnce(&mut (dyn AsyncRead + Unpin + Send)) -> Result<T>,
    ) -> Result<(T, bool)> {
        let (result, status) = self.converse(call, receive).await?;
        Ok((result?, status == Some(0)))
    }

    /// What `receive` made of the raw answer to `call`, and the exit status of the shell, where it had one.
    async fn converse<T>(
        &mut self,
        call: &Call,
        receive: impl AsyncFnOnce(&mut (dyn AsyncRead + Unpin + Send)) -> Result<T>,
    ) -> Result<(Result<T>, Option<i32>)> {
        let nonce = Nonce::fresh()?;
        let mut talk = self.begin(call, &nonce).await?;
        let opening = match talk.trouble.take() {
            None => read_raw_opening(&mut talk.output, &nonce).await,
            Some(trouble) => Err(trouble),
        };
        let result = match opening {
            Ok(None) => Ok(receive(&mut talk.output).await),
            Ok(Some(answer)) => Ok(Err(self.said_instead(&answer))),
            Err(broken) => Err(broken),
        };
        self.end(talk, result).await
    }

    /// Whether the connection, or the shell that stands by on it, was there before, and may be dead by now.
    fn is_old(&self) -> bool {
        self.standing_by.is_some()
            || matches!(&self.link, Link::Ssh { is_reused, .. } if *is_reused)
    }

    /// Takes another connection in the place of this one.
    async fn renew(&mut self) -> Result<()> {
        let fresh = Connection::open_unasked(self.server.clone()).await?;
        *self = Connection {
            lends_agent: self.lends_agent,
            ..fresh
        };
        Ok(())
    }

    /// Makes `call`, and waits for the first sign of its shell, which says one at once. On an old connection that gives
    /// none for a while, the call is made over a new one as well, and whichever answers first is taken: so a dead
    /// connection is replaced, and a slow line is given its time.
    async fn begin(&mut self, call: &Call, nonce: &Nonce) -> Result<Talk> {
        let is_old = self.is_old();
        let cannot = || cannot_send(&self.server);
        let opening = call.opening().or_step(cannot)?;
        let line = call.line(nonce).or_step(cannot)?;
        let text = [opening.as_slice(), &line].concat();
        let standing_by = self.standing_by.take();
        let standing_by = standing_by.filter(|shell| shell.opening == opening);
        let old = async {
            match standing_by {
                Some(standing_by) => Ok(Talk::begin(standing_by.shell, &line).await),
                None => Ok(Talk::begin(self.shell().await?, &text).await),
            }
        };
        let Host::Ssh(destination) = &self.server.host else {
            return old.await;
        };
        if !is_old {
            return old.await;
        }
        let beside = self.begin_beside(destination, &text);
        let (talk, fresh) = tokio::select! {
            biased;
            talk = old => (talk, None),
            (talk, fresh) = beside => (Ok(talk), Some(fresh)),
        };
        if let Some(fresh) = fresh {
            self.link = Link::Ssh {
                session: Arc::new(fresh.take_over().await),
                is_reused: false,
            };
        }
        talk
    }

    /// The call `text` over a new connection, once the old one has been silent for [`PATIENCE`]. Never ends where there is
    /// none: then the old one is waited for.
    async fn begin_beside(&self, destination: &Destination, text: &[u8]) -> (Talk, Beside) {
        tokio::time::sleep(PATIENCE).await;
        // An agent is lent by a program that knows the old one only.
        if self.agent_command(SHELL).is_none()
            && let Ok(beside) = master::open_beside(&self.server.name, destination).await
            && let Ok(shell) = start_in(beside.session(), SHELL).await
        {
            let talk = Talk::begin(shell, text).await;
            if talk.trouble.is_none() {
                return (talk, beside);
            }
        }
        std::future::pending().await
    }

    /// Ends a conversation of which `result` was understood; and the shell's exit status. What else the shell says is
    /// waited for only a moment.
    async fn end<T>(&self, talk: Talk, result: Result<T, Broken>) -> Result<(T, Option<i32>)> {
        let words = timeout(MOMENT, talk.words).await;
        let words = words.ok().and_then(Result::ok).unwrap_or_default();
        // Where an answer proves itself, waiting for the status leaves no process behind.
        let status = timeout(MOMENT, talk.child.finish()).await.ok().flatten();
        match result {
            Ok(value) => Ok((value, status)),
            Err(broken) => Err(self.broken(broken, &words, status)),
        }
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

    /// Starts `command`, which every login shell must understand, to be given bytes.
    ///
    /// # Errors
    /// [`Kind::Unreachable`](crate::error::Kind::Unreachable) when it cannot be started.
    pub async fn feed(&self, command: &str) -> Result<Feed> {
        let shell = self.start(command).await?;
        Ok(Feed::new(shell))
    }

    async fn shell(&self) -> Result<Shell> {
        self.start(SHELL).await
    }

    async fn start(&self, text: &str) -> Result<Shell> {
        match &self.link {
            Link::Local => shell_here(text),
            Link::Ssh { session, .. } => {
                if let Some(command) = self.agent_command(text) {
                    return process(command);
                }
                match start_in(session, text).await {
                    Ok(shell) => Ok(shell),
                    Err(error) => Err(self.lost("before the server answered").cause(error)),
                }
            }
        }
    }

    fn agent_command(&self, text: &str) -> Option<std::process::Command> {
        match &self.server.host {
            Host::Ssh(destination) if self.lends_agent => master::with_agent(destination, text),
            _ => None,
        }
    }

    fn broken(&self, broken: Broken, said: &str, status: Option<i32>) -> Error {
        let name = &self.server.name;
        let error = match (&broken, status) {
            (Broken::Silent { noise }, _) if !noise.trim().is_empty() => {
                let first = noise.lines().find(|line| !line.trim().is_empty());
                return self.not_run().cause(clean(first.unwrap_or_default()));
            }
            // What shells end with when they cannot read a script, or are not there.
            (Broken::Silent { .. }, Some(status @ (2 | 126 | 127))) => Error::step(format!(
                "{name}: the shell there cannot run the script (status {status})"
            ))
            .hint(format!(
                "a start-up file there may eat what it should read; does `echo echo fine | ssh {} sh` print that?",
                self.server.host
            )),
            (Broken::Cut, Some(status)) => Error::step(format!(
                "{name}: the script ended before its answer was complete (status {status})"
            ))
            .hint(AGAIN),
            // Whoever has an exit status has not been cut off.
            (Broken::Silent { .. }, Some(_)) => self.not_run(),
            (Broken::Silent { .. }, None) => self.lost("before the server answered"),
            (Broken::Cut | Broken::Io(_), _) => self.lost("in the middle of the answer"),
            (Broken::Stalled, _) => Error::unreachable(format!(
                "{name}: no answer for 30 seconds; what was asked for may be done or not"
            ))
            .hint(AGAIN),
            (Broken::Damaged(what), _) => {
                Error::unreachable(format!("{name}: the answer is damaged: {what}")).hint(format!(
                    "the same command again; if it stays so, what does ssh {} true print?",
                    self.server.host
                ))
            }
        };
        error.cause(clean_lines(said))
    }

    /// The error of a server that did something else than to run the script.
    fn not_run(&self) -> Error {
        Error::unreachable(format!(
            "{}: the server did not run the script; its login shell may print or read in its start-up file",
            self.server.name
        ))
        .hint(format!(
            "ssh {} true, which must print nothing",
            self.server.host
        ))
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

fn cannot_send(server: &Server) -> String {
    format!("{}: cannot send the script", server.name)
}
