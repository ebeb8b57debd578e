//! What only conda knows of an environment: `conda-meta/NAME-VERSION-BUILD.json` with `name`, `version`, `files`.
//!
//! Most of conda's packages leave a `.dist-info` as pip does, which says more.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::{Installed, entries, file_name, recorded, text};
use crate::requirements::name::normal;
use crate::requirements::tables;

#[derive(Deserialize)]
struct Record {
    name: String,
    version: String,
    #[serde(default)]
    files: Vec<String>,
}

/// The version of the environment's Python.
pub(super) fn python(folder: &Path) -> Option<String> {
    let records = entries(&folder.join("conda-meta"));
    records.iter().find_map(|path| {
        let rest = file_name(path)
            .strip_suffix(".json")?
            .strip_prefix("python-")?;
        let (version, _) = rest.split_once('-')?;
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| version.to_string())
    })
}

/// The distributions whose modules conda installed without the metadata that pip would leave; of the `known` ones
/// what conda built them from is forgotten. Conda's names and
/// versions are its own: the name is the one that a table has for the module, and the version counts only when the
/// names are the same.
pub(super) fn others(folder: &Path, known: &mut [Installed]) -> Vec<Installed> {
    let read = |path: &std::path::PathBuf| serde_json::from_str::<Record>(&text(path)?).ok();
    let records: Vec<Record> = entries(&folder.join("conda-meta"))
        .par_iter()
        .filter_map(read)
        .collect();
    forget_builds(&records, known);
    let provided: BTreeSet<&str> = known
        .iter()
        .flat_map(|found| &found.modules)
        .map(String::as_str)
        .collect();
    let names: BTreeSet<String> = known.iter().map(|found| normal(&found.name)).collect();
    let mut found: Vec<Installed> = Vec::new();
    for record in records
        .iter()
        .filter(|record| !names.contains(&normal(&record.name)))
    {
        for module in modules(record)
            .into_iter()
            .filter(|module| !provided.contains(module.as_str()))
        {
            let Some(name) = tables::row(&module).providers.into_iter().next() else {
                continue;
            };
            let same = normal(&name) == normal(&record.name);
            match found.iter_mut().find(|other| other.name == name) {
                Some(other) => other.modules.push(module),
                None => found.push(Installed {
                    name: name.into_owned(),
                    version: if same {
                        record.version.clone()
                    } else {
                        String::new()
                    },
                    modules: vec![module],
                    ..Installed::default()
                }),
            }
        }
    }
    found
}

/// The files that conda's own builds were made from are on no other machine, and the index has the same versions.
fn forget_builds(records: &[Record], known: &mut [Installed]) {
    let paths = records.iter().flat_map(|record| &record.files);
    let built: BTreeSet<(String, &str)> = paths
        .filter_map(|path| {
            let folder = path.strip_suffix(".dist-info/direct_url.json")?;
            let (name, version) = folder.rsplit('/').next()?.split_once('-')?;
            Some((normal(name), version))
        })
        .collect();
    for found in known {
        if built.contains(&(normal(&found.name), &*found.version)) {
            found.url.take_if(|url| url.starts_with("file:"));
        }
    }
}

fn modules(record: &Record) -> Vec<String> {
    let inside = |path: &String| {
        path.split_once("site-packages/")
            .map(|(_, inside)| inside.to_string())
    };
    let files: Vec<String> = record.files.iter().filter_map(inside).collect();
    recorded(&files.join("\n"))
}
