//! `git agile install` and `git agile uninstall`.

use clap::Args;

use super::Context;
use super::agree::default_git_host;
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::development::git;
use crate::development::hooks::{self, HOOKS, Installed, Manager, PLAIN_PUSH, Place};
use crate::development::repository::Repository;
use crate::error::{Error, Kind, Result};
use crate::terminal::clean;

/// The key of git's configuration in which the hooks find us when PATH does not lead to us.
const PROGRAM: &str = "agile.program";

/// Install the hooks in this clone
///
/// A hook that is there already keeps running, before ours. Where pre-commit, prek, lefthook or husky looks after the
/// hooks, what to add to its configuration is shown instead.
#[derive(Debug, Default, Args)]
pub struct InstallArgs {
    /// Change nothing; the exit status is 1 when a hook is missing
    #[arg(long, conflicts_with_all = ["plain_push", "write", "force", "config"])]
    check: bool,
    /// Also deploy after a plain `git push`
    #[arg(long, conflicts_with = "config")]
    plain_push: bool,
    /// Add what is needed to the configuration of the hook manager
    #[arg(long)]
    write: bool,
    /// Use the repository's own hooks folder although core.hooksPath names one that others share
    #[arg(long)]
    force: bool,
    /// Use git's configuration (git 2.54 or newer) instead of a folder
    #[arg(long, conflicts_with = "force")]
    config: bool,
}

/// Remove the hooks from this clone, and put back what was there
#[derive(Debug, Args)]
pub struct UninstallArgs {}

/// Runs `git agile install`. On a terminal it also offers the servers of agile.toml for agreement.
///
/// # Errors
/// [`Kind::Config`] when hooks are switched off or shared, [`Kind::Check`] with `--check`.
pub fn run(args: InstallArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    if args.check {
        return check(&repository);
    }
    install_as(&args, ctx, &repository)?;
    offer_trust(ctx, &repository)
}

/// Installs the hooks and says what was done.
///
/// # Errors
/// As [`run`].
pub fn install(ctx: &Context, repository: &Repository) -> Result<()> {
    install_as(&InstallArgs::default(), ctx, repository)
}

fn install_as(args: &InstallArgs, ctx: &Context, repository: &Repository) -> Result<()> {
    let configured = hooks::configured(repository)?;
    let stays = configured != Installed::Missing && !args.plain_push && !args.force;
    if args.config || stays {
        hooks::configure(repository)?;
        if configured != Installed::Current {
            ctx.output
                .say("Configured the pre-commit hook in this repository's git configuration.");
        }
        return remember_program(repository);
    }
    let place = Place::of(repository)?;
    let folder = match &place {
        Place::Own(folder) => folder,
        Place::Managed(manager) => return manage(args, manager, ctx),
        Place::Shared { own, .. } if args.force => own,
        Place::Shared { .. } => return place.refusal().map_or(Ok(()), Err),
    };
    let mut wanted = HOOKS.to_vec();
    let has_plain_push = hooks::states(folder, &PLAIN_PUSH)
        .iter()
        .any(|(_, state)| *state != Installed::Missing);
    if args.plain_push || has_plain_push {
        wanted.extend(PLAIN_PUSH);
    }
    for (name, done) in hooks::install(folder, &wanted)? {
        let more = match done {
            Installed::Written => "",
            Installed::Chained => "; the one that was there runs before it",
            Installed::Upgraded => "; it replaces that of an older version",
            Installed::Current | Installed::Older | Installed::Missing => continue,
        };
        ctx.output.say(&format!("Installed the {name} hook{more}."));
    }
    remember_program(repository)
}

/// Under a hook manager nothing of its folder is touched.
fn manage(args: &InstallArgs, manager: &Manager, ctx: &Context) -> Result<()> {
    let file = clean(&manager.file().display().to_string());
    if args.plain_push {
        return Err(Error::config(format!(
            "{manager} looks after the hooks, and cannot run those that a plain push needs"
        ))
        .hint("git agile push"));
    }
    if manager.knows_us() {
        ctx.output.say(&format!(
            "{manager} looks after the hooks, and {file} names git-agile."
        ));
        return Ok(());
    }
    if args.write {
        manager.add()?;
        ctx.output
            .say(&format!("Added git-agile to {file}: commit it."));
        return Ok(());
    }
    ctx.output.say(&format!(
        "{manager} looks after the hooks. Add this to {file}:\n"
    ));
    ctx.output.data(manager.recipe().trim_end())?;
    ctx.output
        .hint("git agile install --write adds it; git agile push deploys without a hook");
    Ok(())
}

