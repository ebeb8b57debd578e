//! The texts that installers leave, as values.

use std::collections::BTreeSet;

use super::Installed;
use crate::model::percent;
use crate::requirements::name::is_valid;

/// Reads the headers of METADATA or PKG-INFO; nothing without a name and a version.
pub fn metadata(text: &str) -> Option<Installed> {
    let mut found = Installed::default();
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "name" => found.name = value.into(),
            "version" => found.version = value.into(),
            "requires-dist" => found.requires.push(value.into()),
            "requires-python" => found.requires_python = Some(value.into()),
            _ => {}
        }
    }
    let valid = is_valid(&found.name) && found.version.parse::<pep440_rs::Version>().is_ok();
    valid.then_some(found)
}

/// The modules that the files of a RECORD make up: of each file the topmost folder that is a package, or the file.
pub fn recorded(record: &str) -> Vec<String> {
    let paths: Vec<&str> = record
        .lines()
        .filter_map(|line| line.split(',').next())
        .collect();
    let packages: BTreeSet<&str> = paths
        .iter()
        .filter_map(|path| path.strip_suffix("/__init__.py"))
        .collect();
    let mut modules = BTreeSet::new();
    for path in paths {
        if path.starts_with("..")
            || path.starts_with('/')
            || path.starts_with("__")
            || path.contains(".data/")
        {
            continue;
        }
        let Some((stem, ending)) = path.rsplit_once('.') else {
            continue;
        };
        if !matches!(ending, "py" | "so" | "pyd") {
            continue;
        }
        let mut ends = path.match_indices('/').map(|(at, _)| &path[..at]);
        let module = match ends.find(|folder| packages.contains(folder)) {
            Some(package) => package,
            None => match stem.rsplit_once('/') {
                Some((folder, name)) => {
                    &stem[..folder.len() + 1 + name.find('.').unwrap_or(name.len())]
                }
                None => &stem[..stem.find('.').unwrap_or(stem.len())],
            },
        };
        let dotted = module.replace('/', ".");
        if !dotted.is_empty() && dotted.split('.').all(is_identifier) {
            modules.insert(dotted);
        }
    }
    modules.into_iter().collect()
}

/// Whether `part` of a dotted name can be imported.
pub(super) fn is_identifier(part: &str) -> bool {
    let mut chars = part.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

/// What direct_url.json says: `git+URL@COMMIT`, an archive's URL, or the folder of an editable install.
pub(super) fn direct_url(found: &mut Installed, json: &str) {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(json) else {
        return;
    };
    let text = |value: &serde_json::Value| value.as_str().map(str::to_string);
    let Some(url) = text(&value["url"]) else {
        return;
    };
    if value["dir_info"]["editable"] == true {
        let folder = url.strip_prefix("file://").unwrap_or(&url);
        found.editable = Some(percent::decoded(folder));
    } else if let Some(vcs) = text(&value["vcs_info"]["vcs"]) {
        let commit = text(&value["vcs_info"]["commit_id"]).map(|id| format!("@{id}"));
        found.url = Some(format!("{vcs}+{url}{}", commit.unwrap_or_default()));
    } else {
        found.url = Some(url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_the_modules() {
        let record = "google/cloud/storage/__init__.py,sha256=x,1\ngoogle/cloud/storage/blob.py,,\nsix.py,,\n\
            _cffi.cpython-311-x86_64-linux-gnu.so,,\n../../bin/tool,,\nx-1.0.dist-info/METADATA,,\n\
            ns/part.py,,\n__pycache__/six.pyc,,\nyaml/__init__.py,,\nyaml/sub/__init__.py,,\n";
        assert_eq!(
            recorded(record),
            ["_cffi", "google.cloud.storage", "ns.part", "six", "yaml"]
        );
    }

    #[test]
    fn metadata_needs_a_name_and_a_version() {
        let text = "Metadata-Version: 2.1\nName: torch\nVersion: 2.1.0+cu121\nRequires-Dist: numpy (>=1)\n\nName: no\n";
        let found = metadata(text).unwrap();
        assert_eq!(
            (&found.name[..], &found.version[..]),
            ("torch", "2.1.0+cu121")
        );
        assert_eq!(found.requires, ["numpy (>=1)"]);
        assert!(metadata("Name: x\n").is_none() && metadata("Name: ../x\nVersion: 1\n").is_none());
    }

    #[test]
    fn direct_urls_are_kept() {
        let mut found = Installed::default();
        direct_url(
            &mut found,
            r#"{"url": "https://h/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}"#,
        );
        assert_eq!(found.url.as_deref(), Some("git+https://h/x.git@abc"));
        direct_url(
            &mut found,
            r#"{"url": "file:///p%20q", "dir_info": {"editable": true}}"#,
        );
        assert_eq!(found.editable.as_deref(), Some("/p q"));
    }
}
