//! `git agile trust`.

use clap::Args;
use serde_json::json;

use super::Context;
use super::agree::{default_git_host, describe};
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::error::Result;
use crate::terminal::Table;

/// Agree to the servers that agile.toml names, so that they may be contacted
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// Servers of agile.toml
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// Show the servers, and whether you have agreed to them
    #[arg(long, conflicts_with_all = ["servers", "all", "revoke"])]
    list: bool,
    /// With --list: print a JSON array, one object a server
    #[arg(long, requires = "list")]
    json: bool,
    /// All servers
    #[arg(long)]
    all: bool,
    /// Take the agreement back
    #[arg(long)]
    revoke: bool,
}

/// Runs the command. Naming a server, or `--all`, is the agreement; nothing more is asked.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) for an unknown server.
pub fn run(args: TrustArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let config = ctx.config(&repository, repository.commit("HEAD")?)?;
    let host = default_git_host(&repository, &config)?;
    let agreements = Agreements::load()?;
    for name in &args.servers {
        config.server(name)?;
    }
    if args.json {
        let servers = config.servers.values().map(|server| {
            let wanted = Agreement::for_server(repository.common_dir(), server, &host);
            let agreed = agreements.check(&wanted) == Trust::Agreed || server.is_personal;
            json!({
                "server": server.name, "host": server.host.to_string(),
                "fetches_from": wanted.git_host, "agreed": agreed,
            })
        });
        return ctx.output.json(&servers.collect::<Vec<_>>());
    }
    if args.list || (args.servers.is_empty() && !args.all) {
        let mut table = Table::new(&["SERVER", "HOST", "FETCHES FROM", "AGREED"]);
        for server in config.servers.values() {
            let wanted = Agreement::for_server(repository.common_dir(), server, &host);
            let agreed = match agreements.check(&wanted) {
                Trust::Agreed => "yes".to_string(),
                _ if server.is_personal => "yes (your own configuration)".to_string(),
                Trust::New => "no".to_string(),
                trust @ Trust::Changed(_) => {
                    format!("no: {}", describe(server, &wanted.git_host, &trust).0)
                }
            };
            table.row([
                server.name.to_string(),
                server.host.to_string(),
                wanted.git_host.clone(),
                agreed,
            ]);
        }
        for line in table.lines() {
            ctx.output.data(&line)?;
        }
        if !args.list {
            ctx.output
                .hint("git agile trust SERVER agrees to one, --all to all of them");
        }
        return Ok(());
    }
    for server in config.servers.values() {
        if !args.all && !args.servers.iter().any(|name| name == server.name.as_str()) {
            continue;
        }
        let wanted = Agreement::for_server(repository.common_dir(), server, &host);
        if args.revoke {
            Agreements::change(|all| {
                all.revoke(&wanted.repository, &wanted.server);
            })?;
            ctx.output.say(&format!(
                "{} is no longer contacted for this repository.",
                server.name
            ));
        } else {
            ctx.output.say(&format!(
                "{}: {}, fetching from {}",
                server.name, server.host, wanted.git_host
            ));
            Agreements::change(|all| all.agree(wanted))?;
        }
    }
    Ok(())
}
