//! Installing the hooks, and taking them away again as if they had never been there.

mod configured;
mod manager;
mod place;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

pub use configured::{configure, configured, unconfigure};
pub use manager::Manager;
pub use place::{Place, folder};

use crate::error::{Context as _, Error, Result};

/// A hook of ours: its name and its text.
pub type Hook = (&'static str, &'static str);

/// The hooks that we install, with their texts.
pub const HOOKS: [Hook; 2] = [
    ("pre-commit", include_str!("../../../hooks/pre-commit")),
    ("post-push", include_str!("../../../hooks/post-push")),
];

/// The hooks that make a plain `git push` deploy.
pub const PLAIN_PUSH: [Hook; 2] = [
    ("pre-push", include_str!("../../../hooks/pre-push")),
    (
        "reference-transaction",
        include_str!("../../../hooks/reference-transaction"),
    ),
];

/// The SHA-256 of each text that an older version installed: they are ours too, and `install` replaces them.
const OLDER: [&str; 2] = [
    "7b1321aa2871ded206e75565cc00044895217ecbad8b3b070fdd196e9c52c52a",
    "f9d8ac225491060a1e853ab4d8effd5b4cb4f61c6e73bb48b5de34e301d543ed",
];

/// What a hook that was there before is called while ours is installed.
const PRIOR: &str = ".agile-prior";

/// What installing one hook did or would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It is ours and current.
    Current,
    /// It is ours, of an older version.
    Older,
    /// It is not there, or another one is.
    Missing,
    /// It was written.
    Written,
    /// It was written, and the one that was there is kept and runs first.
    Chained,
    /// That of an older version was replaced.
    Upgraded,
}

/// Writes the `hooks` into `folder`; one that is there is moved aside and runs before ours.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when a file cannot be written.
pub fn install(folder: &Path, hooks: &[Hook]) -> Result<Vec<(&'static str, Installed)>> {
    fs::create_dir_all(folder)
        .or_step(|| format!("cannot make the folder {}", folder.display()))?;
    hooks
        .iter()
        .map(|hook| Ok((hook.0, install_one(folder, hook)?)))
        .collect()
}

fn install_one(folder: &Path, hook: &Hook) -> Result<Installed> {
    let (name, text) = hook;
    let path = folder.join(name);
    let mut done = match state(&path, text) {
        Installed::Current => return Ok(Installed::Current),
        Installed::Older => Installed::Upgraded,
        _ => Installed::Written,
    };
    let prior = folder.join(format!("{name}{PRIOR}"));
    // Not `exists`: a dangling link is somebody's hook too, and is moved, never written through.
    if done == Installed::Written && fs::symlink_metadata(&path).is_ok() {
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
    let put = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        // As git does with shared repositories: who may read the folder may run its hooks.
        let mode = 0o755 & (fs::metadata(folder)?.mode() | 0o700);
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    put().or_step(cannot).map_err(|error| {
        error.hint(format!(
            "let yourself write into {}; git agile push deploys without hooks, too",
            folder.display()
        ))
    })
}

/// What is installed in `folder` of what every clone should have, changing nothing.
pub fn check(folder: &Path) -> Vec<(&'static str, Installed)> {
    states(folder, &HOOKS)
}

/// The same for these `hooks`.
pub fn states(folder: &Path, hooks: &[Hook]) -> Vec<(&'static str, Installed)> {
    hooks
        .iter()
        .map(|(name, text)| (*name, state(&folder.join(name), text)))
        .collect()
}

/// Whether the hook `name` in `folder` does more than ours alone.
pub fn has_other(folder: &Path, name: &str) -> bool {
    let path = folder.join(name);
    let is_ours = HOOKS
        .iter()
        .any(|(ours, text)| *ours == name && state(&path, text) != Installed::Missing);
    let has_prior = fs::symlink_metadata(folder.join(format!("{name}{PRIOR}"))).is_ok();
    path.exists() && (!is_ours || has_prior)
}

/// Removes our hooks from `folder` and puts back what was there. Gives the names of those removed.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when a file cannot be moved or removed.
pub fn uninstall(folder: &Path) -> Result<Vec<&'static str>> {
    let mut removed = Vec::new();
    for (name, text) in HOOKS.into_iter().chain(PLAIN_PUSH) {
        let path = folder.join(name);
        if state(&path, text) == Installed::Missing {
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

/// Whether the hook at `path` is ours, and of which version.
fn state(path: &Path, text: &str) -> Installed {
    let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    match fs::read(path) {
        Ok(bytes) if is_file && bytes == text.as_bytes() => Installed::Current,
        Ok(bytes) if is_file && OLDER.contains(&digest(&bytes).as_str()) => Installed::Older,
        _ => Installed::Missing,
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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

        let all = |state| [("pre-commit", state), ("post-push", state)];
        let installed = || install(folder.path(), &HOOKS).unwrap();
        assert_eq!(installed(), all(Installed::Chained));
        assert_eq!(installed(), all(Installed::Current));
        assert_eq!(check(folder.path()), all(Installed::Current));
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
