//! `git agile install` and `git agile uninstall`.

use clap::Args;

use super::Context;
use super::deploy::default_git_host;
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::development::hooks::{self, Installed};
use crate::development::repository::Repository;
use crate::error::{Error, Kind, Result};

/// Install the hooks in this clone
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Change nothing; the exit status is 1 when a hook is missing
    #[arg(long)]
    check: bool,
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
        let missing: Vec<_> = hooks::check(&hooks::folder(&repository)?)
            .into_iter()
            .filter(|(_, state)| *state == Installed::Missing)
            .map(|(name, _)| name)
            .collect();
        return match missing.is_empty() {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Check,
                format!("not installed: {}", missing.join(", ")),
            )
            .hint("git agile install")),
        };
    }
    install(ctx, &repository)?;
    offer_trust(ctx, &repository)
}

/// Installs the hooks and says what was done.
///
/// # Errors
/// As [`run`].
pub fn install(ctx: &Context, repository: &Repository) -> Result<()> {
    for (name, done) in hooks::install(&hooks::folder(repository)?)? {
        match done {
            Installed::Written => ctx.output.say(&format!("Installed the {name} hook.")),
            Installed::Chained => {
                ctx.output.say(&format!(
                    "Installed the {name} hook; the one that was there runs before it."
                ));
            }
            Installed::Current | Installed::Missing => {}
        }
    }
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
        let _ = super::deploy::agree_to(ctx, repository, &open, &host);
    }
    Ok(())
}

/// Runs `git agile uninstall`.
///
/// # Errors
/// [`Kind::Step`] when a hook cannot be removed.
pub fn undo(_: UninstallArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let removed = hooks::uninstall(&hooks::folder(&repository)?)?;
    match removed.is_empty() {
        true => ctx.output.say("Our hooks are not installed here."),
        false => ctx.output.say(&format!("Removed: {}.", removed.join(", "))),
    }
    Ok(())
}
