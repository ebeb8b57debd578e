//! Installing the hooks, and taking them away again as if they had never been there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::git;
use super::repository::Repository;
use crate::error::{Context as _, Error, Result};

/// The hooks that we install, with their texts.
pub const HOOKS: [(&str, &str); 2] = [
    ("pre-commit", include_str!("../../hooks/pre-commit")),
    ("post-push", include_str!("../../hooks/post-push")),
];

/// What a hook that was there before is called while ours is installed.
const PRIOR: &str = ".agile-prior";

/// What installing one hook did or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It is ours and current.
    Current,
    /// It is not there, or another one is.
    Missing,
    /// It was written.
    Written,
    /// It was written, and the one that was there is kept and runs first.
    Chained,
}

/// The folder in which git looks for hooks.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when hooks are switched off or live in a folder that other
/// repositories share.
pub fn folder(repository: &Repository) -> Result<PathBuf> {
    let args = ["rev-parse", "--path-format=absolute", "--git-path", "hooks"];
    let path = git::read(git::command_in(repository.root()), &args).map_err(|error| {
        Error::config("git does not know where its hooks are; is `core.hooksPath` right?")
            .cause(error)
    })?;
    let path = PathBuf::from(path);
    if path == Path::new("/dev/null") {
        return Err(
            Error::config("hooks are switched off here (core.hooksPath is /dev/null)")
                .hint("git config --unset core.hooksPath, or use `git agile push` without hooks"),
        );
    }
    let scope = ["config", "--show-scope", "--get", "core.hooksPath"];
    if let Some(scope) = git::ask(git::command_in(repository.root()), &scope)?
        && (scope.starts_with("global") || scope.starts_with("system"))
    {
        return Err(Error::config(format!(
            "core.hooksPath is set for all repositories: {}",
            path.display()
        ))
        .hint("git config --local core.hooksPath .git/hooks gives this repository its own hooks"));
    }
    Ok(path)
}

/// Writes our hooks into `folder`; one that is there is moved aside and runs before ours.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when a file cannot be written.
pub fn install(folder: &Path) -> Result<Vec<(&'static str, Installed)>> {
    fs::create_dir_all(folder)
        .or_step(|| format!("cannot make the folder {}", folder.display()))?;
    HOOKS
        .iter()
        .map(|(name, text)| Ok((*name, install_one(folder, name, text)?)))
        .collect()
}

fn install_one(folder: &Path, name: &str, text: &str) -> Result<Installed> {
    let path = folder.join(name);
    if is_ours(&path, text) {
        return Ok(Installed::Current);
    }
    let prior = folder.join(format!("{name}{PRIOR}"));
    let mut done = Installed::Written;
    // Not `exists`: a dangling link is somebody's hook too, and is moved, never written through.
    if fs::symlink_metadata(&path).is_ok() {
        if fs::symlink_metadata(&prior).is_ok() {
            return Err(Error::step(format!(
                "both {} and {} are there",
                path.display(),
                prior.display()
            ))
            .hint(
                "another tool has replaced our hook; remove one of the two, then git agile install",
            ));
        }
        fs::rename(&path, &prior).or_step(|| format!("cannot move {} aside", path.display()))?;
        done = Installed::Chained;
    }
    write(folder, &path, text).inspect_err(|_| {
        if done == Installed::Chained {
            let _ = fs::rename(&prior, &path);
        }
    })?;
    Ok(done)
}

fn write(folder: &Path, path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write the hook {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).or_step(cannot)?;
    file.write_all(text.as_bytes()).or_step(cannot)?;
    // As git does with shared repositories: who may read the folder may run its hooks.
    let mode = 0o755 & (fs::metadata(folder).or_step(cannot)?.mode() | 0o700);
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))
        .or_step(cannot)?;
    file.as_file().sync_all().or_step(cannot)?;
    file.persist(path).or_step(cannot)?;
    Ok(())
}

/// What is installed in `folder`, changing nothing.
pub fn check(folder: &Path) -> Vec<(&'static str, Installed)> {
    let state = |path: &Path, text| {
        if is_ours(path, text) {
            Installed::Current
        } else {
            Installed::Missing
        }
    };
    HOOKS
        .iter()
        .map(|(name, text)| (*name, state(&folder.join(name), text)))
        .collect()
}

/// Removes our hooks from `folder` and puts back what was there. Gives the names of those removed.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when a file cannot be moved or removed.
pub fn uninstall(folder: &Path) -> Result<Vec<&'static str>> {
    let mut removed = Vec::new();
    for (name, text) in HOOKS {
        let path = folder.join(name);
        if !is_ours(&path, text) {
            continue;
        }
        let prior = folder.join(format!("{name}{PRIOR}"));
        let cannot = || format!("cannot remove the hook {}", path.display());
        if fs::symlink_metadata(&prior).is_ok() {
            fs::rename(&prior, &path).or_step(cannot)?;
        } else {
            fs::remove_file(&path).or_step(cannot)?;
        }
        removed.push(name);
    }
    Ok(removed)
}

fn is_ours(path: &Path, text: &str) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    is_file && fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_comes_back_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let hook = folder.path().join("pre-commit");
        fs::write(&hook, b"#!/usr/bin/perl\n\xff\r\n").unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", folder.path().join("post-push")).unwrap();

        assert_eq!(
            install(folder.path()).unwrap(),
            [
                ("pre-commit", Installed::Chained),
                ("post-push", Installed::Chained)
            ]
        );
        assert_eq!(
            install(folder.path()).unwrap(),
            [
                ("pre-commit", Installed::Current),
                ("post-push", Installed::Current)
            ]
        );
        assert!(
            check(folder.path())
                .iter()
                .all(|(_, state)| *state == Installed::Current)
        );
        assert_eq!(
            uninstall(folder.path()).unwrap(),
            ["pre-commit", "post-push"]
        );

        assert_eq!(fs::read(&hook).unwrap(), b"#!/usr/bin/perl\n\xff\r\n");
        assert_eq!(fs::metadata(&hook).unwrap().mode() & 0o777, 0o700);
        assert_eq!(
            fs::read_link(folder.path().join("post-push")).unwrap(),
            Path::new("/nowhere/at/all")
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(uninstall(folder.path()).unwrap().is_empty());
    }
}
