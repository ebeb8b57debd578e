//! `source = "direct"`: the commit travels over the connection that is open already, so that the server needs no access
//! to the git host.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::connection::{Connection, Feed};
use super::foresee::foresight;
use super::protocol::Answer;
use super::scripts;
use crate::development::contents::{LfsFile, Submodule};
use crate::development::git;
use crate::error::{Context as _, Error, Result};
use crate::model::names::CommitId;
use crate::terminal::{clean_lines, count};

/// What receives on the server: the bare repository, made when it is missing. Its text holds no quote of its own, `!` or
/// line break, so that every login shell passes it on unchanged.
const RECEIVE: &str = concat!(
    "exec /bin/sh -c 'case $1 in \"~/\"*) r=$HOME/${1#??} ;; /*) r=$1 ;; *) r=$HOME/$1 ;; esac; umask 077; ",
    "if [ -d \"$r/objects\" ]; then :; else mkdir -p \"${r%/*}\" && git init -q --bare \"$r\" >&2 || exit 1; fi; ",
    "exec git -c core.hooksPath=/dev/null -c gc.auto=0 -c receive.autogc=false -c receive.shallowUpdate=true ",
    "receive-pack \"$r\"' agile"
);

/// What receives the files of Git LFS, a tar archive, below the folder of the bare repository. Written as [`RECEIVE`] is.
const RECEIVE_LFS: &str = concat!(
    "case $1 in \"~/\"*) r=$HOME/${1#??} ;; /*) r=$1 ;; *) r=$HOME/$1 ;; esac; umask 077; ",
    "r=$r/repo.git/lfs/incoming/$$; rm -rf \"$r\"; mkdir -p \"$r\" && cd \"$r\" && exec tar -xf -"
);

/// A commit with all it needs.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The repository that has it.
    pub root: PathBuf,
    /// The commit.
    pub commit: CommitId,
    /// Its submodules, outer ones first.
    pub submodules: Vec<Submodule>,
    /// What Git LFS keeps of it.
    pub lfs_files: Vec<LfsFile>,
    /// Where that lies here.
    pub lfs_folder: PathBuf,
}

/// Sends what the server has not of `parcel` to its `repo.git`, and the submodules from their clones here.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) with git's own words; [`Kind::Config`](crate::error::Kind::Config) for a
/// submodule that is not cloned here, or a file of Git LFS that is not here.
pub async fn send_commit(connection: &mut Connection, parcel: &Parcel) -> Result<()> {
    let Err(error) = send_objects(connection, parcel).await else {
        return Ok(());
    };
    // A repository that is damaged takes nothing. Whether it is takes long to find out, so it is asked only now.
    let modules = parcel.submodules.iter();
    let modules = modules.map(|each| format!("modules/{}.git", each.name()));
    let repositories: Vec<String> = modules.chain(["repo.git".to_string()]).collect();
    let call = scripts::mend(&connection.server().path, &repositories);
    match connection.ask(call).await {
        Ok(answer) if answer.iter().any(|line| line[0] == "mended") => {
            send_objects(connection, parcel).await
        }
        _ => Err(error),
    }
}

/// Whether a deployment found what had been sent damaged, and has made room for it anew.
pub fn is_to_be_sent_again(answer: &Answer) -> bool {
    answer.iter().any(|line| line[0] == "mended")
}

async fn send_objects(connection: &mut Connection, parcel: &Parcel) -> Result<()> {
    send_to(connection, &parcel.root, &parcel.commit, "repo.git").await?;
    for submodule in &parcel.submodules {
        let clone = submodule.clone.as_deref().ok_or_else(|| {
            Error::config(format!(
                "the submodule {} is not checked out here",
                submodule.path
            ))
            .hint("git submodule update --init --recursive")
        })?;
        let repository = format!("modules/{}.git", submodule.name());
        send_to(connection, clone, &submodule.commit, &repository).await?;
    }
    match parcel.lfs_files.is_empty() {
        true => Ok(()),
        false => send_lfs(connection, parcel).await,
    }
}

