//! The one door to the `git` executable.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::error::{Context as _, Error, Result};

/// The variables that tie a process to one repository (`git rev-parse --local-env-vars`, git 2.47). They are
/// kept for questions about the repository at hand and cleared for everything that concerns another one.
const LOCAL_VARIABLES: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// The oldest git that we are content with: the first to know `rev-parse --path-format`. (One that does not know it
/// repeats the option as if it were a path.)
pub const OLDEST: (u32, u32) = (2, 31);

/// `git` for the repository that the caller's environment and folder name.
pub fn command() -> Command {
    Command::new("git")
}

/// `command` without git's repository variables, for programs that work on another repository or none.
pub fn without_repository(command: &mut Command) -> &mut Command {
    for variable in LOCAL_VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// `git -C DIR` for the repository of that folder alone.
pub fn command_in(dir: &Path) -> Command {
    let mut command = command();
    without_repository(&mut command).arg("-C").arg(dir);
    command
}

/// Runs `command` with `args` and gives its standard output without the last line feed.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) with git's own message when git cannot be started or ends with a
/// status other than 0.
pub fn read<S: AsRef<OsStr>>(mut command: Command, args: &[S]) -> Result<String> {
    let output = run(command.args(args))?;
    if !output.status.success() {
        return Err(failed(&command, &output));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_string())
}

/// Like [`read`], for a path, which may be any bytes.
///
/// # Errors
/// As [`read`].
pub fn read_path<S: AsRef<OsStr>>(mut command: Command, args: &[S]) -> Result<PathBuf> {
    let output = run(command.args(args))?;
    if !output.status.success() {
        return Err(failed(&command, &output));
    }
    let mut path = output.stdout;
    path.pop_if(|byte| *byte == b'\n');
    Ok(OsString::from_vec(path).into())
}

/// Like [`read`], with nothing where git answers by status 1 (its "there is none").
///
/// # Errors
/// As [`read`], for statuses other than 0 and 1.
pub fn ask<S: AsRef<OsStr>>(mut command: Command, args: &[S]) -> Result<Option<String>> {
    let output = run(command.args(args))?;
    match output.status.code() {
        Some(0) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(Some(text.strip_suffix('\n').unwrap_or(&text).to_string()))
        }
        Some(1) => Ok(None),
        _ => Err(failed(&command, &output)),
    }
}

fn run(command: &mut Command) -> Result<Output> {
    command
        .output()
        .or_step(|| "cannot run `git`".into())
        .map_err(|error| error.hint("install git, or put it on PATH"))
}

fn failed(command: &Command, output: &Output) -> Error {
    let words: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    let said = String::from_utf8_lossy(&output.stderr);
    let error = Error::step(format!(
        "`git {}` failed ({})",
        words.join(" "),
        output.status
    ))
    .cause(said.trim());
    match ensure_not_too_old() {
        Ok(()) => error,
        Err(old) => old
            .hints
            .into_iter()
            .fold(error.cause(old.message), Error::hint),
    }
}

/// That the git on PATH is no older than what we need.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) for an older one.
pub fn ensure_not_too_old() -> Result<()> {
    let Some((major, minor)) = version().filter(|found| *found < OLDEST) else {
        return Ok(());
    };
    let (oldest, since) = OLDEST;
    Err(Error::config(format!("git {major}.{minor} is too old"))
        .hint(format!("install git {oldest}.{since} or newer")))
}

/// The first two numbers of the git that is on PATH.
pub fn version() -> Option<(u32, u32)> {
    let output = command().arg("--version").output().ok()?;
    numbers(&String::from_utf8_lossy(&output.stdout))
}

/// Those of `git version 2.54.0`.
fn numbers(said: &str) -> Option<(u32, u32)> {
    let number = said.strip_prefix("git version ")?;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_git_says_them() {
        assert_eq!(numbers("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(numbers("git version 2.54.0.windows.1"), Some((2, 54)));
        assert_eq!(numbers("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(numbers("git version 3.0-rc1"), Some((3, 0)));
        assert_eq!(numbers("no git"), None);
    }
}
