//! Hook managers: what looks after a repository's hooks, and what makes it run ours.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};

/// A hook manager, and the file that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    tool: Tool,
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// pre-commit, or prek with pre-commit's file.
    PreCommit,
    /// prek with a file of its own.
    Prek,
    Lefthook,
    Husky,
}

/// The files that each tool reads, the one to be written to first.
const FILES: [(Tool, &[&str]); 3] = [
    (Tool::Prek, &["prek.toml", ".prek.toml"]),
    (
        Tool::PreCommit,
        &[".pre-commit-config.yaml", ".pre-commit-config.yml"],
    ),
    (
        Tool::Lefthook,
        &[
            "lefthook.yml",
            "lefthook.yaml",
            ".lefthook.yml",
            ".lefthook.yaml",
            "lefthook.toml",
            ".lefthook.toml",
            "lefthook.json",
            ".lefthook.json",
            ".config/lefthook.yml",
        ],
    ),
];

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.tool {
            Tool::PreCommit => "pre-commit",
            Tool::Prek => "prek",
            Tool::Lefthook => "lefthook",
            Tool::Husky => "husky",
        })
    }
}

impl Manager {
    /// What looks after the hooks of the work tree `root`, where git looks for them in `hooks`.
    pub fn of(root: &Path, hooks: &Path) -> Option<Self> {
        // husky regenerates `.husky/_` and is configured by the files beside it; before version 9 it was `.husky` itself.
        let is_husky = |path: &Path| path.file_name().is_some_and(|name| name == ".husky");
        let husky = hooks.ancestors().take(2).find(|path| is_husky(path));
        if let Some(folder) = husky {
            return Some(Manager {
                tool: Tool::Husky,
                file: folder.join("pre-commit"),
            });
        }
        FILES.into_iter().find_map(|(tool, files)| {
            let file = files.iter().map(|file| root.join(file));
            let file = file.into_iter().find(|file| file.is_file())?;
            Some(Manager { tool, file })
        })
    }

    /// The file that it reads.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether its configuration names us.
    pub fn knows_us(&self) -> bool {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'));
        lines.any(|line| line.contains("git-agile") || line.contains("git agile"))
    }

    /// What to add to its configuration.
    pub fn recipe(&self) -> &'static str {
        match self.tool {
            Tool::PreCommit => PRE_COMMIT,
            Tool::Prek => PREK,
            Tool::Lefthook => LEFTHOOK,
            Tool::Husky => HUSKY,
        }
    }

    /// Adds the [recipe](Self::recipe) to its configuration.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when the file is written in a way in which no place for it is
    /// certain; [`Kind::Step`](crate::error::Kind::Step) when it cannot be written.
    pub fn add(&self) -> Result<()> {
        let shown = self.file.display();
        let before = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::step(format!("cannot read {shown}")).cause(error)),
        };
        let after = self.with_recipe(&before).ok_or_else(|| {
            Error::config(format!("cannot tell where in {shown} this belongs"))
                .hint("add by hand what git agile install shows")
        })?;
        let cannot = || format!("cannot write {shown}");
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let mode = fs::metadata(&self.file).map(|meta| meta.permissions());
        let file = tempfile::NamedTempFile::new_in(folder).or_step(cannot)?;
        fs::write(file.path(), after).or_step(cannot)?;
        let plain = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file()
            .set_permissions(mode.unwrap_or(plain))
            .or_step(cannot)?;
        file.as_file().sync_all().or_step(cannot)?;
        file.persist(&self.file).or_step(cannot)?;
        Ok(())
    }

    /// The text of its file with the recipe, where there is a place in which it must mean that.
    fn with_recipe(&self, text: &str) -> Option<String> {
        let extension = self.file.extension().and_then(|e| e.to_str());
        match self.tool {
            Tool::PreCommit => {
                // Before the first repository, as it is indented.
                let mut at = 0;
                let first = text.split_inclusive('\n').find(|line| {
                    let is_first = line.trim_start().starts_with("- repo:");
                    if !is_first {
                        at += line.len();
                    }
                    is_first
                })?;
                let indent = &first[..first.len() - first.trim_start().len()];
                let lines: String = PRE_COMMIT
                    .lines()
                    .map(|line| format!("{indent}{line}\n"))
                    .collect();
                Some(format!("{}{lines}{}", &text[..at], &text[at..]))
            }
            Tool::Prek => {
                let table: toml::Table = toml::from_str(text).ok()?;
                let inline = text.lines().any(|line| {
                    let key = line.split('=').next().unwrap_or_default().trim();
                    key == "repos"
                });
                (!inline || !table.contains_key("repos")).then(|| appended(text, PREK))
            }
            Tool::Lefthook => {
                let is_yaml = matches!(extension, Some("yml" | "yaml"));
                let has_it = text
                    .lines()
                    .any(|line| line.trim_end().starts_with("pre-commit:"));
                (is_yaml && !has_it).then(|| appended(text, LEFTHOOK))
            }
            Tool::Husky => {
                let is_sh = match text.lines().next().filter(|line| line.starts_with("#!")) {
                    None => true,
                    Some(line) => line.ends_with("sh"),
                };
                is_sh.then(|| appended(text, HUSKY))
            }
        }
    }
}

