//! `git agile push`.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use git2::Oid;

use super::agree::connect_ahead;
use super::deploy::warn_dirty;
use super::{Context, hook};
use crate::development::push::{Arrived, Snapshot, push, pushes_head, remote_of};
use crate::development::repository::Repository;
use crate::development::{git, hooks};
use crate::error::{Context as _, Error, Result};

/// git push, and then launch the experiments of what has arrived
///
/// Takes the arguments of `git push`. When the push is refused, nothing is deployed and the exit status is git's.
/// Repeating it is harmless: a run that was launched is not launched again.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Arguments of `git push`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    args: Vec<OsString>,
}

/// Runs the command.
///
/// # Errors
/// git's own status when the push fails, else what the post-push hook or the deployment gives.
pub fn run(args: PushArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    if pushes_head(&repository, &args.args) {
        let head = repository.commit("HEAD")?;
        let config = ctx.config(&repository, head)?;
        warn_dirty(ctx, &repository, head);
        connect_ahead(&repository, &config);
    }
    let remote = remote_of(&repository, &args.args)?;
    let before = Snapshot::take(&repository);
    let pushed = push(&args.args, &ctx.output)?;
    let deployed = match pushed.arrived.is_empty() {
        true => Ok(()),
        false => after_push(ctx, &repository, &remote, &pushed.arrived, &before),
    };
    match pushed.status {
        0 => deployed,
        status => {
            if let Err(error) = deployed {
                ctx.output.error(&error);
            }
            Err(Error::child(status))
        }
    }
}

/// Runs the post-push hook for the refs that arrived. Ours deploys; where it is not installed, we do.
fn after_push(
    ctx: &Context,
    repository: &Repository,
    remote: &str,
    arrived: &[Arrived],
    before: &Snapshot,
) -> Result<()> {
    let url = arrived
        .first()
        .map(|arrived| arrived.url.clone())
        .unwrap_or_default();
    let mut lines = String::new();
    for arrived in arrived {
        let Some(commit) = arrived.commit(repository, before) else {
            continue;
        };
        lines.push_str(&format!(
            "{} {commit} {} {}\n",
            arrived.local,
            arrived.remote,
            Oid::zero()
        ));
    }
    let folder = hooks::folder(repository).ok();
    let is_ours = folder.as_ref().is_some_and(|folder| {
        hooks::check(folder).contains(&("post-push", hooks::Installed::Current))
    });
    if let Some(path) = folder
        .map(|folder| folder.join("post-push"))
        .filter(|path| is_executable(ctx, path))
    {
        run_hook(ctx, repository, &path, remote, &url, &lines)?;
    }
    match is_ours {
        true => Ok(()),
        false => hook::post_push(ctx, repository, remote, &lines),
    }
}

/// Whether git would run the hook.
fn is_executable(ctx: &Context, path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let Ok(meta) = std::fs::metadata(path) else {
        return false;
    };
    let can_run = meta.permissions().mode() & 0o111 != 0;
    if !can_run {
        let shown = path.display();
        ctx.output.hint(&format!(
            "the hook {shown} was ignored because it is not executable: chmod +x {shown}"
        ));
    }
    can_run
}

fn run_hook(
    ctx: &Context,
    repository: &Repository,
    path: &Path,
    remote: &str,
    url: &str,
    lines: &str,
) -> Result<()> {
    let cannot = || format!("cannot run the hook {}", path.display());
    let mut command = Command::new(path);
    git::without_repository(&mut command)
        .args([remote, url])
        .current_dir(repository.root())
        .stdin(Stdio::piped());
    if std::env::var_os("GIT_DIR").is_some() {
        command
            .env("GIT_DIR", repository.git().path())
            .env("GIT_WORK_TREE", repository.root());
    }
    if ctx.output.is_quiet() {
        command.env(super::QUIET, "1");
    }
    if let Ok(program) = std::env::current_exe() {
        // The hook finds the program that runs it, wherever that is installed.
        let mut paths: Vec<_> = program
            .parent()
            .map(|dir| dir.to_path_buf())
            .into_iter()
            .collect();
        paths.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        if let Ok(joined) = std::env::join_paths(paths) {
            command.env("PATH", joined);
        }
    }
    let mut child = command.spawn().or_step(cannot)?;
    if let Some(mut input) = child.stdin.take() {
        // A hook that does not read is none of our concern.
        let _ = input.write_all(lines.as_bytes());
    }
    match child.wait().or_step(cannot)?.code() {
        Some(0) => Ok(()),
        code => Err(Error::child(
            code.and_then(|code| u8::try_from(code).ok()).unwrap_or(5),
        )),
    }
}
