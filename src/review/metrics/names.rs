//! The names under which metrics of several files, and of several runs, stand side by side.
//!
//! Where a run has `loss` in two files, the files' names come before it, in every run of its experiment: otherwise
//! `loss` would be the training loss of a run that failed early and the evaluation loss of another.

use std::collections::BTreeSet;

use super::curve::{Curve, Curves};
use super::find::{self, Layout, Source};
use crate::terminal::clean_bytes;

/// What a program wrote into one file, or a logger into one folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The file's path, or the folder's, below the run's results; cleaned.
    pub(super) path: String,
    /// How much of it stands before the file's ending, in bytes.
    pub(super) stem: usize,
    /// Its metrics by name; nested names have dots between them.
    pub curves: Curves,
}

impl Log {
    fn of(source: &Source, curves: Curves) -> Self {
        let path = match source.layout {
            Layout::Events => clean_bytes(source.path.split().0),
            Layout::DvcLivePlot => {
                let base = find::plots_base(&source.path).unwrap_or_default();
                clean_bytes(&[base, b"/plots"].concat())
            }
            Layout::Metrics | Layout::Table => source.path.to_string(),
        };
        let name = path.rfind('/').map_or(0, |slash| slash + 1);
        let stem = match source.layout {
            Layout::Metrics | Layout::Table => path[name..].rfind('.').map(|dot| name + dot),
            Layout::Events | Layout::DvcLivePlot => None,
        };
        Log {
            stem: stem.unwrap_or(path.len()),
            path,
            curves,
        }
    }

    /// What tells it from others: the file's name, with the folders above it, with its ending.
    fn labels(&self) -> [&str; 3] {
        let stem = self.path.get(..self.stem).unwrap_or(&self.path);
        [stem.rsplit('/').next().unwrap_or(stem), stem, &self.path]
    }
}

/// The logs in some files. The event files of one folder are one log, and so are the plots of DVCLive.
pub(super) fn logs(files: Vec<(Source, Curves)>) -> Vec<Log> {
    let mut logs: Vec<Log> = Vec::new();
    for (source, curves) in files.into_iter().filter(|(_, curves)| !curves.is_empty()) {
        let log = Log::of(&source, curves);
        match logs.iter_mut().find(|known| known.path == log.path) {
            Some(known) => {
                for (name, curve) in log.curves {
                    known.curves.entry(name).or_default().append(curve);
                }
            }
            None => logs.push(log),
        }
    }
    logs
}

/// What does not tell the metrics of some runs apart.
#[derive(Debug, Default)]
pub struct Names {
    /// Names of metrics that a run has in two of its logs.
    metrics: BTreeSet<String>,
    /// The short labels, and the longer ones, that two logs of a run have.
    labels: [BTreeSet<String>; 2],
}

impl Names {
    /// Of runs that are looked at together, by the logs of each.
    pub fn of<'a>(runs: impl IntoIterator<Item = &'a [Log]>) -> Self {
        let mut names = Names::default();
        for logs in runs.into_iter().filter(|logs| logs.len() > 1) {
            let metrics = logs.iter().flat_map(|log| log.curves.keys());
            twice(metrics.map(String::as_str), &mut names.metrics);
            for (level, known) in names.labels.iter_mut().enumerate() {
                twice(logs.iter().map(|log| log.labels()[level]), known);
            }
        }
        names
    }

    /// One map of the logs of a run.
    pub fn curves(&self, logs: Vec<Log>) -> Curves {
        let mut all = Curves::new();
        for mut log in logs {
            let curves: Vec<(String, Curve)> = log.curves.drain(..).collect();
            let labels = log.labels();
            let pairs = labels.iter().zip(&self.labels);
            let mut alone = pairs.filter(|(label, known)| !known.contains(**label));
            let label = alone.next().map_or(labels[2], |(label, _)| label);
            for (name, curve) in curves {
                let full = match self.metrics.contains(&name) {
                    true => format!("{label}.{name}"),
                    false => name,
                };
                // Another file may have a metric that is really called so.
                let is_taken = all.contains_key(&full);
                let name = if is_taken {
                    format!("{}.{full}", log.path)
                } else {
                    full
                };
                all.insert(name, curve);
            }
        }
        all
    }
}

/// Adds the names that come twice.
fn twice<'a>(names: impl Iterator<Item = &'a str>, to: &mut BTreeSet<String>) {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let pairs = names.windows(2).filter(|pair| pair[0] == pair[1]);
    to.extend(pairs.map(|pair| pair[0].to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::metrics::read;

    /// The names of the metrics of runs with these files, one called `x` in each.
    fn names(runs: &[&[&str]]) -> Vec<Vec<String>> {
        let read = |files: &&[&str]| {
            let folder = tempfile::tempdir().unwrap();
            for file in *files {
                let path = folder.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let text = match file.ends_with("csv") {
                    true => "x\n1\n2\n",
                    false => "{\"x\": 1, \"train\": {\"x\": 2}}",
                };
                std::fs::write(path, text).unwrap();
            }
            let files: Vec<String> = files.iter().map(ToString::to_string).collect();
            read(folder.path(), &files).logs
        };
        let runs: Vec<Vec<Log>> = runs.iter().map(read).collect();
        let names = Names::of(runs.iter().map(Vec::as_slice));
        let runs = runs.into_iter();
        runs.map(|logs| names.curves(logs).into_keys().collect())
            .collect()
    }

    #[test]
    fn a_name_means_the_same_in_every_run() {
        let both: &[&str] = &["train.csv", "eval.csv"];
        assert_eq!(
            names(&[both, &["train.csv"], &["eval.csv"]]),
            [vec!["eval.x", "train.x"], vec!["train.x"], vec!["eval.x"]]
        );
        // Where nothing is to be told apart, nothing is added.
        assert_eq!(names(&[&["train.csv"], &["eval.csv"]]), [["x"], ["x"]]);
    }

    #[test]
    fn files_are_told_apart_by_as_little_as_does_it() {
        assert_eq!(
            names(&[&["a/m.csv", "b/m.csv"], &["a/m.csv"]]),
            [vec!["a/m.x", "b/m.x"], vec!["a/m.x"]]
        );
        assert_eq!(names(&[&["eval/m.csv", "m.csv"]]), [["eval/m.x", "m.x"]]);
        // Two files that differ in their endings alone are two all the same.
        assert_eq!(
            names(&[&["m.csv", "m.json"]]),
            [["m.csv.x", "m.json.x", "train.x"]]
        );
        // No metric is lost to one that is called as another must be.
        assert_eq!(
            names(&[&["a.json", "train.csv"]]),
            [["a.x", "train.x", "train.csv.train.x"]]
        );
    }
}
