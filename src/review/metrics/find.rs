//! Which of a run's files hold metrics.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;

use super::super::folder::{Folder, Found, Way};
use super::reader;
use super::{Damaged, ResultPath};
use crate::terminal::clean_bytes;

/// How many names of a folder are looked at for files that nobody named: as many as a fetch takes.
const MOST_ENTRIES: usize = 200_000;

/// A file to read.
pub(super) struct Source {
    pub path: ResultPath,
    pub layout: Layout,
    /// Whether the person named it, by its path or a pattern.
    pub is_named: bool,
}

/// What a file's place says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `metrics.json`, `metrics.csv`, …
    Metrics,
    /// TensorBoard's.
    Events,
    /// DVCLive's `plots/metrics/**.tsv` (<https://doc.dvc.org/dvclive>): one file for each metric.
    DvcLivePlot,
    /// Another file that could be a log.
    Table,
}

impl Layout {
    fn of(path: &ResultPath) -> Option<Self> {
        let (_, name) = path.split();
        if is_event_file(name) {
            return Some(Layout::Events);
        }
        if plots_base(path).is_some() {
            return Some(Layout::DvcLivePlot);
        }
        reader(path)?;
        let dot = name.iter().rposition(|&b| b == b'.')?;
        Some(match (&name[..dot], &name[dot + 1..]) {
            (b"metrics", _) => Layout::Metrics,
            (_, b"csv" | b"tsv" | b"jsonl") => Layout::Table,
            _ => return None,
        })
    }
}

/// TensorBoard looks for this in names too (tensorboard/backend/event_processing/io_wrapper.py).
pub(super) fn is_event_file(name: &[u8]) -> bool {
    memchr::memmem::find(name, b"tfevents").is_some()
}

/// The folder that DVCLive was given, for one of its plots.
pub(super) fn plots_base(path: &ResultPath) -> Option<&[u8]> {
    let bytes = path.as_bytes();
    if !bytes.ends_with(b".tsv") {
        return None;
    }
    match memchr::memmem::find(bytes, b"/plots/metrics/") {
        Some(end) => Some(&bytes[..end]),
        None => bytes.starts_with(b"plots/metrics/").then_some(b""),
    }
}

/// The metric that a plot of DVCLive shows.
pub(super) fn plot_name(path: &ResultPath) -> String {
    const FOLDER: &[u8] = b"plots/metrics/";
    let bytes = path.as_bytes();
    let start = memchr::memmem::find(bytes, FOLDER).map_or(0, |at| at + FOLDER.len());
    let end = bytes.len().saturating_sub(b".tsv".len()).max(start);
    clean_bytes(&bytes[start..end]).replace('/', ".")
}

/// What is said where there were more names than are looked at.
pub(super) fn too_many() -> Damaged {
    Damaged {
        path: ".".into(),
        why: format!(
            "more than {MOST_ENTRIES} files, and the deepest were not looked at: name those of the metrics in \
            `metrics` of agile.toml"
        ),
    }
}

/// The files that `names` mean, each once, by path; and whether all was looked at.
pub(super) fn find(top: &Folder, folder: &Path, names: &[String]) -> (Vec<Source>, bool) {
    let is_pattern =
        |name: &&String| name.starts_with('!') || name.contains(['*', '?', '[', '{', '\\']);
    let (patterns, paths): (Vec<&String>, Vec<&String>) = names.iter().partition(is_pattern);
    let (mut found, mut is_all) = (BTreeMap::new(), true);
    if names.is_empty() {
        is_all &= look_through(folder, b"", &mut found);
    }
    for path in paths {
        let Ok(path) = ResultPath::new(path.trim_matches('/')) else {
            continue;
        };
        match is_folder(top, &path) {
            true => is_all &= look_through(folder, path.as_bytes(), &mut found),
            false => {
                found.insert(path, true);
            }
        }
    }
    if !patterns.is_empty() {
        match_patterns(folder, &patterns, &mut found);
    }
    let source = |(path, is_named): (ResultPath, bool)| Source {
        layout: Layout::of(&path).unwrap_or(Layout::Table),
        path,
        is_named,
    };
    (found.into_iter().map(source).collect(), is_all)
}

fn is_folder(top: &Folder, path: &ResultPath) -> bool {
    let (above, name) = path.split();
    matches!(top.descend(above, false), Ok(Way::There(above)) if matches!(above.find(name), Ok(Found::Folder)))
}

/// The files below `start` whose place says that they may hold metrics, the nearest first; whether all was looked at.
fn look_through(folder: &Path, start: &[u8], found: &mut BTreeMap<ResultPath, bool>) -> bool {
    let mut folders = vec![folder.join(OsStr::from_bytes(start))];
    let (mut at, mut left) = (0, MOST_ENTRIES);
    while at < folders.len() {
        let entries = folders[at].read_dir();
        at += 1;
        for entry in entries.into_iter().flatten().flatten() {
            left -= 1;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    let path = below(folder, &entry.path());
                    if let Some(path) = path.filter(|path| Layout::of(path).is_some()) {
                        found.entry(path).or_insert(false);
                    }
                }
                _ => {}
            }
            if left == 0 {
                return false;
            }
        }
    }
    true
}

fn below(folder: &Path, path: &Path) -> Option<ResultPath> {
    let path = path.strip_prefix(folder).ok()?;
    ResultPath::new(path.as_os_str().as_encoded_bytes()).ok()
}

/// The files that the patterns choose and that are of a kind that can be read.
fn match_patterns(folder: &Path, patterns: &[&String], found: &mut BTreeMap<ResultPath, bool>) {
    let mut chosen = OverrideBuilder::new(folder);
    for pattern in patterns {
        // The configuration's own check names a pattern that is none.
        let _ = chosen.add(pattern);
    }
    let Ok(chosen) = chosen.build() else { return };
    let mut walk = WalkBuilder::new(folder);
    walk.standard_filters(false)
        .follow_links(false)
        .overrides(chosen);
    let is_file = |entry: &ignore::DirEntry| entry.file_type().is_some_and(|kind| kind.is_file());
    for entry in walk.build().flatten().filter(is_file) {
        if let Some(path) = below(folder, entry.path()).filter(|path| reader(path).is_some()) {
            found.insert(path, true);
        }
    }
}
