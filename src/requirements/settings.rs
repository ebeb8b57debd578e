//! What a project may set in the `[requirements]` table of `agile.toml`.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use documented::DocumentedFields;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// The `[requirements]` table; every key may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The file that is kept up to date, relative to the top of the repository; its name ends with `.txt` or `.in`.
    #[serde(deserialize_with = "file")]
    pub file: String,
    /// A file of its own for what only tests and documentation import; without one they are not listed.
    #[serde(deserialize_with = "dev_file")]
    pub dev_file: Option<String>,
    /// Files that do not count, in gitignore syntax.
    pub exclude: Vec<String>,
    /// Files that are test or documentation code beside those that are by their names, in gitignore syntax; `!`
    /// takes out.
    pub development: Vec<String>,
    /// How a version is written.
    pub pin: Pin,
    /// What the pre-commit hook does.
    pub hook: Hook,
    /// Which guarded imports are listed.
    pub optional: Optional,
    /// Distributions that are needed though nothing imports them.
    #[serde(deserialize_with = "distributions")]
    pub keep: Vec<String>,
    /// Import names that need no distribution.
    pub ignore: Vec<String>,
    /// Import name (dotted or not) to the distribution that provides it.
    #[serde(deserialize_with = "mapping")]
    pub map: BTreeMap<String, String>,
}

/// How the version of a requirement is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(rename_all = "kebab-case")]
#[documented_fields(rename_all = "kebab-case")]
pub enum Pin {
    /// `==`: what is installed here.
    #[default]
    Exact,
    /// `~=`: the same release series.
    Compatible,
    /// `>=`: what is installed here, or later.
    Minimum,
    /// No version.
    None,
}

/// What the pre-commit hook does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(rename_all = "kebab-case")]
#[documented_fields(rename_all = "kebab-case")]
pub enum Hook {
    /// Bring the file up to date and add it to the commit.
    #[default]
    Fix,
    /// Refuse a commit whose file is not up to date.
    Check,
    /// Nothing.
    Off,
}

/// Which guarded imports (`try … except ImportError` and the like) are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(rename_all = "kebab-case")]
#[documented_fields(rename_all = "kebab-case")]
pub enum Optional {
    /// Those that are installed here, or declared already.
    #[default]
    Installed,
    /// Every one.
    All,
    /// None, unless declared already.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            file: "requirements.txt".into(),
            dev_file: None,
            exclude: Vec::new(),
            development: Vec::new(),
            pin: Pin::default(),
            hook: Hook::default(),
            optional: Optional::default(),
            keep: Vec::new(),
            ignore: Vec::new(),
            map: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads the `[requirements]` table of the text of an `agile.toml`, whatever its other tables hold.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) with `agile.toml:LINE:` when the text is not TOML or the table
    /// has an unknown key or a value that does not fit.
    pub fn from_agile_toml(text: &str) -> Result<Settings> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            requirements: Settings,
        }
        let wrong = |at: usize, message: &str| {
            let line = 1 + count_lines(text, at);
            Error::config(format!("agile.toml:{line}: {message}"))
                .hint("mend agile.toml, or commit with --no-verify")
        };
        let file = toml::from_str::<File>(text).map_err(|error| {
            let message = error.message().lines().next().unwrap_or_default();
            wrong(error.span().map_or(0, |span| span.start), message)
        })?;
        let settings = file.requirements;
        // As paths: `a//b` is `a/b`.
        let both = settings.dev_file.as_ref().map(Path::new);
        if both == Some(Path::new(&settings.file)) {
            let at = text.find("dev_file").unwrap_or(0);
            return Err(wrong(
                at,
                "`dev_file` and `file` name the same file: give each a file of its own",
            ));
        }
        Ok(settings)
    }
}

/// The `python` of the `[environment]` table of the text of an `agile.toml`.
pub fn environment_python(text: &str) -> Option<String> {
    let table = text.parse::<toml::Table>().ok()?;
    let python = table.get("environment")?.get("python")?;
    python.as_str().map(str::to_string)
}

