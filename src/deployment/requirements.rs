//! The requirement files of a commit that make its environment.

use crate::error::{Context as _, Error, Result};
use crate::model::names::{BadName, RelPath};
use crate::model::tree::Tree;

/// Files that include each other deeper than this are a mistake.
const MAX_FILES: usize = 100;

/// A requirements file of a commit.
#[derive(Clone, Debug)]
pub struct RequirementFile {
    /// Its path in the commit.
    pub path: RelPath,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Its lines that install a project of the commit itself, as `-e .` does.
    pub own: Vec<OwnProject>,
}

/// A line that installs a project of the commit itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProject {
    /// The line's number, from 1.
    pub line: usize,
    /// The project's folder in the commit; `.` is the root.
    pub folder: RelPath,
    /// The extras that are asked for.
    pub extras: Vec<String>,
}

impl RequirementFile {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        let text = String::from_utf8_lossy(&self.content);
        text.lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    }
}

/// `first` and every file that it includes with `-r` or `-c` (pip, "Requirements File Format"); none when there is no
/// `first`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) with file and line for what is not in the commit or leaves it.
pub fn requirement_files(first: &RelPath, tree: &dyn Tree) -> Result<Vec<RequirementFile>> {
    let Some(content) = tree.read(first.as_str())? else {
        return Ok(Vec::new());
    };
    let mut files = vec![file(first.clone(), content)?];
    let mut next = 0;
    while next < files.len() {
        let RequirementFile { path, content, .. } = files[next].clone();
        next += 1;
        for (number, line) in String::from_utf8_lossy(&content).lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            let Some(included) = included(line) else {
                continue;
            };
            let beside = path
                .as_str()
                .rsplit_once('/')
                .map_or(String::new(), |(folder, _)| format!("{folder}/"));
            let included = RelPath::new(normalise(&format!("{beside}{included}")))
                .or_config(|| place.clone())?;
            if files.iter().any(|known| known.path == included) {
                continue;
            }
            let content = tree.read(included.as_str())?.ok_or_else(|| {
                Error::config(format!("{place}: {included} is not in the commit"))
                    .hint(format!("git add {included}"))
            })?;
            files.push(file(included, content)?);
            if files.len() > MAX_FILES {
                return Err(Error::config(format!(
                    "{first} includes more than {MAX_FILES} files"
                )));
            }
        }
    }
    Ok(files)
}

fn file(path: RelPath, content: Vec<u8>) -> Result<RequirementFile> {
    let text = String::from_utf8_lossy(&content);
    let mut own = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        own.extend(own_project(line, text).or_config(|| format!("{path}:{line}"))?);
    }
    Ok(RequirementFile { path, content, own })
}

/// The file that a line of a requirements file includes.
fn included(line: &str) -> Option<&str> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    let flags = ["--requirement", "--constraint", "-r", "-c"];
    let rest = flags.iter().find_map(|flag| line.strip_prefix(flag))?;
    let file = rest
        .trim_start_matches('=')
        .trim()
        .trim_matches(['"', '\'']);
    let is_path = !file.is_empty() && !file.contains("://") && !file.starts_with("--");
    is_path.then_some(file)
}

/// The project that a line installs from the commit itself: `-e FOLDER`, `.` and `./FOLDER`, each with `[extras]`.
fn own_project(line: usize, text: &str) -> Result<Option<OwnProject>, BadName> {
    let text = text.split(" #").next().unwrap_or(text);
    let text = text.split(';').next().unwrap_or(text).trim();
    let editable = ["--editable", "-e"]
        .iter()
        .find_map(|flag| text.strip_prefix(flag))
        .filter(|rest| rest.starts_with(['=', ' ', '\t', '.']));
    let target = editable.unwrap_or(text).trim_start_matches('=').trim();
    let is_own = match editable {
        Some(_) => !target.is_empty() && !target.contains(':') && !target.contains(" @ "),
        None => {
            ["./", "../", ".["]
                .iter()
                .any(|start| target.starts_with(start))
                || target == "."
        }
    };
    if !is_own {
        return Ok(None);
    }
    let (folder, extras) = target.split_once('[').unwrap_or((target, ""));
    let folder = match normalise(folder).as_str() {
        "" => RelPath::new("."),
        folder => RelPath::new(folder),
    }?;
    let extras = extras.trim_end().trim_end_matches(']').split(',');
    let extras = extras.map(|extra| extra.trim().to_string());
    Ok(Some(OwnProject {
        line,
        folder,
        extras: extras.filter(|extra| !extra.is_empty()).collect(),
    }))
}

/// `a/../b` as `b`, as far as that stays inside.
fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::tests::Commit;

    fn files(tree: &[(&str, &str)]) -> Result<Vec<RequirementFile>> {
        requirement_files(&RelPath::new("requirements.txt").unwrap(), &Commit(tree))
    }

    fn paths(tree: &[(&str, &str)]) -> Vec<String> {
        let files = files(tree).unwrap().into_iter();
        files.map(|file| file.path.to_string()).collect()
    }

    #[test]
    fn included_files_belong_to_the_environment() {
        assert_eq!(paths(&[]), Vec::<String>::new());
        let tree = [
            ("requirements.txt", "numpy\n-r req/base.txt # more\n"),
            (
                "req/base.txt",
                "--constraint=../c.txt\n-r base.txt\n--requirement https://x/y.txt",
            ),
            ("c.txt", "a==1"),
        ];
        assert_eq!(paths(&tree), ["requirements.txt", "req/base.txt", "c.txt"]);
    }

    #[test]
    fn mistakes_name_their_line() {
        let said = |text: &str| {
            files(&[("requirements.txt", text)])
                .unwrap_err()
                .to_string()
        };
        assert!(said("a\n-r b.txt").starts_with("requirements.txt:2: b.txt is not in the commit"));
        assert!(said("-r ../../etc/passwd").contains("it leaves the repository"));
        assert!(said("\n-e ../other").starts_with("requirements.txt:2"));
    }

    #[test]
    fn lines_that_install_the_commit_itself() {
        let own = |text: &str| {
            let own = files(&[("requirements.txt", text)]).unwrap()[0].own.clone();
            own.into_iter()
                .map(|own| (own.line, own.folder.to_string(), own.extras.join(",")))
                .collect::<Vec<_>>()
        };
        for (text, folder, extras) in [
            ("-e .", ".", ""),
            ("-e.", ".", ""),
            ("--editable=./ # me", ".", ""),
            (".[dev, test] ; python_version > '3'", ".", "dev,test"),
            ("-e libs/core[x]", "libs/core", "x"),
            ("./libs/core", "libs/core", ""),
        ] {
            assert_eq!(own(text), [(1, folder.into(), extras.into())], "{text}");
        }
        for other in [
            "numpy",
            "-e git+https://h/x#egg=x",
            "-extra",
            "--extra-index-url https://x",
            "# -e .",
            "x @ file:///y",
        ] {
            assert_eq!(own(other), [], "{other}");
        }
    }
}