fn appended(text: &str, more: &str) -> String {
    let gap = match text {
        "" => "",
        text if text.ends_with('\n') => "",
        _ => "\n",
    };
    format!("{text}{gap}{more}")
}

const PRE_COMMIT: &str = "\
- repo: local
  hooks:
    - id: git-agile-requirements
      name: requirements.txt follows the imports
      entry: git-agile hook requirements
      language: system
      files: '\\.(py|ipynb)$|requirements.*\\.txt$|^agile\\.toml$'
      pass_filenames: false
";

const PREK: &str = "\
[[repos]]
repo = \"local\"
hooks = [
  { id = \"git-agile-requirements\", name = \"requirements.txt follows the imports\", \
entry = \"git-agile hook requirements\", language = \"system\", pass_filenames = false },
]
";

const LEFTHOOK: &str = "\
pre-commit:
  commands:
    git-agile:
      run: git-agile hook pre-commit
";

const HUSKY: &str = "git-agile hook pre-commit\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn added(tool: Tool, file: &str, text: &str) -> Option<String> {
        let file = PathBuf::from(file);
        Manager { tool, file }.with_recipe(text)
    }

    #[test]
    fn what_is_added_belongs_where_it_is_put() {
        let text = "default_stages: [pre-commit]\nrepos:\n  # ours\n  - repo: https://x\n    hooks: []\nci: {}\n";
        let yaml = added(Tool::PreCommit, ".pre-commit-config.yaml", text).unwrap();
        assert!(
            yaml.starts_with("default_stages: [pre-commit]\nrepos:\n  # ours\n  - repo: local\n    hooks:\n      - id: git-agile-requirements\n"),
            "{yaml}"
        );
        assert!(
            yaml.ends_with("false\n  - repo: https://x\n    hooks: []\nci: {}\n"),
            "{yaml}"
        );
        assert_eq!(added(Tool::PreCommit, "x", "repos: []\n"), None);

        let taken = added(Tool::Prek, "prek.toml", "repos = []\n");
        assert_eq!(taken, None);
        let toml = added(Tool::Prek, "prek.toml", "fail_fast = true").unwrap();
        let table: toml::Table = toml::from_str(&toml).unwrap();
        assert_eq!(
            table["repos"][0]["hooks"][0]["language"].as_str(),
            Some("system")
        );

        assert_eq!(
            added(Tool::Lefthook, "lefthook.yml", "pre-commit:\n  x: {}\n"),
            None
        );
        assert_eq!(added(Tool::Lefthook, "lefthook.toml", ""), None);
        assert_eq!(
            added(Tool::Husky, "pre-commit", "npm test").unwrap(),
            "npm test\ngit-agile hook pre-commit\n"
        );
        assert_eq!(
            added(Tool::Husky, "pre-commit", "#!/usr/bin/env node\n"),
            None
        );
    }
}
