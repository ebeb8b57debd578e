//! Numbers that runs wrote: read from their files into curves and final values.
//!
//! A format is a function from bytes to [`Curves`]; `reader` knows them by the file's name. What a damaged file
//! holds before the damage is kept, and the file is named.

mod delimited;
mod json;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;

use super::folder::{Folder, Found, Way};
use super::path::ResultPath;

/// The largest file of metrics in bytes.
const LARGEST: u64 = 64 << 20;

/// Every value of each metric in the order written, NaN and infinities among them; none is empty.
pub type Curves = BTreeMap<String, Vec<f64>>;

/// The metrics of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// By name; nested names have dots between them. Where two files have the same name, the file's name comes
    /// before it.
    pub curves: Curves,
    /// Files that could not be read to their end.
    pub damaged: Vec<Damaged>,
}

/// A file of metrics that is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its path below the run's results, cleaned.
    pub path: String,
    /// What is wrong, with the place where it is known.
    pub why: String,
}

/// What a file gave: its curves, and what stopped the reading.
type Reading = (Curves, Option<String>);

impl Metrics {
    /// The last value of each metric.
    pub fn finals(&self) -> BTreeMap<String, f64> {
        let last = |(name, curve): (&String, &Vec<f64>)| Some((name.clone(), *curve.last()?));
        self.curves.iter().filter_map(last).collect()
    }
}

/// Reads the metrics in a run's results `folder` from the files that `names` mean: paths or gitignore-like
/// patterns relative to it. A file that is not there gives nothing.
pub fn read(folder: &Path, names: &[String]) -> Metrics {
    let mut metrics = Metrics::default();
    let mut files = Vec::new();
    for path in find(folder, names) {
        let (curves, damage) = match content(folder, &path) {
            Ok(None) => continue,
            Ok(Some(bytes)) => parse(&path, &bytes),
            Err(error) => (Curves::new(), Some(error.to_string())),
        };
        let path_text = path.to_string();
        metrics.damaged.extend(damage.map(|why| Damaged {
            path: path_text,
            why,
        }));
        files.push((stem(&path), curves));
    }
    metrics.curves = merge(files);
    metrics
}

/// The metrics in the bytes of a file called `path`.
fn parse(path: &ResultPath, bytes: &[u8]) -> Reading {
    match reader(path) {
        Some(read) => read(bytes),
        None => {
            let why = "not a kind of file that metrics are read from (.json, .jsonl, .csv, .tsv)";
            (Curves::new(), Some(why.to_string()))
        }
    }
}

/// The format that the ending of a name stands for.
fn reader(path: &ResultPath) -> Option<fn(&[u8]) -> Reading> {
    let (_, name) = path.split();
    let ending = name.rsplit(|&b| b == b'.').next()?.to_ascii_lowercase();
    Some(match ending.as_slice() {
        b"json" => json::read_whole,
        b"jsonl" | b"ndjson" => json::read_lines,
        b"csv" => delimited::read_commas,
        b"tsv" => delimited::read_tabs,
        _ => return None,
    })
}

/// One map for all files. Names that several files have are told apart by the files' names.
fn merge(files: Vec<(String, Curves)>) -> Curves {
    let mut seen = BTreeMap::new();
    for name in files.iter().flat_map(|(_, curves)| curves.keys().cloned()) {
        *seen.entry(name).or_insert(0) += 1;
    }
    let mut all = Curves::new();
    for (stem, curves) in files {
        for (name, curve) in curves {
            let full = match seen.get(&name) {
                Some(1) => name,
                _ => format!("{stem}.{name}"),
            };
            all.entry(full).or_default().extend(curve);
        }
    }
    all
}

fn stem(path: &ResultPath) -> String {
    let stem = path.as_path().file_stem().unwrap_or_default();
    crate::terminal::clean_bytes(stem.as_encoded_bytes())
}

/// The files that `names` mean, each once. Only patterns need a walk through the folder.
fn find(folder: &Path, names: &[String]) -> BTreeSet<ResultPath> {
    let is_pattern =
        |name: &&String| name.starts_with('!') || name.contains(['*', '?', '[', '{', '\\']);
    let (patterns, paths): (Vec<&String>, Vec<&String>) = names.iter().partition(is_pattern);
    let mut found: BTreeSet<ResultPath> = paths
        .iter()
        .filter_map(|path| ResultPath::new(path.trim_start_matches('/')).ok())
        .collect();
    let mut chosen = OverrideBuilder::new(folder);
    for pattern in &patterns {
        // The configuration's own check names a pattern that is none.
        let _ = chosen.add(pattern);
    }
    let Some(chosen) = chosen.build().ok().filter(|_| !patterns.is_empty()) else {
        return found;
    };
    let mut walk = WalkBuilder::new(folder);
    let walk = walk
        .standard_filters(false)
        .follow_links(false)
        .overrides(chosen)
        .build();
    for entry in walk
        .flatten()
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
    {
        let path = entry.path().strip_prefix(folder).ok();
        let path = path.and_then(|path| ResultPath::new(path.as_os_str().as_encoded_bytes()).ok());
        found.extend(path);
    }
    found
}

/// The bytes of a plain file beneath `folder`, reached through no link; nothing when there is none.
fn content(folder: &Path, path: &ResultPath) -> std::io::Result<Option<Vec<u8>>> {
    let top = match Folder::open(folder) {
        Ok(top) => top,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (above, name) = path.split();
    let Way::There(above) = top.descend(above, false)? else {
        return Ok(None);
    };
    if above.find(name)? == Found::Nothing {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    above
        .read(name)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(std::io::Error::other("larger than 64 MiB")),
        false => Ok(Some(bytes)),
    }
}

/// A number as programs write it, also `NaN`, `inf` and `-Infinity`.
fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_files(files: &[(&str, &str)], names: &[&str]) -> Metrics {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        read(folder.path(), &names)
    }

    #[test]
    fn several_files_are_one_set_of_names() {
        let files = [
            ("results/train.csv", "epoch,loss\n1,0.5\n2,0.25\n"),
            ("results/eval.json", "{\"loss\": 0.75, \"acc\": NaN}"),
        ];
        let metrics = read_files(
            &files,
            &["results/*.csv", "results/eval.json", "results/none.json"],
        );
        assert_eq!(metrics.damaged, []);
        assert_eq!(metrics.curves["train.loss"], [0.5, 0.25]);
        let finals = metrics.finals();
        assert_eq!(
            (finals["eval.loss"], finals["train.loss"], finals["epoch"]),
            (0.75, 0.25, 2.0)
        );
        assert!(finals["acc"].is_nan());
    }

    #[test]
    fn a_damaged_file_is_named_and_the_rest_is_read() {
        let files = [
            ("a.json", "{\"x\": 1"),
            ("b.json", "{\"y\": 2}"),
            ("c.pkl", "…"),
        ];
        let metrics = read_files(&files, &["a.json", "b.json", "c.pkl"]);
        assert_eq!(metrics.finals(), BTreeMap::from([("y".to_string(), 2.0)]));
        let damaged: Vec<&str> = metrics.damaged.iter().map(|d| d.path.as_str()).collect();
        assert_eq!(damaged, ["a.json", "c.pkl"]);
    }

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(folder.path().join("secret.json"), "{\"x\": 1}").unwrap();
        std::os::unix::fs::symlink("../secret.json", run.join("link.json")).unwrap();
        let names = ["../secret.json", "link.json", "*.json", "/etc/x.json"].map(String::from);
        assert_eq!(read(&run, &names).curves, Curves::new());
    }
}
