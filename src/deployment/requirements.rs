//! The requirement files of a commit that make its environment.

use crate::error::{Context as _, Error, Result};
use crate::model::names::RelPath;

/// Files that include each other deeper than this are a mistake.
const MAX_FILES: usize = 100;

/// `first` and every file that it includes with `-r` or `-c` (pip, "Requirements File Format"), with their contents
/// as `read` gives them; none when there is no `first`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) with file and line for an included file that is not there or leaves
/// the repository, and for a line that installs the repository itself.
pub fn requirement_files(
    first: &RelPath,
    read: impl Fn(&RelPath) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<(RelPath, Vec<u8>)>> {
    let Some(content) = read(first)? else {
        return Ok(Vec::new());
    };
    let mut files = vec![(first.clone(), content)];
    let mut next = 0;
    while next < files.len() {
        let (path, content) = files[next].clone();
        next += 1;
        for (number, line) in String::from_utf8_lossy(&content).lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            if installs_itself(line) {
                return Err(Error::config(format!(
                    "{place}: installing from the repository itself is not supported"
                ))
                .hint(
                    "remove the line: a run starts in the code's folder and imports from there",
                ));
            }
            let Some(included) = included(line) else {
                continue;
            };
            let beside = path
                .as_str()
                .rsplit_once('/')
                .map_or(String::new(), |(folder, _)| format!("{folder}/"));
            let included = RelPath::new(normalise(&format!("{beside}{included}")))
                .or_config(|| place.clone())?;
            if files.iter().any(|(known, _)| *known == included) {
                continue;
            }
            let content = read(&included)?.ok_or_else(|| {
                Error::config(format!("{place}: {included} is not in the commit"))
                    .hint(format!("git add {included}"))
            })?;
            files.push((included, content));
            if files.len() > MAX_FILES {
                return Err(Error::config(format!(
                    "{first} includes more than {MAX_FILES} files"
                )));
            }
        }
    }
    Ok(files)
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

fn installs_itself(line: &str) -> bool {
    let line = line.trim();
    let target = ["--editable", "-e"]
        .iter()
        .find_map(|flag| line.strip_prefix(flag))
        .unwrap_or(line);
    let target = target.trim_start_matches('=').trim();
    target == "."
        || target.starts_with("./")
        || target.starts_with(".[")
        || target.starts_with("../")
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

    fn files(tree: &[(&str, &str)]) -> Result<Vec<String>> {
        let read = |path: &RelPath| {
            let found = tree.iter().find(|(name, _)| *name == path.as_str());
            Ok(found.map(|(_, content)| content.as_bytes().to_vec()))
        };
        let files = requirement_files(&RelPath::new("requirements.txt").unwrap(), read)?;
        Ok(files
            .into_iter()
            .map(|(path, _)| path.to_string())
            .collect())
    }

    #[test]
    fn included_files_belong_to_the_environment() {
        assert_eq!(files(&[]).unwrap(), Vec::<String>::new());
        let tree = [
            ("requirements.txt", "numpy\n-r req/base.txt # more\n"),
            (
                "req/base.txt",
                "--constraint=../c.txt\n-r base.txt\n--requirement https://x/y.txt",
            ),
            ("c.txt", "a==1"),
        ];
        assert_eq!(
            files(&tree).unwrap(),
            ["requirements.txt", "req/base.txt", "c.txt"]
        );
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
        assert!(said("\n-e .").starts_with("requirements.txt:2: "));
    }
}
