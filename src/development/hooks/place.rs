//! Where git looks for the hooks of a repository, and whose place that is.

use std::path::{Path, PathBuf};

use super::configured::can_configure;
use super::manager::Manager;
use crate::development::git;
use crate::development::repository::Repository;
use crate::error::{Error, Result};

/// Where the hooks of a repository are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder of the repository's own.
    Own(PathBuf),
    /// A hook manager looks after them.
    Managed(Manager),
    /// A folder that other repositories use as well, and the repository's own, in which git does not look.
    Shared {
        /// Where git looks.
        used: PathBuf,
        /// Where a shared hook may look.
        own: PathBuf,
    },
}

impl Place {
    /// That of `repository`.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when hooks are switched off, or git is too old or
    /// does not know where they are.
    pub fn of(repository: &Repository) -> Result<Self> {
        git::ensure_not_too_old()?;
        let args = ["rev-parse", "--path-format=absolute", "--git-path", "hooks"];
        let used = git::read_path(git::command_in(repository.root()), &args).map_err(|error| {
            let hints = error.hints;
            let known = Error::config("git does not know where its hooks are (core.hooksPath)")
                .cause(error.causes.join(" "))
                .hint("git config --show-origin --get core.hooksPath shows what is set, and where");
            hints.into_iter().fold(known, Error::hint)
        })?;
        if used == Path::new("/dev/null") {
            return Err(
                Error::config("hooks are switched off here (core.hooksPath is /dev/null)").hint(
                    "git config --unset core.hooksPath, or use `git agile push` without hooks",
                ),
            );
        }
        if let Some(manager) = Manager::of(repository.root(), &used) {
            return Ok(Place::Managed(manager));
        }
        let scope = ["config", "--show-scope", "--get", "core.hooksPath"];
        let scope = git::ask(git::command_in(repository.root()), &scope)?;
        let is_ours = match scope.as_deref().and_then(|line| line.split('\t').next()) {
            None => true,
            Some("local" | "worktree") => is_inside(&used, repository),
            Some(_) => false,
        };
        Ok(match is_ours {
            true => Place::Own(used),
            false => Place::Shared {
                used,
                own: repository.common_dir().join("hooks"),
            },
        })
    }
}

fn is_inside(folder: &Path, repository: &Repository) -> bool {
    // The folder may not be there yet; what is above it decides.
    let real = |path: &Path| {
        let there = path.ancestors().find_map(|path| path.canonicalize().ok());
        there.unwrap_or_else(|| path.to_path_buf())
    };
    let folder = real(folder);
    [repository.root(), repository.common_dir()]
        .iter()
        .any(|top| folder.starts_with(real(top)))
}

/// The folder of the repository's own in which git looks for hooks.
///
/// # Errors
/// As [`Place::of`], and when the hooks are looked after by a manager or shared with other repositories.
pub fn folder(repository: &Repository) -> Result<PathBuf> {
    match Place::of(repository)? {
        Place::Own(folder) => Ok(folder),
        Place::Managed(manager) => Err(Error::config(format!(
            "the hooks of this repository are looked after by {manager}"
        ))
        .hint("git agile install shows what to add to its configuration")),
        Place::Shared { used, .. } => Err(shared(&used)),
    }
}

/// The folder of the hooks is not the repository's alone.
pub(super) fn shared(used: &Path) -> Error {
    Error::config(format!(
        "core.hooksPath names a folder that other repositories use too: {}",
        used.display()
    ))
    .hint(match can_configure() {
        true => "git agile install --config needs no folder",
        false => "git config --local core.hooksPath .git/hooks gives this repository its own hooks",
    })
    .hint("git agile install --force writes into its own folder all the same, for a shared hook that looks there")
}

impl Place {
    /// The error that says why nothing is installed, for a place that other repositories use.
    pub fn refusal(&self) -> Option<Error> {
        match self {
            Place::Shared { used, .. } => Some(shared(used)),
            Place::Own(_) | Place::Managed(_) => None,
        }
    }
}
