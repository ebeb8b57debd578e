//! How much of a repository would have to travel.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use git2::Oid;
use serde::Serialize;

use super::git;
use crate::model::names::CommitId;

/// What a transfer of commits takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pack {
    /// How many objects.
    pub objects: u32,
    /// How many bytes they take, packed.
    pub bytes: u64,
}

/// The packs that were measured already: servers that have the same get the same.
#[derive(Default)]
pub struct Packs(BTreeMap<(PathBuf, CommitId, Vec<Oid>), Option<Pack>>);

impl Packs {
    /// The pack with which git would bring `commit` of the repository in `root` to somebody who has the commits `have`;
    /// nothing where git cannot tell, as in a clone that has not all of it. Commits that are unknown here are no help.
    pub fn size(&mut self, root: &Path, commit: &CommitId, have: &[CommitId]) -> Option<Pack> {
        let repository = git2::Repository::open(root).ok()?;
        let id = |id: &CommitId| Oid::from_str(id.as_str()).ok();
        let mut known: Vec<Oid> = have.iter().filter_map(id).collect();
        known.retain(|id| repository.find_commit(*id).is_ok());
        known.sort();
        let key = (root.to_path_buf(), commit.clone(), known);
        if let Some(size) = self.0.get(&key) {
            return *size;
        }
        let size = measure(root, commit, &key.2);
        self.0.insert(key, size);
        size
    }
}

/// Makes the pack, as a push would, and counts its bytes.
fn measure(root: &Path, commit: &CommitId, have: &[Oid]) -> Option<Pack> {
    let mut command = git::command_in(root);
    command
        .args(["pack-objects", "--revs", "--stdout", "--thin", "-q"])
        .arg("--delta-base-offset")
        // Nothing is fetched only to be counted.
        .env("GIT_NO_LAZY_FETCH", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut asked = format!("{commit}\n");
    have.iter()
        .for_each(|id| asked.push_str(&format!("^{id}\n")));
    // A git that has ended says so by its status.
    let _ = child.stdin.take()?.write_all(asked.as_bytes());
    let mut output = child.stdout.take()?;
    let mut head = [0; 12];
    let is_whole = output.read_exact(&mut head).is_ok();
    let rest = std::io::copy(&mut output, &mut std::io::sink());
    let is_good = child.wait().ok()?.success() && is_whole;
    // gitformat-pack(5): signature, version, number of objects, each of four bytes; a checksum ends it.
    let objects = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    is_good.then_some(Pack {
        objects,
        bytes: rest.ok()? + 12,
    })
}
