//! `requirements.lock`: every distribution with its exact version and hashes, made by a resolver.

use std::path::Path;
use std::process::Command;

use super::pre_commit::replace;
use super::repository::Repository;
use super::requirements::Project;
use super::tracked::Source;
use super::{git, tracked};
use crate::cli::Context;
use crate::error::{Context as _, Error, Result};
use crate::requirements::document::{Document, Kind};

/// The name of the lock of the requirements file `file`.
pub fn lock_name(file: &str) -> String {
    let stem = file.strip_suffix(".txt").unwrap_or(file);
    format!("{stem}.lock")
}

/// Makes the lock from the requirements file in the work tree, by `uv pip compile` or else `pip-compile`. It begins
/// with a comment that holds the digest of what it was made from.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when neither is installed, or the one that is fails.
pub fn lock(ctx: &Context, repository: &Repository, source: Source) -> Result<()> {
    let project = Project::open(repository, source)?;
    let file = &project.settings.file;
    let text = tracked::work_file(repository.root(), file)?.ok_or_else(|| {
        Error::config(format!("there is no {file} to lock")).hint("git agile requirements")
    })?;
    let temporary = tempfile::tempdir().or_step(|| "cannot make a temporary folder".into())?;
    let out = temporary.path().join("requirements.lock");
    let tool = compile(repository.root(), file, &out)?;
    let mut lock = format!(
        "# Made by git agile requirements --lock from {file}, sha256 {}\n",
        digest(&text)
    );
    lock.push_str(&indexes(&String::from_utf8_lossy(&text)));
    let compiled = std::fs::read_to_string(&out).or_step(|| format!("`{tool}` wrote nothing"))?;
    lock.push_str(&compiled);
    let path = lock_name(file);
    replace(&repository.root().join(&path), lock.as_bytes())?;
    ctx.output
        .say(&crate::terminal::clean(&format!("{path}: made by {tool}")));
    Ok(())
}

/// The lines of `text` that say where distributions come from: the servers need them too. What this machine's own
/// configuration adds is its own, and may hold a password.
fn indexes(text: &str) -> String {
    let document = Document::parse(text);
    let lines = document.lines().iter().filter(|line| {
        let options = [
            "-i",
            "--index-url",
            "--extra-index-url",
            "-f",
            "--find-links",
            "--trusted-host",
        ];
        matches!(&line.kind, Kind::Option(name, _) if options.contains(&name.as_str()))
    });
    lines
        .map(|line| format!("{}\n", line.text.trim_end()))
        .collect()
}

/// Runs the first resolver that is installed; its name.
fn compile(root: &Path, file: &str, out: &Path) -> Result<&'static str> {
    let tools: [(&str, &str, &[&str]); 2] = [
        (
            "uv pip compile",
            "uv",
            &[
                "pip",
                "compile",
                "--quiet",
                "--no-header",
                "--generate-hashes",
            ],
        ),
        (
            "pip-compile",
            "pip-compile",
            &[
                "--quiet",
                "--no-header",
                "--generate-hashes",
                "--allow-unsafe",
                "--no-emit-index-url",
                "--no-emit-find-links",
                "--no-emit-trusted-host",
                "--strip-extras",
            ],
        ),
    ];
    for (name, program, arguments) in tools {
        let mut command = Command::new(program);
        // A requirement may be a git URL: the resolver's git must not meet this repository's variables.
        git::without_repository(&mut command);
        command
            .current_dir(root)
            .args(arguments)
            .arg("--output-file")
            .arg(out)
            .arg("--")
            .arg(file);
        match command.output() {
            Ok(output) if output.status.success() => return Ok(name),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(
                    Error::step(format!("`{name}` failed ({})", output.status)).cause(said.trim())
                );
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::step(format!("cannot run `{program}`")).cause(error)),
        }
    }
    Err(Error::step("neither uv nor pip-compile is installed").hint("pip install uv"))
}

/// The SHA-256 of a text in hexadecimal digits.
fn digest(text: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether `lock` was made from something else than `text`.
pub fn is_stale(lock: &str, text: &[u8]) -> bool {
    let first = lock.lines().next().unwrap_or_default();
    first
        .rsplit_once("sha256 ")
        .is_none_or(|(_, made)| made.trim() != digest(text))
}
