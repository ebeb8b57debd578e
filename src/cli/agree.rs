//! Agreement to servers.

use super::Context;
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::development::push::{fetch_url, git_host};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Config, Server, Source};
use crate::model::names::Host;

/// Whether each of `servers` may be contacted for this repository. A person's own configuration file agrees to its
/// servers; for others the person is asked, on a terminal.
pub fn agree_to(
    ctx: &Context,
    repository: &Repository,
    servers: &[Server],
    git_host: &str,
) -> Vec<Result<()>> {
    let mut agreements = match Agreements::load() {
        Ok(agreements) => agreements,
        Err(error) => return servers.iter().map(|_| Err(error.clone())).collect(),
    };
    servers
        .iter()
        .map(|server| agree(ctx, repository, &mut agreements, server, git_host))
        .collect()
}

fn agree(
    ctx: &Context,
    repository: &Repository,
    agreements: &mut Agreements,
    server: &Server,
    git_host: &str,
) -> Result<()> {
    let wanted = Agreement::for_server(repository.common_dir(), server, git_host);
    let trust = agreements.check(&wanted);
    if trust == Trust::Agreed {
        return Ok(());
    }
    if server.is_personal && trust == Trust::New {
        let name = &server.name;
        ctx.output.say(&format!(
            "{name} is a server of your own configuration: this repository may use it from now on."
        ));
    } else {
        let (said, question) = describe(server, &wanted.git_host, &trust);
        let refusal = Error::config(said).hint(format!("git agile trust {}", server.name));
        if !ctx.can_ask() || !ctx.confirm(&question)? {
            return Err(refusal);
        }
    }
    *agreements = Agreements::change(|all| all.agree(wanted))?;
    Ok(())
}

/// What is wrong with contacting a server, and the question that settles it.
pub fn describe(server: &Server, git_host: &str, trust: &Trust) -> (String, String) {
    let name = &server.name;
    let place = match server.host {
        Host::Local => "this machine".to_string(),
        _ => server.host.to_string(),
    };
    let question = format!(
        "May this repository run programs on `{name}` ({place}), fetching from {git_host}?"
    );
    match trust {
        Trust::Changed(was) if was.host != server.host.to_string() => (
            format!(
                "server '{name}' now means {} (was {})",
                server.host, was.host
            ),
            format!("`{name}` was {} until now. {question}", was.host),
        ),
        Trust::Changed(was) => (
            format!(
                "server '{name}' would now fetch from {git_host} (was {})",
                was.git_host
            ),
            format!(
                "`{name}` fetched from {} until now. {question}",
                was.git_host
            ),
        ),
        _ => (
            format!("you have not agreed yet to the server '{name}' ({place})"),
            question,
        ),
    }
}

/// The host that servers of this repository fetch from by default.
///
/// # Errors
/// As [`fetch_url`].
pub fn default_git_host(repository: &Repository, config: &Config) -> Result<String> {
    let remote = config.push.remotes.first().map_or("origin", String::as_str);
    match fetch_url(repository, remote) {
        // Without a remote, commits can still be sent from here.
        Err(_)
            if config
                .servers
                .values()
                .all(|server| server.source == Source::Direct) =>
        {
            Ok(String::new())
        }
        url => url.map(|url| git_host(&url)),
    }
}
