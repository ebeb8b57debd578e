//! The bundled tables: tab-separated text, sorted by its first column, searched where it lies in the binary.
//!
//! Nothing is parsed when the program starts. `script/requirements-tables` builds the generated ones; each file
//! states its sources and their licences.

use super::name::normal;

const CURATED: &str = include_str!("tables/curated.tsv");
const MODULES: &str = include_str!("tables/modules.tsv");
const TRAPS: &str = include_str!("tables/traps.tsv");
const COMPANIONS: &str = include_str!("tables/companions.tsv");
const STDLIB: &str = include_str!("tables/stdlib.tsv");

/// The row of `table` whose first column is `key`.
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

/// The distributions that provide the import name `module` (dotted or not), best first; empty when no table
/// knows one.
pub fn providers(module: &str) -> Vec<&'static str> {
    if find(TRAPS, module).is_some() {
        return Vec::new();
    }
    find(CURATED, module)
        .or_else(|| find(MODULES, module))
        .map(|row| row.split('|').collect())
        .unwrap_or_default()
}

/// Whether a table knows a module of the distribution whose normal name is `name`.
pub fn is_provider(name: &str) -> bool {
    let rows = [CURATED, MODULES].into_iter().flat_map(str::lines);
    rows.filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .flat_map(|(_, names)| names.split('|'))
        .any(|other| other.len() == name.len() && normal(other) == name)
}

/// Why the import name `module` is never resolved by a table.
pub fn trap(module: &str) -> Option<&'static str> {
    find(TRAPS, module)
}

/// The calls that load a distribution by name at run time, and that distribution.
pub fn companions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = COMPANIONS.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split_once('\t'))
}

/// The versions of Python, as written in the table (`3.8-3.14`, or `old`), whose standard library has the
/// top-level module `module`.
pub fn standard_library(module: &str) -> Option<&'static str> {
    find(STDLIB, module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_and_the_tables_are_sorted() {
        for table in [CURATED, MODULES, TRAPS, STDLIB, COMPANIONS] {
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
                assert_eq!(find(table, key), row.split_once('\t').map(|(_, rest)| rest));
            }
            assert_eq!(find(table, "no_such_module_zq"), None);
        }
    }

    #[test]
    fn known_names_are_right() {
        assert_eq!(providers("cv2")[0], "opencv-python");
        assert_eq!(providers("yaml"), ["PyYAML"]);
        assert!(providers("clip").is_empty() && trap("clip").is_some());
        assert_eq!(standard_library("tomllib"), Some("3.11-3.14"));
        assert_eq!(standard_library("urllib2"), Some("old"));
        assert_eq!(standard_library("numpy"), None);
    }
}
