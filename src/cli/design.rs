//! `git agile design`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::Context;
use crate::design::expand;
use crate::error::Result;
use crate::terminal::{Stream, Style, clean};

/// Expand and validate the experiments of a commit; no network
#[derive(Debug, Args)]
pub struct DesignArgs {
    /// The commit
    #[arg(default_value = "HEAD")]
    commit: String,
    /// Print a JSON array of {experiment, servers, parameters, command}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) for whatever is wrong in agile.toml.
pub fn run(args: DesignArgs, ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    let config = ctx.config(&repository, repository.commit(&args.commit)?)?;
    let mut all = Vec::new();
    for experiment in config.experiments.values() {
        let settings = expand(experiment, &BTreeMap::new())?;
        let servers: Vec<_> = experiment.servers.iter().map(ToString::to_string).collect();
        if !args.json {
            let runs = settings.len() * servers.len();
            let head = format!("{}: {runs} runs on {}", experiment.name, servers.join(", "));
            ctx.output
                .data(&ctx.output.paint(Stream::Data, Style::Bold, &head))?;
        }
        for setting in settings {
            if args.json {
                all.push(json!({
                    "experiment": experiment.name, "servers": servers,
                    "parameters": setting.parameters, "command": setting.command,
                }));
            } else {
                ctx.output.data(&format!("  {}", clean(&setting.command)))?;
            }
        }
    }
    if args.json {
        ctx.output.json(&all)?;
    }
    Ok(())
}
