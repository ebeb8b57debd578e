//! Hooks that git 2.54 and newer reads from its configuration (git-hook(1)): they need no folder.

use super::Installed;
use crate::development::git;
use crate::development::repository::Repository;
use crate::error::{Error, Result};

/// The first git that reads hooks from its configuration.
const SINCE: (u32, u32) = (2, 54);

/// Our section of the configuration. (A name that is a hook's would be an error.)
const SECTION: &str = "hook.git-agile";

/// Like the file of that name in `hooks/`. Git appends the hook's arguments.
const COMMAND: &str = "\
    for program in git-agile \"$(git config agile.program)\"; do \
    command -v \"$program\" >/dev/null 2>&1 && exec \"$program\" hook pre-commit; done; \
    echo 'warning: requirements.txt was not checked: put git-agile on PATH, or: git config --remove-section hook.git-agile' >&2; :";

/// Configures the pre-commit hook of this repository.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) with a git that would not read it.
pub fn configure(repository: &Repository) -> Result<()> {
    if !can_configure() {
        let (major, minor) = SINCE;
        return Err(Error::config(format!(
            "configured hooks need git {major}.{minor} or newer"
        ))
        .hint("git agile install --force, or use `git agile push` without hooks"));
    }
    set(repository, "command", COMMAND)?;
    set(repository, "event", "pre-commit")
}

fn set(repository: &Repository, key: &str, value: &str) -> Result<()> {
    let key = format!("{SECTION}.{key}");
    let args = ["config", "--local", "--replace-all", &key, value];
    git::read(git::command_in(repository.root()), &args).map(drop)
}

/// Our hook in this repository's configuration: [`Current`](Installed::Current), [`Older`](Installed::Older) or
/// [`Missing`](Installed::Missing).
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when git cannot be asked.
pub fn configured(repository: &Repository) -> Result<Installed> {
    let args = ["config", "--local", "--get", &format!("{SECTION}.command")];
    let found = git::ask(git::command_in(repository.root()), &args)?;
    Ok(match found.as_deref() {
        Some(COMMAND) => Installed::Current,
        Some(_) => Installed::Older,
        None => Installed::Missing,
    })
}

/// Whether the git at hand reads hooks from its configuration.
pub fn can_configure() -> bool {
    git::version().is_some_and(|version| version >= SINCE)
}

/// Takes our hook out of this repository's configuration.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when git cannot write it.
pub fn unconfigure(repository: &Repository) -> Result<()> {
    let args = ["config", "--local", "--remove-section", SECTION];
    git::read(git::command_in(repository.root()), &args).map(drop)
}
