//! Which of a run's files hold metrics.

use std::collections::BTreeMap;
use std::path::Path;

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;

use super::super::folder::{Folder, Found, Way};
use super::ResultPath;
use super::reader;
use crate::terminal::clean_bytes;

/// How deep, and how far, a folder is looked through for files that nobody named.
const DEEPEST: usize = 8;
const MOST_ENTRIES: usize = 20_000;

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

/// The files that `names` mean, each once, by path.
pub(super) fn find(top: &Folder, folder: &Path, names: &[String]) -> Vec<Source> {
    let is_pattern =
        |name: &&String| name.starts_with('!') || name.contains(['*', '?', '[', '{', '\\']);
    let (patterns, paths): (Vec<&String>, Vec<&String>) = names.iter().partition(is_pattern);
    let mut found = BTreeMap::new();
    if names.is_empty() {
        look_through(folder, b"", &mut found);
    }
    for path in paths {
        let Ok(path) = ResultPath::new(path.trim_matches('/')) else {
            continue;
        };
        match is_folder(top, &path) {
            true => look_through(folder, path.as_bytes(), &mut found),
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
    found.into_iter().map(source).collect()
}

fn is_folder(top: &Folder, path: &ResultPath) -> bool {
    let (above, name) = path.split();
    matches!(top.descend(above, false), Ok(Way::There(above)) if matches!(above.find(name), Ok(Found::Folder)))
}

/// The files below `start` whose place says that they may hold metrics.
fn look_through(folder: &Path, start: &[u8], found: &mut BTreeMap<ResultPath, bool>) {
    use std::os::unix::ffi::OsStrExt;
    let start = folder.join(std::ffi::OsStr::from_bytes(start));
    let mut walk = WalkBuilder::new(start);
    walk.standard_filters(false)
        .follow_links(false)
        .max_depth(Some(DEEPEST));
    for path in files(folder, walk.build().take(MOST_ENTRIES)) {
        if Layout::of(&path).is_some() {
            found.entry(path).or_insert(false);
        }
    }
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
    for path in files(folder, walk.build()) {
        if reader(&path).is_some() {
            found.insert(path, true);
        }
    }
}

fn files(
    folder: &Path,
    walk: impl Iterator<Item = Result<ignore::DirEntry, ignore::Error>>,
) -> impl Iterator<Item = ResultPath> {
    walk.flatten()
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
        .filter_map(move |entry| {
            let path = entry.path().strip_prefix(folder).ok()?;
            ResultPath::new(path.as_os_str().as_encoded_bytes()).ok()
        })
}

/// What tells the files apart: the name without its ending, or the whole path where two have the same; for event
/// files and plots the folder, as they are one log together.
pub(super) fn labels<'a>(sources: impl Iterator<Item = &'a Source>) -> Vec<String> {
    let whole = |source: &Source| match source.layout {
        Layout::Events => source.path.split().0.to_vec(),
        Layout::DvcLivePlot => [plots_base(&source.path).unwrap_or_default(), b"/plots"].concat(),
        Layout::Metrics | Layout::Table => source
            .path
            .as_path()
            .with_extension("")
            .as_os_str()
            .as_encoded_bytes()
            .to_vec(),
    };
    let whole: Vec<Vec<u8>> = sources.map(whole).collect();
    let last = |path: &[u8]| path.rsplit(|&b| b == b'/').next().unwrap_or(path).to_vec();
    let is_alone = |path: &Vec<u8>| {
        whole
            .iter()
            .all(|other| other == path || last(other) != last(path))
    };
    let label = |path: &Vec<u8>| match is_alone(path) {
        true => clean_bytes(&last(path)),
        false => clean_bytes(path),
    };
    whole.iter().map(label).collect()
}
