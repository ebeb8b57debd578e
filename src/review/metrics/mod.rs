//! Numbers that runs wrote: read from their files into curves and final values.
//!
//! A format is a function from bytes to [`Curves`]; `reader` knows them by the file's name. What a damaged file
//! holds before the damage is kept, and the file is named.

mod curve;
mod delimited;
mod digits;
mod find;
mod json;
mod kept;
mod names;
mod shape;
mod tensorboard;
mod toml;
mod tree;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use super::folder::{Folder, Found, Way};
use super::path::ResultPath;
use curve::{Reading, axis_rank};
use find::{Layout, Source};

pub use curve::{Curve, Curves};
pub use names::{Log, Names};

/// The largest file of metrics in bytes.
const LARGEST: u64 = 64 << 20;

/// The metrics of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// What was logged, by file; [`Names`] makes one map of it.
    pub logs: Vec<Log>,
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

/// Reads the metrics in a run's results `folder` from the files that `names` mean: paths, folders or gitignore-like
/// patterns relative to it. Of a folder, and of everything when there are no names, the files are read that are
/// known for metrics: `metrics.*`, TensorBoard's event files, those of DVCLive, and tables with a column for the
/// step or epoch, such as Keras and Lightning write. A file that is not there gives nothing.
pub fn read(folder: &Path, names: &[String]) -> Metrics {
    read_kept(folder, names, None)
}

/// The same, but from the file `kept` where that has what was read from the same files before.
pub fn read_kept(folder: &Path, names: &[String], kept: Option<&Path>) -> Metrics {
    let Ok(top) = Folder::open(folder) else {
        // The results are gone, or never came.
        let _ = kept.map(std::fs::remove_file);
        return Metrics::default();
    };
    let (sources, is_all) = find::find(&top, folder, names);
    let files = files(&top, sources);
    let mut metrics = match kept {
        None => read_files(&top, files),
        Some(kept) => {
            let key = kept::Key::of(&files, kept::now());
            kept::load(kept, &key).unwrap_or_else(|| {
                let metrics = read_files(&top, files);
                kept::store(kept, &key, &metrics);
                metrics
            })
        }
    };
    metrics.damaged.extend((!is_all).then(find::too_many));
    metrics
}

/// The files with what each is.
fn files(top: &Folder, sources: Vec<Source>) -> Vec<(Source, Found)> {
    let found = |source: Source| {
        let (above, name) = source.path.split();
        let found = match top.descend(above, false) {
            Ok(Way::There(above)) => above.find(name).unwrap_or(Found::Other),
            _ => Found::Nothing,
        };
        (source, found)
    };
    sources.into_iter().map(found).collect()
}

fn read_files(top: &Folder, sources: Vec<(Source, Found)>) -> Metrics {
    let mut metrics = Metrics::default();
    let mut files = Vec::new();
    for (source, _) in sources {
        let (mut curves, damage) = match content(top, &source.path) {
            Ok(None) => continue,
            Ok(Some(bytes)) => parse(&source.path, &bytes),
            Err(error) => (Curves::new(), Some(error.to_string())),
        };
        if !source.is_named && !is_log(&source, &curves) {
            continue;
        }
        if source.layout == Layout::DvcLivePlot {
            curves = name_by_path(&source.path, curves);
        }
        metrics.damaged.extend(damage.map(|why| Damaged {
            path: source.path.to_string(),
            why,
        }));
        files.push((source, curves));
    }
    prefer_plots(&mut files);
    metrics.logs = names::logs(files);
    metrics
}

/// Whether a file that nobody named holds metrics: by its own name, or because it says where its records stand.
fn is_log(source: &Source, curves: &Curves) -> bool {
    source.layout != Layout::Table || curves.values().any(|curve| !curve.axis.is_empty())
}

/// The metrics in the bytes of a file called `path`.
fn parse(path: &ResultPath, bytes: &[u8]) -> Reading {
    match reader(path) {
        Some(read) => read(bytes),
        None => {
            let why = "not a kind of file that metrics are read from (.json, .jsonl, .csv, .tsv, .toml, .yaml, \
                TensorBoard's .tfevents.)";
            (Curves::new(), Some(why.to_string()))
        }
    }
}

/// The format that a name stands for.
fn reader(path: &ResultPath) -> Option<fn(&[u8]) -> Reading> {
    let (_, name) = path.split();
    if find::is_event_file(name) {
        return Some(tensorboard::read);
    }
    let ending = name.rsplit(|&b| b == b'.').next()?.to_ascii_lowercase();
    Some(match ending.as_slice() {
        b"json" => json::read_whole,
        b"jsonl" | b"ndjson" => json::read_lines,
        b"csv" => delimited::read_commas,
        b"tsv" => delimited::read_tabs,
        b"toml" => toml::read,
        b"yaml" | b"yml" => yaml::read,
        _ => return None,
    })
}

/// The one curve of a DVCLive plot, `…/plots/metrics/train/loss.tsv`, under its whole name: `train.loss`.
fn name_by_path(path: &ResultPath, curves: Curves) -> Curves {
    let name = find::plot_name(path);
    let curve = curves.into_iter().rfind(|(name, _)| name != "timestamp");
    curve.map(|(_, curve)| (name, curve)).into_iter().collect()
}

