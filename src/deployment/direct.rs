//! `source = "direct"`: the commit travels over the connection that is open already, so that the server needs no access
//! to the git host.

use std::path::Path;
use std::process::Stdio;

use super::connection::Connection;
use crate::development::git;
use crate::error::{Context as _, Error, Result};
use crate::model::names::CommitId;
use crate::terminal::clean_lines;

/// What receives on the server, given the project's folder: the bare repository there, made when it is missing. Its text
/// holds no quote of its own, `!` or line break, so that every login shell passes it on unchanged.
const RECEIVE: &str = concat!(
    "exec /bin/sh -c 'case $1 in \"~/\"*) b=$HOME/${1#??} ;; /*) b=$1 ;; *) b=$HOME/$1 ;; esac; umask 077; ",
    "r=$b/repo.git; if [ -d \"$r/objects\" ]; then :; else mkdir -p \"$b\" && git init -q --bare \"$r\" >&2 || exit 1; fi; ",
    "exec git -c core.hooksPath=/dev/null -c gc.auto=0 -c receive.autogc=false -c receive.shallowUpdate=true ",
    "receive-pack \"$r\"' agile"
);

/// Sends `commit` of the repository in `root`, with all it needs and the server has not, to the server's `repo.git`.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) with git's own words.
pub async fn send_commit(connection: &Connection, root: &Path, commit: &CommitId) -> Result<()> {
    let server = connection.server();
    let cannot = || {
        format!(
            "{}: cannot send commit {} to the server",
            server.name,
            commit.short()
        )
    };
    let mut command = git::command_in(root);
    if let Some(ssh) = connection.git_transport()? {
        command
            .env("GIT_SSH_COMMAND", ssh)
            .env("GIT_SSH_VARIANT", "ssh");
    }
    // The name of the host is for messages only: the connection is open.
    let remote = if connection.is_local() {
        server.path.to_string()
    } else {
        format!("{}:{}", server.name, server.path)
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
        .stdin(Stdio::null());
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .or_step(cannot)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::step(cannot())
            .cause(clean_lines(String::from_utf8_lossy(&output.stderr).trim()))
            .hint(format!(
                "on {}, git must work and {} be writable; or set source = \"origin\"",
                server.name, server.path
            ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_shell_passes_it_on() {
        assert_eq!(RECEIVE.matches('\'').count(), 2);
        assert!(!RECEIVE.contains(['!', '\n', '\\', '`']));
    }
}
