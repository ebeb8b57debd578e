//! The keys of `agile.toml`, with the documentation that stands at their definitions.

use documented::DocumentedFields;

use super::markup::{literal, uncapitalised};
use crate::model::config::{
    Distribution, Environment, Launch, Launcher, Manager, Push, Random, RawData, RawExperiment,
    RawServer, Source, Stop,
};
use crate::requirements::{Hook, Optional, Pin, Settings};

/// All keys, as a part of a page: a subsection for each table.
pub fn keys() -> String {
    [
        table::<Settings>("[requirements]")
            .words::<Pin>("pin")
            .words::<Hook>("hook")
            .words::<Optional>("optional"),
        table::<Environment>("[environment]").words::<Manager>("manager"),
        table::<RawServer>("[servers.NAME]")
            .words::<Source>("source")
            .words::<Launcher>("launcher"),
        table::<RawData>("[data.NAME]"),
        table::<RawExperiment>("[experiments.NAME]")
            .table::<Random>("random")
            .words::<Distribution>("random.PARAMETER")
            .table::<Stop>("stop"),
        table::<Push>("[push]").words::<Launch>("launch"),
    ]
    .map(|table| table.page())
    .join("\n")
}

/// A table of `agile.toml`, or the words that a key takes.
struct Table {
    /// As it is written, such as `[servers.NAME]`.
    title: &'static str,
    /// Each key with its documentation, and behind it what belongs to it.
    keys: Vec<(String, String)>,
}

fn table<T: DocumentedFields>(title: &'static str) -> Table {
    Table {
        title,
        keys: documented::<T>().collect(),
    }
}

/// Each key or word of a type with its documentation.
fn documented<T: DocumentedFields>() -> impl Iterator<Item = (String, String)> {
    T::FIELD_NAMES
        .iter()
        .zip(T::FIELD_DOCS)
        .map(|(name, docs)| (name.to_string(), literal(&docs.replace('\n', " "))))
}

impl Table {
    /// Behind `key` and its own keys come those of the inline table that it takes.
    fn table<T: DocumentedFields>(mut self, key: &str) -> Self {
        let inner = documented::<T>().map(|(name, docs)| (format!("{key}.{name}"), docs));
        let at = self.place(key);
        self.keys.splice(at..at, inner);
        self
    }

    /// The documentation of `key` goes on with the words that it takes.
    fn words<T: DocumentedFields>(mut self, key: &str) -> Self {
        let words: Vec<_> = documented::<T>()
            .map(|(word, docs)| format!("`{word}` ({})", uncapitalised(docs.trim_end_matches('.'))))
            .collect();
        let words = format!("{}.", words.join(", "));
        match self.keys.iter_mut().find(|(name, _)| name == key) {
            Some((_, docs)) => *docs = format!("{docs} {words}"),
            None => {
                let at = self.place(key);
                self.keys.insert(at, (key.to_string(), words));
            }
        }
        self
    }

    /// Where what belongs to `key` comes.
    fn place(&self, key: &str) -> usize {
        let first = key.split('.').next().unwrap_or(key);
        let belongs = |name: &str| name == first || name.starts_with(&format!("{first}."));
        let last = self.keys.iter().rposition(|(name, _)| belongs(name));
        last.map_or(self.keys.len(), |at| at + 1)
    }

    fn page(&self) -> String {
        let mut page = format!("## {}\n", self.title);
        for (key, docs) in &self.keys {
            page += &format!("\n`{key}`\n: {docs}\n");
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_where_a_person_looks_for_it() {
        let keys = keys();
        let place = |text: &str| {
            keys.find(text)
                .unwrap_or_else(|| panic!("no {text} in {keys}"))
        };
        let order = [
            "`pin`\n: How a version is written. `exact` (",
            "## [servers.NAME]",
            "`random`\n",
            "`random.n`\n",
            "`random.PARAMETER`\n: How each parameter is distributed. `uniform` (",
            "`set`\n",
            "`stop.patience`\n",
            "## [push]",
        ];
        assert!(order.map(place).is_sorted());
    }
}
