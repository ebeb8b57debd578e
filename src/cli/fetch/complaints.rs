//! What did not come home, as the person is told.

use super::{Context, FetchArgs};
use crate::development::records::Record;
use crate::error::Error;
use crate::model::config::Server;
use crate::review::{Reason, Refusal};
use crate::terminal::{clean, clean_bytes};

/// Says which files the person chose to leave, and gives the other refusals as errors, one for each run and reason.
pub(super) fn complaints(
    args: &FetchArgs,
    ctx: &Context,
    server: &Server,
    records: &[&Record],
    refused: &[Refusal],
) -> Vec<Error> {
    let (left, refused): (Vec<&Refusal>, Vec<&Refusal>) = refused
        .iter()
        .partition(|refusal| args.leaves(&refusal.reason));
    let run = |refusal: &Refusal| records.get(refusal.run).map_or("?", |r| r.run.id.as_str());
    let what = |refusal: &Refusal| match refusal.path.as_slice() {
        b"." => format!("{} {}", run(refusal), refusal.reason),
        _ => format!("{}: {refusal}", run(refusal)),
    };
    // Those who watch see a file when it is no longer written to.
    let left = left
        .iter()
        .filter(|refusal| !args.watch || refusal.reason != Reason::Moving);
    let left: Vec<String> = left
        .map(|refusal| format!("  left: {}", what(refusal)))
        .collect();
    match args.dry_run {
        true => left.iter().for_each(|line| ctx.output.say(&clean(line))),
        false => ctx
            .output
            .list(&left, "the same command with --dry-run lists them all"),
    }
    let mut kinds: Vec<Vec<&Refusal>> = Vec::new();
    for refusal in refused {
        let is_alike = |kind: &&mut Vec<&Refusal>| {
            let is_of_run = |refusal: &Refusal| refusal.path == b".";
            kind[0].reason == refusal.reason
                && (kind[0].run == refusal.run || is_of_run(kind[0]) && is_of_run(refusal))
        };
        match kinds.iter_mut().find(is_alike) {
            Some(kind) => kind.push(refusal),
            None => kinds.push(vec![refusal]),
        }
    }
    let complaint = |kind: Vec<&Refusal>| {
        let others = kind[1..].iter().map(|other| match other.path.as_slice() {
            b"." => run(other).to_string(),
            path => clean_bytes(path),
        });
        let mut others: Vec<String> = others.take(20).collect();
        match kind.len() - 1 - others.len() {
            0 => {}
            more => others.push(format!("{more} more")),
        }
        let likewise = match others.is_empty() {
            true => String::new(),
            false => format!(" (likewise {})", others.join(", ")),
        };
        let said = format!("{}: {}{likewise}", server.name, what(kind[0]));
        let error = Error::step(clean(&said));
        error.hint(advice(server, run(kind[0]), &kind[0].reason))
    };
    kinds.into_iter().map(complaint).collect()
}

/// What helps where a result of `run` was refused.
fn advice(server: &Server, run: &str, reason: &Reason) -> String {
    let (name, path) = (&server.name, &server.path);
    match reason {
        Reason::Run(_) | Reason::Changed | Reason::ChangedHere => {
            "git agile fetch-results tries again".into()
        }
        Reason::Gone => format!(
            "is {path} mounted on {name}? If somebody removed the run, git agile clean --runs {name} records that"
        ),
        Reason::Large => format!(
            "git agile fetch-results --max-size 100G {run} fetches it; with a smaller size it is left without an error"
        ),
        Reason::Many => format!(
            "git agile fetch-results --max-files 1000000 {run} takes more; --exclude PATTERN leaves some out"
        ),
        Reason::InTheWay => format!("move it out of results/{run}, and fetch again"),
        _ => format!("it stays on the server: git agile ssh {name}"),
    }
}