/// Sends the files of Git LFS that the server lacks. It checks them before it takes them.
async fn send_lfs(connection: &mut Connection, parcel: &Parcel) -> Result<()> {
    let call = scripts::lacking(&connection.server().path, &parcel.lfs_files);
    let answer = connection.ask(call).await?;
    let lacks = foresight(&answer).lacks;
    let mut files = parcel.lfs_files.clone();
    files.retain(|file| lacks.contains(&file.oid));
    check_present(connection, parcel, &files)?;
    if files.is_empty() {
        return Ok(());
    }
    let server = connection.server();
    let command = format!("exec /bin/sh -c '{RECEIVE_LFS}' agile '{}'", server.path);
    let mut feed = connection.feed(&command).await?;
    let sent = send_archive(&mut feed, &files, parcel).await;
    let words = feed.finish().await;
    sent.or_step(|| format!("{}: cannot send the files of Git LFS", server.name))
        .map_err(|error| {
            error.cause(clean_lines(&words)).hint(format!(
                "on {}, tar must work and {} be writable; the same command again sends the rest",
                server.name, server.path
            ))
        })
}

/// Refuses to begin what could not be finished: `files` that are not here.
fn check_present(connection: &Connection, parcel: &Parcel, files: &[LfsFile]) -> Result<()> {
    let is_here = |file: &LfsFile| {
        std::fs::metadata(parcel.lfs_folder.join(file.path()))
            .is_ok_and(|data| data.is_file() && data.len() == file.size)
    };
    let absent = files.iter().filter(|file| !is_here(file)).count();
    if absent == 0 {
        return Ok(());
    }
    Err(Error::config(format!(
        "{}: {} that Git LFS keeps of commit {} cannot be sent: not here",
        connection.server().name,
        count(absent, "file"),
        parcel.commit.short()
    ))
    .hint(format!("git lfs fetch origin {}", parcel.commit)))
}

/// Sends a tar archive of the `files` of `parcel`, each named by its SHA-256.
async fn send_archive(feed: &mut Feed, files: &[LfsFile], parcel: &Parcel) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_path(&file.oid)?;
        header.set_size(file.size);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        feed.write(header.as_bytes()).await?;
        let path = parcel.lfs_folder.join(file.path());
        let mut content = std::fs::File::open(path)?.take(file.size);
        let mut left = file.size;
        while left > 0 {
            let count = content.read(&mut buffer)?;
            if count == 0 {
                return Err(io::Error::other("a file has become shorter meanwhile"));
            }
            feed.write(&buffer[..count]).await?;
            left -= count as u64;
        }
        let padding = file.size.next_multiple_of(512) - file.size;
        feed.write(&[0; 512][..padding as usize]).await?;
    }
    feed.write(&[0; 1024]).await
}

async fn send_to(
    connection: &mut Connection,
    root: &Path,
    commit: &CommitId,
    repository: &str,
) -> Result<()> {
    let name = connection.server().name.clone();
    let cannot = || {
        format!(
            "{name}: cannot send commit {} to the server",
            commit.short()
        )
    };
    let output = loop {
        let command = push_command(connection, root, commit, repository)?;
        let mut command = tokio::process::Command::from(command);
        let push = command.kill_on_drop(true).output();
        tokio::select! {
            biased;
            output = push => {
                let output = output.or_step(cannot)?;
                if output.status.success() || !connection.was_dead().await {
                    break output;
                }
            }
            () = connection.replaced() => {}
        }
    };
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::step(cannot())
            .cause(clean_lines(String::from_utf8_lossy(&output.stderr).trim()))
            .hint(format!(
                "on {name}, git must work and {} be writable; or set source = \"origin\"",
                connection.server().path
            ))),
    }
}

/// The `git push` that brings `commit` to a repository on the server.
fn push_command(
    connection: &Connection,
    root: &Path,
    commit: &CommitId,
    repository: &str,
) -> Result<std::process::Command> {
    let server = connection.server();
    let mut command = git::command_in(root);
    if let Some(ssh) = connection.git_transport()? {
        command
            .env("GIT_SSH_COMMAND", ssh)
            .env("GIT_SSH_VARIANT", "ssh");
    }
    // The name of the host is for messages only: the connection is open.
    let remote = if connection.is_local() {
        format!("{}/{repository}", server.path)
    } else {
        format!("{}:{}/{repository}", server.name, server.path)
    };
    command
        .args([
            "push",
            "--quiet",
            "--no-verify",
            "--no-follow-tags",
            "--recurse-submodules=no",
        ])
        .arg(format!("--receive-pack={RECEIVE}"))
        .args([
            "--",
            &remote,
            &format!("{commit}:refs/agile/commits/{commit}"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_shell_passes_it_on() {
        assert_eq!(RECEIVE.matches('\'').count(), 2);
        assert!(!RECEIVE_LFS.contains('\''));
        for text in [RECEIVE, RECEIVE_LFS] {
            assert!(!text.contains(['!', '\n', '\\', '`']));
        }
    }
}
