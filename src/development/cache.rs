//! What files were found to import, remembered by blob id, so that a commit reads only what it changes.
//!
//! A file in the git dir: one line for each blob, `CHECK KEY JSON`, only ever appended to, so that two commits at
//! once cannot spoil each other's lines; rewritten when most of it is old. A line whose check fails does not count:
//! a damaged cache is slower, never wrong. Removing the file is always safe.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::PathBuf;

use git2::Oid;

use super::repository::Repository;
use crate::requirements::scan::Scan;

/// Changes whenever the scanner's answers or their form do.
const VERSION: u32 = 5;

/// Old lines are removed when there are more of them than lines in use, and than this.
const SPARE: usize = 4096;

/// A cache larger than this is begun anew.
const LARGE: u64 = 256 << 20;

/// What is remembered.
pub struct Cache {
    path: PathBuf,
    text: String,
    fresh: BTreeMap<String, String>,
}

/// A cache that was read: blob key to the JSON of its scan.
pub type Known<'c> = HashMap<&'c str, &'c str>;

/// The key of a blob read as `kind`.
pub fn key(kind: char, blob: Oid) -> String {
    format!("{kind}{blob}")
}

/// FNV-1a over words of eight bytes: quick, the same everywhere, and enough to notice damage.
fn check(text: &str) -> u64 {
    text.as_bytes()
        .chunks(8)
        .fold(0xcbf2_9ce4_8422_2325, |hash, part| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3)
        })
}

impl Cache {
    /// Reads the cache of the repository; an empty one when there is none that can be read.
    pub fn open(repository: &Repository) -> Self {
        let path = repository
            .common_dir()
            .join("agile")
            .join(format!("imports-{VERSION}"));
        let small = path
            .symlink_metadata()
            .is_ok_and(|data| data.is_file() && data.len() < LARGE);
        let bytes = if small {
            std::fs::read(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        Cache {
            path,
            text: String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            fresh: BTreeMap::new(),
        }
    }

    /// The lines that are whole.
    pub fn known(&self) -> Known<'_> {
        let lines = self.text.lines();
        lines
            .filter_map(|line| {
                let (sum, rest) = line.split_once(' ')?;
                let whole = u64::from_str_radix(sum, 16) == Ok(check(rest));
                rest.split_once(' ').filter(|_| whole)
            })
            .collect()
    }

    /// Remembers what a blob was found to import.
    pub fn add(&mut self, key: String, scan: &Scan) {
        if let Ok(json) = serde_json::to_string(scan) {
            self.fresh.insert(key, json);
        }
    }

    /// Writes what is new. `used` are the keys of this run. A cache that cannot be written is no one's problem.
    pub fn save(self, used: &[String]) {
        if !self.fresh.is_empty() {
            // Without the cache everything works, only slower.
            let _ = self.write(used);
        }
    }

    fn write(&self, used: &[String]) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        std::fs::create_dir_all(folder)?;
        let lines = self.text.lines().count();
        let old = lines.saturating_sub(used.len());
        if self.text.is_empty() || old > used.len().max(SPARE) {
            let known = self.known();
            let kept = used
                .iter()
                .filter_map(|key| Some((key.as_str(), *known.get(key.as_str())?)));
            let fresh = self
                .fresh
                .iter()
                .map(|(key, json)| (key.as_str(), json.as_str()));
            let mut file = tempfile::Builder::new()
                .prefix("imports-")
                .tempfile_in(folder)?;
            file.write_all(render(kept.chain(fresh)).as_bytes())?;
            file.persist(&self.path)?;
        } else {
            let fresh = self
                .fresh
                .iter()
                .map(|(key, json)| (key.as_str(), json.as_str()));
            // A line that was cut would swallow the first new one.
            let start = if self.text.ends_with('\n') { "" } else { "\n" };
            let mut file = std::fs::OpenOptions::new().append(true).open(&self.path)?;
            file.write_all(format!("{start}{}", render(fresh)).as_bytes())?;
        }
        Ok(())
    }
}

fn render<'l>(lines: impl Iterator<Item = (&'l str, &'l str)>) -> String {
    let mut text = String::new();
    for (key, json) in lines {
        let line = format!("{key} {json}");
        text.push_str(&format!("{:016x} {line}\n", check(&line)));
    }
    text
}
