//! Which servers the person has agreed to, outside every repository.
//!
//! A commit can name any server. It is contacted only when the person has agreed to it for this repository: the
//! server's name, where it is, and the git host that it would fetch from.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Result};
use crate::model::config::Server;

/// One agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Agreement {
    /// The repository's git folder, as its canonical path.
    pub repository: String,
    /// The server's name in `agile.toml`.
    pub server: String,
    /// Where it is.
    pub host: String,
    /// The host that it fetches from, `local` for a folder.
    pub git_host: String,
}

/// Whether the person has agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// To exactly this.
    Agreed,
    /// To nothing of that name.
    New,
    /// To something else of that name.
    Changed(Agreement),
}

/// All agreements of this person.
#[derive(Debug)]
pub struct Agreements {
    file: PathBuf,
    entries: Vec<Agreement>,
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    agreed: Vec<Agreement>,
}

impl Agreements {
    /// Reads them from `$XDG_STATE_HOME/git-agile/trust.toml` (`~/.local/state` without that variable); none when
    /// there is no such file.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when the file cannot be read: then nobody is trusted.
    pub fn load() -> Result<Self> {
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let state =
            absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        let dir = state.ok_or_else(|| {
            Error::config("there is no HOME, so no place to keep trust in").hint("export HOME")
        })?;
        Self::load_from(dir.join("git-agile/trust.toml"))
    }

    fn load_from(file: PathBuf) -> Result<Self> {
        let cannot = || format!("cannot read {}", file.display());
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::config(cannot()).cause(error)),
        };
        let document: Document = toml::from_str(&text).or_config(cannot)?;
        Ok(Agreements {
            file,
            entries: document.agreed,
        })
    }

    /// Whether the person has agreed to `wanted`.
    pub fn check(&self, wanted: &Agreement) -> Trust {
        let same = |entry: &&Agreement| {
            entry.repository == wanted.repository && entry.server == wanted.server
        };
        match self.entries.iter().find(same) {
            Some(entry) if entry == wanted => Trust::Agreed,
            Some(entry) => Trust::Changed(entry.clone()),
            None => Trust::New,
        }
    }

    /// Those for `repository`.
    pub fn of<'a>(&'a self, repository: &'a str) -> impl Iterator<Item = &'a Agreement> {
        self.entries
            .iter()
            .filter(move |entry| entry.repository == repository)
    }

    /// Adds `agreement` in place of an earlier one about the same server.
    pub fn agree(&mut self, agreement: Agreement) {
        self.revoke(&agreement.repository, &agreement.server);
        self.entries.push(agreement);
    }

    /// Takes an agreement back; gives whether there was one.
    pub fn revoke(&mut self, repository: &str, server: &str) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|entry| entry.repository != repository || entry.server != server);
        self.entries.len() != before
    }

    /// Writes them all, the new file in place of the old one at once.
    ///
    /// # Errors
    /// [`Kind::Step`](crate::error::Kind::Step) when that fails; the old file is untouched then.
    pub fn save(&self) -> Result<()> {
        let cannot = || format!("cannot write {}", self.file.display());
        let dir = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir).or_step(cannot)?;
        let document = Document {
            agreed: self.entries.clone(),
        };
        let text = format!(
            "# Servers that git-agile may contact, by repository. See git agile trust --list.\n{}",
            toml::to_string(&document).or_step(cannot)?
        );
        let mut file = tempfile::NamedTempFile::new_in(dir).or_step(cannot)?;
        file.write_all(text.as_bytes()).or_step(cannot)?;
        file.as_file().sync_all().or_step(cannot)?;
        file.persist(&self.file).or_step(cannot)?;
        Ok(())
    }
}

impl Agreement {
    /// What using `server` for the repository in the folder `repository` needs, when servers fetch from `git_host`.
    pub fn for_server(repository: &Path, server: &Server, git_host: &str) -> Self {
        let path = repository
            .canonicalize()
            .unwrap_or_else(|_| repository.to_path_buf());
        Agreement {
            repository: path.to_string_lossy().into_owned(),
            server: server.name.to_string(),
            host: server.host.to_string(),
            git_host: git_host.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_server_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/trust.toml");
        let agreement = |host: &str| Agreement {
            repository: "/p/.git".into(),
            server: "box".into(),
            host: host.into(),
            git_host: "local".into(),
        };
        let mut all = Agreements::load_from(file.clone()).unwrap();
        assert_eq!(all.check(&agreement("h1")), Trust::New);
        all.agree(agreement("h1"));
        all.save().unwrap();
        let mut all = Agreements::load_from(file.clone()).unwrap();
        assert_eq!(all.check(&agreement("h1")), Trust::Agreed);
        assert_eq!(all.check(&agreement("h2")), Trust::Changed(agreement("h1")));
        assert_eq!(
            all.check(&Agreement {
                git_host: "evil".into(),
                ..agreement("h1")
            }),
            Trust::Changed(agreement("h1"))
        );
        assert!(all.revoke("/p/.git", "box"));
        assert_eq!(all.check(&agreement("h1")), Trust::New);
        fs::write(&file, "agreed = 1").unwrap();
        assert!(Agreements::load_from(file).is_err());
    }
}
