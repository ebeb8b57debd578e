//! The files of a commit, wherever they are read from.

use crate::error::Result;

/// The files of a commit.
pub trait Tree {
    /// The bytes of the file at `path`, or nothing when there is none.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when it is no plain file or cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// What the folder at `path` holds (`.` is the root), nothing when there is none.
    ///
    /// # Errors
    /// As [`Tree::read`].
    fn list(&self, path: &str) -> Result<Vec<Entry>>;
}

/// Something in a folder of a commit.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its object id, which tells contents apart.
    pub id: String,
    /// Whether it is a folder.
    pub is_folder: bool,
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A commit of these files.
    pub struct Commit<'a>(pub &'a [(&'a str, &'a str)]);

    impl Tree for Commit<'_> {
        fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
            let found = self.0.iter().find(|(name, _)| *name == path);
            Ok(found.map(|(_, content)| content.as_bytes().to_vec()))
        }

        fn list(&self, path: &str) -> Result<Vec<Entry>> {
            let inside = |name: &&str| match path {
                "." => Some(name.to_string()),
                path => Some(name.strip_prefix(path)?.strip_prefix('/')?.to_string()),
            };
            let mut entries: Vec<Entry> = Vec::new();
            for (name, content) in self.0 {
                let Some(name) = inside(name) else { continue };
                let (first, rest) = name.split_once('/').unwrap_or((&name, ""));
                match entries.iter_mut().find(|entry| entry.name == first) {
                    Some(entry) => entry.id.push_str(content),
                    None => entries.push(Entry {
                        name: first.to_string(),
                        id: content.to_string(),
                        is_folder: !rest.is_empty(),
                    }),
                }
            }
            Ok(entries)
        }
    }
}
