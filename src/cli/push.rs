//! `git agile push`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use git2::Oid;

use super::ahead::Ahead;
use super::deploy::warn_dirty;
use super::{Context, hook};
use crate::deployment::shared_git_host;
use crate::design::expand;
use crate::development::push::{
    Arrived, Snapshot, head_branches, is_dry_run, is_quiet, push, remote_of, ssh_host,
};
use crate::development::repository::Repository;
use crate::development::requirements::outdated;
use crate::development::{git, hooks};
use crate::error::{Context as _, Error, Kind, Result};
use crate::model::config::Launch;
use crate::requirements::Hook;
use crate::terminal::clean;

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
    /// That `-q` is git's here: with an option of its own by this name, `push` is not given that of all commands.
    #[arg(long = "quiet-here", hide = true)]
    quiet: bool,
}

impl PushArgs {
    /// Whether git is asked to be quiet; then so are we.
    pub fn is_quiet(&self) -> bool {
        self.quiet || is_quiet(&self.args)
    }
}

/// Runs the command.
///
/// # Errors
/// git's own status when the push fails, else what the post-push hook or the deployment gives.
pub fn run(args: PushArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let remote = remote_of(&repository, &args.args)?;
    let branches = head_branches(&repository, &args.args);
    let mut ahead = Ahead::default();
    if !branches.is_empty() {
        let head = repository.commit("HEAD")?;
        let config = ctx.config(&repository, head)?;
        // What is wrong with a design is better known before the commit is everybody's.
        for experiment in config.experiments.values() {
            expand(experiment, &BTreeMap::new())?;
        }
        warn_dirty(ctx, &repository, head);
        look_at_requirements(ctx, &repository, head)?;
        // Nothing reaches a server on which nothing would be launched, or not without a question.
        let is_launched = !is_dry_run(&args.args)
            && hook::launch(&config).is_ok_and(|launch| launch == Launch::Auto)
            && branches
                .iter()
                .any(|branch| hook::is_named(&config, &remote, branch));
        if is_launched {
            ahead = Ahead::begin(ctx, &repository, &config, head);
        }
    }
    let before = Snapshot::take(&repository);
    let host = ssh_host(&repository, &remote);
    let host = host.and_then(|(ssh, host, port)| shared_git_host(&ssh, &host, port));
    let ssh = host.as_ref().map(|host| host.command.as_str());
    let pushed = push(&args.args, ssh, &ctx.output)?;
    drop(host);
    let deployed = match pushed.arrived.is_empty() {
        true => Ok(()),
        false => after_push(ctx, &repository, &remote, &pushed.arrived, &before, ahead),
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

/// Says when the commit does not list what its code imports: the hook does not see merges, cherry-picks and rebases.
///
/// # Errors
/// [`Kind::Check`] with `hook = "check"`.
fn look_at_requirements(ctx: &Context, repository: &Repository, head: Oid) -> Result<()> {
    // What keeps them from being read is said where it matters: by the hook and by the deployment.
    for outdated in outdated(repository, head).unwrap_or_default() {
        let path = &outdated.path;
        let message = format!(
            "{path} of HEAD does not match its code: {}",
            outdated.changes
        );
        let mend =
            format!("git agile requirements && git commit -m 'Bring {path} up to date' -- {path}");
        if outdated.hook == Hook::Check {
            return Err(Error::new(Kind::Check, message).hint(mend));
        }
        ctx.output.warn(&clean(&message));
        ctx.output.hint(&clean(&mend));
    }
    Ok(())
}

/// Runs the post-push hook for the refs that arrived, unless it is ours and nothing else, and deploys.
fn after_push(
    ctx: &Context,
    repository: &Repository,
    remote: &str,
    arrived: &[Arrived],
    before: &Snapshot,
    ahead: Ahead,
) -> Result<()> {
    let url = arrived.first().map(|arrived| arrived.url.as_str());
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
    run_post_push(
        ctx,
        repository,
        remote,
        url.unwrap_or_default(),
        &lines,
        ahead,
    )
}

/// Runs the post-push hook for `lines` (as pre-push has them), unless it is ours and nothing else, and deploys.
///
/// # Errors
/// What the hook or the deployment gives.
pub fn run_post_push(
    ctx: &Context,
    repository: &Repository,
    remote: &str,
    url: &str,
    lines: &str,
    ahead: Ahead,
) -> Result<()> {
    if let Ok(folder) = hooks::folder(repository)
        && hooks::has_other(&folder, "post-push")
        && is_executable(ctx, &folder.join("post-push"))
    {
        run_hook(
            ctx,
            repository,
            &folder.join("post-push"),
            remote,
            url,
            lines,
        )?;
    }
    hook::deploy_arrived(ctx, repository, remote, lines, ahead)
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
        .env(hook::DEPLOYS, "1")
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
