//! What was fetched into one run's folder, so that a second fetch asks for nothing and an edit is noticed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::folder::Stamp;
use super::path::ResultPath;
use crate::error::{Context as _, Result};

/// The index of one run: a JSON file that can be lost without harm, as contents are then compared instead.
pub(super) struct Index {
    file: PathBuf,
    content: Content,
    changed: bool,
}

/// What we wrote, and how it looked then.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    #[serde(flatten)]
    pub stamp: Stamp,
    pub sha256: Digest,
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    /// By path, written as in the wire format.
    files: BTreeMap<String, Written>,
}

impl Index {
    /// Reads `file`; an index that is missing, damaged or of another version is an empty one.
    pub fn load(file: &Path) -> Self {
        let read = std::fs::read(file).ok();
        let content = read.and_then(|bytes| serde_json::from_slice::<Content>(&bytes).ok());
        let content = content.filter(|content| content.version == 1);
        let empty = Content {
            version: 1,
            files: BTreeMap::new(),
        };
        Index {
            file: file.to_path_buf(),
            content: content.unwrap_or(empty),
            changed: false,
        }
    }

    pub fn get(&self, path: &ResultPath) -> Option<Written> {
        self.content.files.get(&key(path)).copied()
    }

    pub fn set(&mut self, path: &ResultPath, stamp: Stamp, sha256: Digest) {
        let written = Written { stamp, sha256 };
        let before = self.content.files.insert(key(path), written);
        self.changed |= before != Some(written);
    }

    /// Replaces the file at once if anything changed.
    pub fn save(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let write = || -> std::io::Result<()> {
            let folder = self.file.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let mut part = tempfile::NamedTempFile::new_in(folder)?;
            part.write_all(&serde_json::to_vec(&self.content)?)?;
            part.as_file().sync_all()?;
            part.persist(&self.file)?;
            Ok(())
        };
        write().or_step(|| format!("cannot write {}", self.file.display()))?;
        self.changed = false;
        Ok(())
    }
}

/// Printable ASCII for any bytes, one to one.
fn key(path: &ResultPath) -> String {
    let mut out = String::with_capacity(path.as_bytes().len());
    for &byte in path.as_bytes() {
        match byte {
            b'%' => out.push_str("%25"),
            b'!'..=b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
