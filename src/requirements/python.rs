//! The versions of Python that a project may run on, and which modules are in their standard library.

use std::str::FromStr as _;

use pep440_rs::{Version, VersionSpecifiers};

use super::tables;

/// The minor versions that the table of the standard library knows: 3.8 to 3.14.
const KNOWN: std::ops::RangeInclusive<u64> = 8..=14;

/// Modules that were distributions of their own before 3.7.
const BACKPORTS: [&str; 2] = ["contextvars", "dataclasses"];

/// Modules that only another interpreter than CPython has (PyPy, Pyodide, Jython), or only type checkers.
const HOSTED: [&str; 7] = [
    "__pypy__",
    "_typeshed",
    "com",
    "java",
    "js",
    "pyodide",
    "pyodide_js",
];

/// Minor versions of Python 3, never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pythons(Vec<u64>);

impl Default for Pythons {
    fn default() -> Self {
        Pythons(KNOWN.collect())
    }
}

impl Pythons {
    /// The one of `text` (`3.11`, `3.11.7`, `cpython-3.11`); nothing when that is no version of Python 3. A version
    /// that the table does not know is looked up as the nearest that it does.
    pub fn exactly(text: &str) -> Option<Self> {
        let number = text
            .trim()
            .trim_start_matches(|c: char| !c.is_ascii_digit());
        let mut parts = number.split('.');
        let major = parts.next()?;
        let minor: String = parts
            .next()?
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let minor: u64 = minor.parse().ok()?;
        (major == "3").then(|| Pythons(vec![minor]))
    }

    /// Those that `requires-python` allows; nothing when it cannot be read or allows none that is known.
    pub fn allowed(specifiers: &str) -> Option<Self> {
        let wanted = VersionSpecifiers::from_str(specifiers).ok()?;
        // `>3.8` allows 3.8.1, and `>=3.8.1` too: the last release of a series decides.
        let fits = |minor: &u64| {
            wanted.contains(&Version::new([3, *minor, 99]))
                || wanted.contains(&Version::new([3, *minor]))
        };
        let found: Vec<u64> = KNOWN.filter(fits).collect();
        (!found.is_empty()).then_some(Pythons(found))
    }

    /// Whether one of them has the top-level module `module` in its standard library; otherwise why not. Nothing for
    /// a module that none ever had.
    pub fn standard_library(&self, module: &str) -> Option<Result<(), String>> {
        if HOSTED.contains(&module) {
            return Some(Ok(()));
        }
        if BACKPORTS.contains(&module) && self.0.iter().all(|minor| *minor < 7) {
            return None;
        }
        let span = tables::standard_library(module)?;
        // A module of Python 2 alone: what imports it is old code, and nothing that can be installed is meant.
        let Some((first, last)) = range(span) else {
            return Some(Ok(()));
        };
        let nearest = |minor: &u64| (*minor).clamp(*KNOWN.start(), *KNOWN.end());
        let mut known = self.0.iter().map(nearest);
        if known.any(|minor| (first..=last).contains(&minor)) {
            return Some(Ok(()));
        }
        let least = self.0.first().map(nearest).unwrap_or_default();
        Some(Err(if least > last {
            format!("Python 3.{last} was the last with it in its standard library")
        } else {
            format!("Python 3.{first} is the first with it in its standard library")
        }))
    }
}

/// The minor versions of `3.8-3.14`.
fn range(span: &str) -> Option<(u64, u64)> {
    let minor = |text: &str| text.strip_prefix("3.")?.parse().ok();
    let (first, last) = span.split_once('-')?;
    Some((minor(first)?, minor(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_decides() {
        let one = |text: &str| Pythons::exactly(text).unwrap();
        let has = |pythons: &Pythons, module: &str| {
            pythons.standard_library(module).map(|found| found.is_ok())
        };
        for (version, module, expected) in [
            ("3.11", "distutils", true),
            ("3.12.1", "distutils", false),
            ("3.12", "imp", false),
            ("3.12", "asyncore", false),
            ("3.10", "tomllib", false),
            ("cpython-3.11", "tomllib", true),
            ("3.8", "zoneinfo", false),
            ("3.9", "zoneinfo", true),
            ("3.12", "cgi", true),
            ("3.13", "cgi", false),
            ("3.13", "urllib2", true),
            ("3.20", "json", true),
            ("3.14", "annotationlib", true),
            ("3.13", "annotationlib", false),
        ] {
            assert_eq!(
                has(&one(version), module),
                Some(expected),
                "{version} {module}"
            );
        }
        assert_eq!(has(&one("3.6"), "dataclasses"), None);
        assert_eq!(has(&one("3.7"), "dataclasses"), Some(true));
        assert_eq!(has(&Pythons::default(), "tomllib"), Some(true));
        assert_eq!(has(&Pythons::default(), "numpy"), None);
        assert_eq!(Pythons::allowed(">=3.12"), Some(Pythons(vec![12, 13, 14])));
        assert_eq!(Pythons::allowed(">3.8,<3.10"), Some(Pythons(vec![8, 9])));
        assert_eq!(Pythons::allowed("~=3.9.1"), Some(Pythons(vec![9])));
        assert_eq!(Pythons::allowed("<3"), None);
        assert_eq!(
            (Pythons::exactly("2.7"), Pythons::exactly("pypy")),
            (None, None)
        );
    }
}
