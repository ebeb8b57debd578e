//! Names of results: relative, byte-exact, and never a way out of the folder or into git.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::terminal::clean_bytes;

/// The longest path in bytes, below Linux's PATH_MAX: a longer one could be written name by name, and then be named by no
/// program that a person has.
const LONGEST: usize = 4095;
/// The longest name in bytes that the usual file systems take (NAME_MAX).
const LONGEST_NAME: usize = 255;
/// Names with this beginning are ours while a file arrives.
const OURS: &[u8] = b".agile-";

/// A path below a run's results: one or more names with `/` between them. There is no empty name, `.`, `..`, NUL,
/// name of git's folder, or name of a file under way; other bytes are kept as they are. A copy shares them: there may be
/// hundreds of thousands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultPath(Arc<[u8]>);

/// Why bytes are no [`ResultPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// Empty, absolute, or with an empty name, `.`, `..` or NUL in it.
    Outside,
    /// A part of it is `.git`, or a name that some file system takes for `.git`.
    Git,
    /// Longer than file systems allow.
    Long,
    /// A name that git-agile uses itself while files arrive.
    Ours,
}

impl ResultPath {
    /// Checks a path that a server sent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BadPath> {
        let bytes = bytes.into();
        if bytes.len() > LONGEST {
            return Err(BadPath::Long);
        }
        for name in bytes.split(|&b| b == b'/') {
            check_name(name)?;
        }
        Ok(ResultPath(bytes.into()))
    }

    /// The path as it is.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for the file system, relative to the run's folder.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The folder's path (empty at the top) and the last name.
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (b"", &self.0),
        }
    }

    /// Every folder above it, the nearest last, without the top.
    pub fn folders(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.0.len())
            .filter(|&i| self.0[i] == b'/')
            .map(|i| &self.0[..i])
    }

    /// Where a newer version goes when a person edited the file: the same name with `.from-server`.
    ///
    /// # Errors
    /// [`BadPath::Long`] where the name has no room for it.
    pub fn beside(&self) -> Result<Self, BadPath> {
        Self::new([self.as_bytes(), b".from-server"].concat())
    }

    /// One key for all names that a file system without case takes for the same.
    pub fn folded(&self) -> Vec<u8> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => text.to_lowercase().into_bytes(),
            Err(_) => self.0.to_ascii_lowercase(),
        }
    }
}

/// In the same order as its bytes.
impl Borrow<[u8]> for ResultPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ResultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResultPath({self})")
    }
}

/// Cleaned for a person to read.
impl fmt::Display for ResultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clean_bytes(&self.0))
    }
}

fn check_name(name: &[u8]) -> Result<(), BadPath> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&0) {
        return Err(BadPath::Outside);
    }
    if name.len() > LONGEST_NAME {
        return Err(BadPath::Long);
    }
    if name.starts_with(OURS) {
        return Err(BadPath::Ours);
    }
    // NTFS takes a backslash for a separator: `a\.git` must not become a repository there.
    if name.split(|&b| b == b'\\').any(is_git) {
        return Err(BadPath::Git);
    }
    Ok(())
}

/// Whether a file system may take `name` for `.git`: case is ignored, and so are trailing spaces and dots and a
/// stream name (NTFS), its short name `git~1`, and invisible characters (HFS+). The rules are those of
/// `is_ntfs_dotgit` and `is_hfs_dotgit` in git's path.c and utf8.c.
fn is_git(name: &[u8]) -> bool {
    let stem = name.split(|&b| b == b':').next().unwrap_or(name);
    let end = stem
        .iter()
        .rposition(|&b| b != b' ' && b != b'.')
        .map_or(0, |last| last + 1);
    let ntfs = &stem[..end];
    if ntfs.eq_ignore_ascii_case(b".git") || ntfs.eq_ignore_ascii_case(b"git~1") {
        return true;
    }
    std::str::from_utf8(name).is_ok_and(|text| {
        let seen = text.chars().filter(|c| !is_ignored_by_hfs(*c));
        seen.flat_map(char::to_lowercase).eq(".git".chars())
    })
}

fn is_ignored_by_hfs(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_lead_away_or_into_git_are_refused() {
        for path in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "a//b",
            "a/",
            ".",
            "./a",
            "a/./b",
            "a\0b",
        ] {
            assert_eq!(ResultPath::new(path), Err(BadPath::Outside), "{path:?}");
        }
        for path in [
            ".git",
            "a/.GIT/config",
            ".Git",
            ".git ",
            ".git.",
            ".git . .",
            "git~1",
            "GIT~1/x",
            ".git::$INDEX_ALLOCATION",
            "a\\.git",
            ".g\u{200c}it",
            ".git:x",
        ] {
            assert_eq!(ResultPath::new(path), Err(BadPath::Git), "{path:?}");
        }
        assert_eq!(ResultPath::new("x".repeat(256)), Err(BadPath::Long));
        assert_eq!(ResultPath::new("x/".repeat(3000) + "x"), Err(BadPath::Long));
        assert_eq!(ResultPath::new("a/.agile-1.part"), Err(BadPath::Ours));
    }

    #[test]
    fn odd_names_are_kept() {
        for path in [
            &b"a\nb"[..],
            b"\x1b]0;x\x07",
            b"\xff\xfe",
            b".gitignore",
            b"...",
            b".. ",
            b"a/.github/x",
            b"~",
            b"-rf",
            b"C:x",
        ] {
            assert_eq!(
                ResultPath::new(path).map(|p| p.as_bytes().to_vec()),
                Ok(path.to_vec())
            );
        }
        assert!(ResultPath::new("x".repeat(255)).is_ok());
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_below(bytes in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), Just(b'a'), any::<u8>()], 0..20)) {
            if let Ok(path) = ResultPath::new(bytes) {
                let parts: Vec<_> = path.as_path().components().collect();
                prop_assert!(parts.iter().all(|p| matches!(p, std::path::Component::Normal(_))));
                prop_assert_eq!(parts.len(), path.folders().count() + 1);
            }
        }
    }
}