fn count_lines(text: &str, end: usize) -> usize {
    let end = end.min(text.len());
    text.as_bytes()[..end]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

/// Whether `path` names a file below the top of the repository by plain components.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.ends_with('/')
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && Path::new(path).components().all(|part| match part {
            Component::Normal(name) => !name.eq_ignore_ascii_case(".git"),
            _ => false,
        })
}

/// A list of requirements, and no other file that would be written over.
fn checked<E: serde::de::Error>(key: &str, path: String) -> Result<String, E> {
    let wrong = if !is_inside(&path) {
        "must be a relative path inside the repository"
    } else if !path.ends_with(".txt") && !path.ends_with(".in") {
        "must name a list of requirements, which ends with .txt or .in"
    } else {
        return Ok(path);
    };
    Err(E::custom(format!("`{key}` {wrong}, and `{path}` does not")))
}

fn file<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    String::deserialize(value).and_then(|path| checked("file", path))
}

fn dev_file<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(value)?
        .map(|path| checked("dev_file", path))
        .transpose()
}

fn named<E: serde::de::Error>(name: String) -> Result<String, E> {
    if super::name::is_valid(&name) {
        Ok(name)
    } else {
        Err(E::custom(format!("`{name}` is not a distribution name")))
    }
}

fn distributions<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    Vec::<String>::deserialize(value)?
        .into_iter()
        .map(named)
        .collect()
}

fn mapping<'de, D: Deserializer<'de>>(value: D) -> Result<BTreeMap<String, String>, D::Error> {
    BTreeMap::<String, String>::deserialize(value)?
        .into_iter()
        .map(|(import, name)| Ok((import, named(name)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_table_is_read() {
        let text = r#"
            [requirements]
            file = "deploy/requirements.txt"
            dev_file = "requirements-dev.txt"
            exclude = ["docs/"]
            development = ["bench/"]
            pin = "compatible"
            hook = "check"
            optional = "all"
            keep = ["gunicorn"]
            ignore = ["some_plugin"]
            map = { cv2 = "opencv-python-headless" }
            [servers.gpu1]
            anything = { goes = true }
        "#;
        let settings = Settings::from_agile_toml(text).unwrap();
        assert_eq!(settings.file, "deploy/requirements.txt");
        assert_eq!(settings.pin, Pin::Compatible);
        assert_eq!(settings.hook, Hook::Check);
        assert_eq!(settings.optional, Optional::All);
        assert_eq!(settings.map["cv2"], "opencv-python-headless");
    }

    #[test]
    fn mistakes_name_the_line() {
        for (text, said) in [
            ("[requirements]\nfile = \"../x.txt\"\n", "agile.toml:2: "),
            ("[requirements]\n\nsever = 1\n", "agile.toml:3: "),
            ("[requirements]\nkeep = [\"-e .\"]\n", "agile.toml:2: "),
            ("[requirements]\nfile = \".git/config\"\n", "agile.toml:2: "),
            ("[requirements\n", "agile.toml:1: "),
            (
                "[requirements]\nfile = \"environment.yml\"\n",
                "agile.toml:2: `file` must name a list of requirements, which ends with .txt or .in, and",
            ),
            (
                "[requirements]\ndev_file = \"a.py\"\n",
                "agile.toml:2: `dev_file` must name a list",
            ),
            ("[requirements]\nfile = \"setup.cfg\"\n", "agile.toml:2: "),
            ("[requirements]\nfile = \"Pipfile\"\n", "agile.toml:2: "),
            ("[requirements]\nfile = \"agile.toml\"\n", "agile.toml:2: "),
            (
                "[requirements]\nfile = \"a/b.txt\"\ndev_file = \"a//b.txt\"\n",
                "agile.toml:3: `dev_file` and `file` name the same file",
            ),
        ] {
            let error = Settings::from_agile_toml(text).unwrap_err();
            assert!(error.message.starts_with(said), "{text}: {error}");
        }
    }
}
