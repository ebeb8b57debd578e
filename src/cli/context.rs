//! What every command is given.

use std::fs;
use std::future::Future;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use git2::Oid;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::manners::colour;
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Kind, Result};
use crate::model::config::{Config, Layer, load};
use crate::terminal::{Output, clean};

/// The surroundings of one command; nothing is found through globals.
pub struct Context {
    /// The one way to print.
    pub output: Output,
    runtime: OnceLock<Runtime>,
    /// What whoever interrupts the command is told.
    standing: Arc<Mutex<Option<(&'static str, &'static str)>>>,
}

impl Drop for Context {
    /// What is still under way has no one to tell.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether SIGINT is not for us, as for what a script starts behind `&` (proc(5), status: SigIgn).
fn is_interrupt_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (rustix::process::Signal::INT.as_raw() - 1)) != 0)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl Context {
    /// Surroundings that print to `output`.
    pub fn new(output: Output) -> Self {
        Context {
            output,
            runtime: OnceLock::new(),
            standing: Arc::default(),
        }
    }

    /// The repository at hand.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn repository(&self) -> Result<Repository> {
        Repository::open()
    }

    /// The configuration of `commit`: the person's own file, the commit's `agile.toml`, and `agile.local.toml` of
    /// the work tree; later ones win.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when the commit has no `agile.toml`, or as [`load`].
    pub fn config(&self, repository: &Repository, commit: Oid) -> Result<Config> {
        self.config_over(repository, commit, None)
    }

    /// The same, over a layer that all others win against.
    ///
    /// # Errors
    /// As [`Context::config`].
    pub fn config_over(
        &self,
        repository: &Repository,
        commit: Oid,
        base: Option<Layer>,
    ) -> Result<Config> {
        let committed = repository.file_at(commit, "agile.toml")?.ok_or_else(|| {
            let short = &commit.to_string()[..7];
            let error = Error::config(format!("there is no agile.toml in commit {short}"));
            if repository.root().join("agile.toml").exists() {
                error.hint(
                    "git add agile.toml, and commit it: the configuration is that of the commit",
                )
            } else {
                error.hint("git agile init")
            }
        })?;
        let mut layers: Vec<Layer> = base.into_iter().collect();
        if let Some(path) = personal_file() {
            let file = path.display().to_string();
            match fs::read(&path) {
                Ok(content) => layers.push(Layer {
                    file,
                    content,
                    is_personal: true,
                }),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(Error::config(format!("cannot read {file}")).cause(error)),
            }
        }
        layers.push(Layer {
            file: "agile.toml".into(),
            content: committed,
            is_personal: false,
        });
        if let Some(content) = read_plain(&repository.root().join("agile.local.toml"))? {
            layers.push(Layer {
                file: "agile.local.toml".into(),
                content,
                is_personal: false,
            });
        }
        load(&layers, &project_name(repository))
    }

    /// Runs `future` to its end on this thread.
    ///
    /// # Errors
    /// What `future` gives, and [`Kind::Step`](crate::error::Kind::Step) when the system lacks what it needs.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime()?.block_on(future)
    }

    /// Begins `future`, which goes on beside everything else and ends with the command.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when the system lacks what it needs.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        Ok(self.runtime()?.spawn(future))
    }

    /// From now on whoever interrupts the command is told what `stands`, and by `hint` how to go on.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when the system lacks what it needs.
    pub fn if_interrupted(&self, stands: &'static str, hint: &'static str) -> Result<()> {
        let said = (stands, hint);
        let is_watched = {
            let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
            standing.replace(said).is_some()
        };
        if is_watched {
            return Ok(());
        }
        let standing = self.standing.clone();
        // Asked before there is a handler of ours.
        let is_ignored = is_interrupt_ignored();
        self.spawn(async move {
            let signals = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            );
            let (Ok(mut interrupted), Ok(mut terminated)) = signals else {
                return;
            };
            tokio::select! {
                _ = interrupted.recv(), if !is_ignored => {}
                _ = terminated.recv() => {}
            }
            if io::stderr().is_terminal() {
                // What was being shown there.
                let _ = console::Term::stderr().clear_line();
            }
            let standing = *standing.lock().unwrap_or_else(PoisonError::into_inner);
            let (stands, hint) = standing.unwrap_or(said);
            let error = Error::new(Kind::Interrupted, format!("interrupted: {stands}"));
            Output::new(false, colour()).error(&error.hint(hint));
            std::process::exit(Kind::Interrupted.status().into());
        })
        .map(drop)
    }

    fn runtime(&self) -> Result<&Runtime> {
        if self.runtime.get().is_none() {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .or_step(|| "cannot wait for events".into())?;
            // Somebody who was faster has set one just as good.
            let _ = self.runtime.set(runtime);
        }
        self.runtime
            .get()
            .ok_or_else(|| Error::step("cannot wait for events"))
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        io::stderr().is_terminal() && fs::File::open("/dev/tty").is_ok()
    }

    /// Asks on the terminal and gives the line typed, or `default` for an empty one.
    ///
    /// # Errors
    /// [`Kind::Interrupted`](crate::error::Kind::Interrupted) when the terminal ends the input.
    pub fn ask(&self, question: &str, default: &str) -> Result<String> {
        let prompt = match default {
            "" => format!("{}: ", clean(question)),
            default => format!("{} [{}]: ", clean(question), clean(default)),
        };
        let mut line = String::new();
        let read = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .and_then(|mut terminal| {
                self.output.progress().suspend(|| {
                    terminal.write_all(prompt.as_bytes())?;
                    io::BufReader::new(terminal).read_line(&mut line)
                })
            });
        match read.or_step(|| "cannot ask on the terminal".into())? {
            0 => Err(Error::new(
                crate::error::Kind::Interrupted,
                "nothing was answered",
            )),
            _ if line.trim().is_empty() => Ok(default.to_string()),
            _ => Ok(line.trim().to_string()),
        }
    }

    /// Asks a question that `y` or `yes` agrees to.
    ///
    /// # Errors
    /// As [`Context::ask`].
    pub fn confirm(&self, question: &str) -> Result<bool> {
        let answer = self.ask(&format!("{question} [y/N]"), "")?;
        Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
    }
}

/// The project's name, for a server without `path`: that of the main work tree's folder, so that all linked work trees
/// mean the same runs.
pub(super) fn project_name(repository: &Repository) -> String {
    let common = repository.common_dir().canonicalize().unwrap_or_default();
    let main = match common.file_name() {
        Some(name) if name == ".git" => common.parent().map(Path::to_path_buf),
        _ => repository.root().canonicalize().ok(),
    };
    let name = main.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "project".to_string())
}

/// `~/.config/git-agile/config.toml`: a person's own servers.
fn personal_file() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(config.join("git-agile/config.toml"))
}

/// A plain file of the work tree, at most just over a megabyte; nothing when there is none. A link or device that a
/// commit has put there is not followed.
fn read_plain(path: &Path) -> Result<Option<Vec<u8>>> {
    let cannot = || format!("cannot read {}", path.display());
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = match fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags as i32)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::config(cannot()).cause(error)),
    };
    if !file.metadata().or_config(cannot)?.is_file() {
        return Err(Error::config(cannot()).cause("it is not a plain file"));
    }
    let mut content = Vec::new();
    file.take((1 << 20) + 1)
        .read_to_end(&mut content)
        .or_config(cannot)?;
    Ok(Some(content))
}