/// DVCLive writes the last value of each plot again into the `metrics.json` beside them, and the last step.
fn prefer_plots(files: &mut [(Source, Curves)]) {
    let mut plots: BTreeMap<Vec<u8>, BTreeSet<String>> = BTreeMap::new();
    for (source, curves) in files.iter() {
        if let Some(base) = find::plots_base(&source.path) {
            let names = plots.entry(base.to_vec()).or_default();
            names.extend(curves.keys().cloned());
        }
    }
    for (source, curves) in files {
        let (base, name) = source.path.split();
        if let Some(known) = plots.get(base).filter(|_| name == b"metrics.json") {
            curves.retain(|name, _| !known.contains(name) && axis_rank(name).is_none());
        }
    }
}

/// The bytes of a plain file beneath `top`, reached through no link; nothing when there is none.
fn content(top: &Folder, path: &ResultPath) -> std::io::Result<Option<Vec<u8>>> {
    let (above, name) = path.split();
    let Way::There(above) = top.descend(above, false)? else {
        return Ok(None);
    };
    if above.find(name)? == Found::Nothing {
        return Ok(None);
    }
    let file = above.read(name)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(LARGEST) as usize + 1);
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
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

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn read_files(files: &[(&str, &str)], names: &[&str]) -> Metrics {
        let files: Vec<_> = files.iter().map(|(p, t)| (*p, t.as_bytes())).collect();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        read(folder(&files).path(), &names)
    }

    fn curves(metrics: &Metrics) -> Curves {
        Names::of([metrics.logs.as_slice()]).curves(metrics.logs.clone())
    }

    fn names(metrics: &Metrics) -> Vec<String> {
        curves(metrics).into_keys().collect()
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
        let curves = curves(&metrics);
        assert_eq!(curves["train.loss"].values, [0.5, 0.25]);
        assert_eq!(curves["train.loss"].axis, "epoch");
        assert_eq!(curves["eval.loss"].last(), 0.75);
        assert!(curves["acc"].last().is_nan());
        assert_eq!(curves.len(), 3);
    }

    #[test]
    fn a_damaged_file_is_named_and_the_rest_is_read() {
        let files = [
            ("a.json", "{\"x\": 1, \"z\":"),
            ("b.json", "{\"y\": 2}"),
            ("c.pkl", "…"),
        ];
        let metrics = read_files(&files, &["a.json", "b.json", "c.pkl"]);
        assert_eq!(names(&metrics), ["x", "y"]);
        let damaged: Vec<&str> = metrics.damaged.iter().map(|d| d.path.as_str()).collect();
        assert_eq!(damaged, ["a.json", "c.pkl"]);
    }

    #[test]
    fn the_folders_of_loggers_are_known() {
        let dvclive = [
            (
                "dvclive/metrics.json",
                "{\"train\": {\"loss\": 0.2}, \"step\": 1, \"top\": 9}",
            ),
            (
                "dvclive/plots/metrics/train/loss.tsv",
                "timestamp\tstep\tloss\n7\t0\t0.5\n8\t1\t0.2\n",
            ),
            ("dvclive/params.yaml", "lr: 1"),
        ];
        let lightning = [
            (
                "lightning_logs/version_0/metrics.csv",
                "epoch,step,train_loss,val_acc\n0,9,0.5,\n0,9,,0.75\n1,19,0.25,\n",
            ),
            ("lightning_logs/version_0/hparams.yaml", "lr: 0.1"),
        ];
        let keras = [
            ("training.csv", "epoch,accuracy,loss\n0,0.5,1\n1,0.75,nan\n"),
            ("guesses.csv", "id,guess\n1,2\n"),
        ];
        for asked in [&[][..], &["dvclive"]] {
            let metrics = read_files(&dvclive, asked);
            assert_eq!(names(&metrics), ["top", "train.loss"]);
            assert_eq!(curves(&metrics)["train.loss"].steps, [0.0, 1.0]);
        }
        for asked in [&[][..], &["lightning_logs/"]] {
            let metrics = read_files(&lightning, asked);
            assert_eq!(names(&metrics), ["train_loss", "val_acc"]);
            assert_eq!(curves(&metrics)["val_acc"].steps, [9.0]);
        }
        assert_eq!(names(&read_files(&keras, &[])), ["accuracy", "loss"]);
    }

    #[test]
    fn event_files_of_a_folder_are_one_log() {
        const EVENTS: &[u8] = include_bytes!("testdata/scalars.tfevents");
        let files = [
            ("runs/train/events.out.tfevents.1.box", EVENTS),
            ("runs/train/events.out.tfevents.2.box", EVENTS),
            ("runs/validation/events.out.tfevents.1.box", EVENTS),
        ];
        let metrics = read(folder(&files).path(), &["runs".to_string()]);
        let curves = curves(&metrics);
        let loss = &curves["train.train/loss"];
        assert_eq!(loss.steps, [100.0, 200.0, 300.0, 400.0]);
        assert!(curves.contains_key("validation.acc"));
    }

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(folder.path().join("secret.json"), "{\"x\": 1}").unwrap();
        std::os::unix::fs::symlink("../secret.json", run.join("link.json")).unwrap();
        std::os::unix::fs::symlink("..", run.join("up")).unwrap();
        let names = [
            "../secret.json",
            "link.json",
            "*.json",
            "/etc/x.json",
            "up",
            "up/secret.json",
        ]
        .map(String::from);
        assert_eq!(read(&run, &names).logs, []);
        assert_eq!(read(&run, &[]).logs, []);
    }
}
