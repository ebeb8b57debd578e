//! The bundled tables: tab-separated text, sorted by its first column, searched where it lies in the binary.
//!
//! Nothing is parsed when the program starts; the large ones are packed until a name is looked for there.
//! `script/requirements-tables` builds the generated ones; each file states its sources and their licences.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use super::name::{is_normal, normal};
use crate::model::packed::unpacked;

const TRAPS: &str = include_str!("tables/traps.tsv");
const COMPANIONS: &str = include_str!("tables/companions.tsv");

/// A table that `build.rs` packs.
macro_rules! packed {
    ($name:literal) => {
        LazyLock::new(|| unpacked(include_bytes!(concat!(env!("OUT_DIR"), "/", $name))))
    };
}

static CURATED: LazyLock<String> = packed!("curated.tsv");
static MODULES: LazyLock<String> = packed!("modules.tsv");
static STDLIB: LazyLock<String> = packed!("stdlib.tsv");

/// What `table` says of `key`, its first column; empty when that is its only one.
fn find<'t>(table: &'t str, key: &str) -> Option<&'t str> {
    let bytes = table.as_bytes();
    let (mut low, mut high) = (0, bytes.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = bytes[..middle]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let end = bytes[middle..]
            .iter()
            .position(|b| *b == b'\n')
            .map_or(bytes.len(), |at| middle + at);
        let line = &table[start..end];
        let (found, rest) = line.split_once('\t').unwrap_or((line, ""));
        match (line.starts_with('#'), found.cmp(key)) {
            // `#` sorts before every name, so the header lies in front of all rows.
            (true, _) | (_, std::cmp::Ordering::Less) => low = end + 1,
            (_, std::cmp::Ordering::Greater) => high = start,
            (_, std::cmp::Ordering::Equal) => return Some(rest),
        }
    }
    None
}

/// What the tables say of an import name.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Why no table resolves it.
    pub trap: Option<&'static str>,
    /// The distributions that provide it, best first; empty when no table knows one.
    pub providers: Vec<Cow<'static, str>>,
    /// They are different projects, none of them more likely than another: the names begin with `|`.
    pub ambiguous: bool,
}

/// What the tables say of the import name `module`, dotted or not.
pub fn row(module: &str) -> Row {
    let trap = find(TRAPS, module);
    let known = match trap {
        Some(_) => None,
        None => find(&CURATED, module).or_else(|| find(&MODULES, module)),
    };
    let providers = known.map(|names| distributions(module, names).collect());
    Row {
        trap,
        providers: providers.unwrap_or_default(),
        ambiguous: known.is_some_and(|names| names.starts_with('|')),
    }
}

/// The distributions of a row: those it names, else that of the module's own name.
fn distributions<'n>(module: &str, names: &'n str) -> impl Iterator<Item = Cow<'n, str>> {
    let own = names
        .is_empty()
        .then(|| Cow::Owned(module.replace(['_', '.'], "-")));
    let named = names.split('|').filter(|name| !name.is_empty());
    own.into_iter().chain(named.map(Cow::Borrowed))
}

/// Whether a table knows a module of the distribution whose normal name is `name`.
pub fn is_provider(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<Cow<'static, str>>> = LazyLock::new(|| {
        let rows = [CURATED.as_str(), MODULES.as_str()]
            .into_iter()
            .flat_map(str::lines);
        rows.filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once('\t').unwrap_or((line, "")))
            .flat_map(|(module, names)| distributions(module, names))
            .map(|name| match is_normal(&name) {
                true => name,
                false => normal(&name).into(),
            })
            .collect()
    });
    NAMES.contains(name)
}

/// The calls that load a distribution by name at run time, and that distribution.
pub fn companions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = COMPANIONS.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split_once('\t'))
}

/// The versions of Python, as written in the table (`3.8-3.14`, or `old`), whose standard library has the
/// top-level module `module`.
pub fn standard_library(module: &str) -> Option<&'static str> {
    find(&STDLIB, module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_and_the_tables_are_sorted() {
        for table in [
            CURATED.as_str(),
            MODULES.as_str(),
            TRAPS,
            &STDLIB,
            COMPANIONS,
        ] {
            let rows = || table.lines().filter(|line| !line.starts_with('#'));
            let keys: Vec<_> = rows()
                .map(|line| line.split('\t').next().unwrap())
                .collect();
            assert!(
                keys.windows(2).all(|pair| pair[0] < pair[1]),
                "{:?}",
                keys.windows(2).find(|p| p[0] >= p[1])
            );
            for (key, row) in keys.iter().zip(rows()) {
                let rest = row.split_once('\t').map_or("", |(_, rest)| rest);
                assert_eq!(find(table, key), Some(rest));
            }
            assert_eq!(find(table, "no_such_module_zq"), None);
        }
    }

    #[test]
    fn known_names_are_right() {
        assert_eq!(row("cv2").providers[0], "opencv-python");
        assert_eq!(row("yaml").providers, ["PyYAML"]);
        assert_eq!(row("requests").providers, ["requests"]);
        assert_eq!(
            row("google.cloud.bigtable").providers,
            ["google-cloud-bigtable"]
        );
        assert!(is_provider("google-cloud-bigtable") && !is_provider("no-such-module-zq"));
        assert!(row("clip").providers.is_empty() && row("clip").trap.is_some());
        assert_eq!(standard_library("tomllib"), Some("3.11-3.14"));
        assert_eq!(standard_library("urllib2"), Some("old"));
        assert_eq!(standard_library("numpy"), None);
    }
}