fn check(repository: &Repository) -> Result<()> {
    let missing = |what: String| Error::new(Kind::Check, what);
    match hooks::configured(repository)? {
        Installed::Missing => {}
        Installed::Older => {
            return Err(missing("the configured hook is of an older version".into())
                .hint("git agile install"));
        }
        _ => return Ok(()),
    }
    let place = Place::of(repository)?;
    let folder = match &place {
        Place::Own(folder) => folder,
        Place::Managed(manager) if manager.knows_us() => return Ok(()),
        Place::Managed(manager) => {
            let file = manager.file().display();
            let error = missing(format!(
                "not installed: {manager} looks after the hooks, and {file} does not name git-agile"
            ));
            return Err(error.hint("git agile install --write"));
        }
        Place::Shared { own, .. } => own,
    };
    let mut states = hooks::check(folder);
    let plain = hooks::states(folder, &PLAIN_PUSH);
    // Half of the pair is no pair.
    if plain.iter().any(|(_, state)| *state != Installed::Missing) {
        states.extend(plain);
    }
    let names = |wanted: Installed| -> Vec<&str> {
        let those = states.iter().filter(|(_, state)| *state == wanted);
        those.map(|(name, _)| *name).collect()
    };
    let (gone, old) = (names(Installed::Missing), names(Installed::Older));
    match (gone.is_empty(), old.is_empty()) {
        (true, true) => Ok(()),
        (false, _) if place.refusal().is_some() => {
            let error = missing(format!("not installed: {}", gone.join(", ")));
            Err(place
                .refusal()
                .into_iter()
                .flat_map(|refusal| refusal.hints)
                .fold(error, Error::hint))
        }
        (false, _) => {
            Err(missing(format!("not installed: {}", gone.join(", "))).hint("git agile install"))
        }
        (true, false) => {
            Err(missing(format!("of an older version: {}", old.join(", ")))
                .hint("git agile install"))
        }
    }
}

/// A hook runs with whatever PATH git was started with: an editor's knows no virtual environment.
fn remember_program(repository: &Repository) -> Result<()> {
    let Some(program) = std::env::current_exe().ok() else {
        return Ok(());
    };
    let program = program.to_string_lossy().into_owned();
    let known = git::ask(
        git::command_in(repository.root()),
        &["config", "--local", PROGRAM],
    );
    if known.is_ok_and(|known| known.as_deref() == Some(&program)) {
        return Ok(());
    }
    let args = ["config", "--local", PROGRAM, &program];
    // A configuration that cannot be written is no reason to fail: PATH is looked at first.
    let _ = git::read(git::command_in(repository.root()), &args);
    Ok(())
}

/// On a terminal, asks about the servers that the person has not agreed to.
fn offer_trust(ctx: &Context, repository: &Repository) -> Result<()> {
    let Ok(config) = repository
        .commit("HEAD")
        .and_then(|head| ctx.config(repository, head))
    else {
        return Ok(());
    };
    let Ok(host) = default_git_host(repository, &config) else {
        return Ok(());
    };
    let agreements = Agreements::load()?;
    let is_open = |server: &&crate::model::config::Server| {
        agreements.check(&Agreement::for_server(
            repository.common_dir(),
            server,
            &host,
        )) != Trust::Agreed
    };
    let open: Vec<_> = config.servers.values().filter(is_open).cloned().collect();
    if !open.is_empty() && ctx.can_ask() {
        // A no is an answer: that server is asked about again when it is needed.
        let _ = super::agree::agree_to(ctx, repository, &open, &host);
    }
    Ok(())
}

/// Runs `git agile uninstall`.
///
/// # Errors
/// [`Kind::Step`] when a hook cannot be removed.
pub fn undo(_: UninstallArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let mut removed: Vec<&str> = Vec::new();
    let own = repository.common_dir().join("hooks");
    let place = Place::of(&repository);
    let used = match &place {
        Ok(Place::Own(folder)) => Some(folder.as_path()),
        _ => None,
    };
    let folders = [used, Some(own.as_path())];
    for folder in folders
        .into_iter()
        .flatten()
        .filter(|folder| folder.is_dir())
    {
        removed.extend(hooks::uninstall(folder)?);
    }
    if hooks::configured(&repository)? != Installed::Missing {
        hooks::unconfigure(&repository)?;
        removed.push("the configured hook");
    }
    forget_program(&repository);
    match removed.is_empty() {
        true => ctx.output.say("Our hooks are not installed here."),
        false => ctx.output.say(&format!("Removed: {}.", removed.join(", "))),
    }
    if let Ok(Place::Managed(manager)) = &place
        && manager.knows_us()
    {
        let file = manager.file().display().to_string();
        ctx.output
            .hint(&format!("{file} names git-agile: remove that by hand"));
    }
    Ok(())
}

fn forget_program(repository: &Repository) {
    let args = ["config", "--local", "--unset", PROGRAM];
    // Where it was never set there is nothing to forget.
    let _ = git::ask(git::command_in(repository.root()), &args);
    // git leaves the heading of a section that is empty.
    let rest = ["config", "--local", "--get-regexp", "^agile\\."];
    if let Ok(None) = git::ask(git::command_in(repository.root()), &rest) {
        let section = ["config", "--local", "--remove-section", "agile"];
        let _ = git::read(git::command_in(repository.root()), &section);
    }
}
