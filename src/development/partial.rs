//! Partial clones (`git clone --filter=blob:none`): what is not here yet is fetched, which libgit2 cannot do.

use std::io::Write as _;
use std::process::Stdio;

use git2::{Odb, OdbLookupFlags};

use super::git;
use super::repository::Repository;
use super::tracked::Entry;

/// Fetches the blobs of `entries` that a partial clone left out, all at once; what cannot be fetched stays away.
pub fn complete<'e>(repository: &Repository, entries: impl Iterator<Item = &'e Entry>) {
    let Some(remote) = promisor(repository) else {
        return;
    };
    let Ok(store) = repository.git().odb() else {
        return;
    };
    let missing: String = entries
        .filter(|entry| !is_here(&store, entry))
        .map(|entry| format!("{}\n", entry.blob))
        .collect();
    if !missing.is_empty() {
        // What is still not here says so where it is read.
        let _ = fetch(repository, &remote, &missing);
    }
}

fn is_here(store: &Odb, entry: &Entry) -> bool {
    store.exists_ext(entry.blob, OdbLookupFlags::NO_REFRESH)
}

/// The remote that has what a partial clone has not; none for a whole one.
fn promisor(repository: &Repository) -> Option<String> {
    let config = repository.git().config().ok()?;
    let remotes = repository.git().remotes().ok()?;
    let is_promisor = |name: &&str| config.get_bool(&format!("remote.{name}.promisor")) == Ok(true);
    let found = remotes.iter().flatten().find(is_promisor);
    found.map(str::to_string)
}

/// As git itself fetches what it misses (promisor-remote.c).
fn fetch(repository: &Repository, remote: &str, objects: &str) -> std::io::Result<()> {
    let mut command = git::command();
    command
        .current_dir(repository.root())
        .args(["-c", "fetch.negotiationAlgorithm=noop", "fetch"])
        .args(["--no-tags", "--no-write-fetch-head", "--filter=blob:none"])
        .args(["--recurse-submodules=no", "--stdin", "--", remote])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A git that has ended says so by its status.
        let _ = input.write_all(objects.as_bytes());
    }
    child.wait().map(drop)
}
