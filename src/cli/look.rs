//! Asking servers what their runs do, all servers at once.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::seen::Seen;
use super::{Context, manners};
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::observe::{Sighting, learn, sightings};
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::deployment::{scripts, slurm};
use crate::development::records::{self, Attachment, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Launcher, Server, Source};
use crate::model::names::RunId;
use crate::model::run::{Place, RunState};
use crate::model::slurm::SlurmOptions;
use crate::terminal::{clean, count};

/// The file of a record that has the packages of the run's environment.
pub const PACKAGES: &str = "packages.txt";

/// How many servers are contacted at a time, at most: `agile.jobs` of git's configuration.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) for a value that is no number, or none that can be meant.
pub fn jobs() -> Result<usize> {
    let Some(value) = manners::setting("agile.jobs") else {
        return Ok(32);
    };
    let jobs = value.parse().ok().filter(|jobs| (1..=1000).contains(jobs));
    jobs.ok_or_else(|| {
        let said = format!("`{}` is no value of agile.jobs", clean(&value));
        Error::config(said).hint("git config agile.jobs 32")
    })
}

/// Now, seconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The server of a record, as a connection needs it.
pub fn server_of(place: &Place) -> Server {
    Server {
        name: place.name.clone(),
        host: place.host.clone(),
        path: place.path.clone(),
        source: Source::default(),
        launcher: Launcher::default(),
        slots: None,
        gpus: None,
        setup: None,
        env: BTreeMap::new(),
        slurm: SlurmOptions::default(),
        is_personal: false,
    }
}

/// Whether the person has agreed to the server of a record: records may come from somebody else.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when they have not.
pub fn check_trust(
    agreements: &Agreements,
    repository: &Repository,
    server: &Server,
) -> Result<()> {
    let wanted = Agreement::for_server(repository.common_dir(), server, "");
    match agreements.check(&wanted) {
        Trust::Changed(known) if known.host == wanted.host => Ok(()),
        Trust::Agreed => Ok(()),
        _ => Err(Error::config(format!(
            "{}: you have not agreed to the server {}",
            server.name, server.host
        ))
        .hint(format!("git agile trust {}", server.name))),
    }
}

/// Groups `records` by the folder on a server that they are in.
pub fn by_place(records: &[Record]) -> Vec<(Server, Vec<RunId>)> {
    let mut groups: Vec<(Place, Vec<RunId>)> = Vec::new();
    for record in records {
        match groups
            .iter_mut()
            .find(|(place, _)| *place == record.run.server)
        {
            Some((_, runs)) => runs.push(record.run.id.clone()),
            None => groups.push((record.run.server.clone(), vec![record.run.id.clone()])),
        }
    }
    groups
        .into_iter()
        .map(|(place, runs)| (server_of(&place), runs))
        .collect()
}

/// Asks the servers of those `records` that have not ended, and gives all records with what was learnt, and the
/// errors of the servers that could not be seen. Those change nothing.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when a record cannot be written.
pub async fn look(
    repository: &Repository,
    records: Vec<Record>,
    asking: Asking<'_>,
) -> Result<(Vec<Record>, Vec<(Server, Error)>)> {
    let active: Vec<Record> = records
        .iter()
        .filter(|record| record.known.is_open())
        .cloned()
        .collect();
    if active.is_empty() {
        return Ok((records, Vec::new()));
    }
    let agreements = Agreements::load()?;
    let asked = by_place(&active).into_iter().map(|(server, runs)| {
        let agreements = &agreements;
        async move {
            let result = ask(agreements, repository, &server, &runs, asking).await;
            (server, result)
        }
    });
    let answers: Vec<_> = stream::iter(asked).buffered(jobs()?).collect().await;
    let (mut seen, mut failures) = (BTreeMap::new(), Vec::new());
    for (server, answer) in answers {
        match answer {
            Ok((sightings, unseen)) => {
                let missing = missing(&active, &server, &sightings);
                failures.extend(missing.map(|error| (server.clone(), error)));
                seen.extend(sightings);
                failures.extend(unseen.map(|error| (server, error)));
            }
            Err(error) => failures.push((server, error)),
        }
    }
    let (time, before) = (now(), Seen::load(repository));
    let update = |record: Record| match seen.get(&record.run.id) {
        Some(sighting) => take_in(repository, &record.run.id, sighting, time),
        None => Ok(before.of(record)),
    };
    let records: Vec<Record> = records.into_iter().map(update).collect::<Result<_>>()?;
    before.keep(&records);
    Ok((records, failures))
}

/// What to say of those `active` runs on `server` that had been launched and that it has no folder of: their disk may not
/// be mounted, or somebody has removed them. That ends no run.
fn missing(
    active: &[Record],
    server: &Server,
    sightings: &BTreeMap<RunId, Sighting>,
) -> Option<Error> {
    let is_there = |id: &RunId| sightings.get(id).is_some_and(|seen| seen.facts.is_some());
    let is_missing = |record: &&Record| {
        server_of(&record.run.server) == *server
            && record.known.state != RunState::Asked
            && !is_there(&record.run.id)
    };
    let missing: Vec<&Record> = active.iter().filter(is_missing).collect();
    let first = missing.first()?;
    let (name, path) = (&server.name, &server.path);
    let others = match missing.len() {
        1 => String::new(),
        more => format!(" and {}", count(more - 1, "other run")),
    };
    let said = format!(
        "{name}: the folder of {}{others} is not there any more",
        first.run.id
    );
    Some(Error::step(said).hint(format!(
        "is {path} mounted on {name}? If it was removed, `git agile stop --gone` records the end"
    )))
}

/// Adds what a server said of the run `id` at `time` to its record.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when the record cannot be written.
pub fn take_in(
    repository: &Repository,
    id: &RunId,
    sighting: &Sighting,
    time: i64,
) -> Result<Record> {
    let packages = sighting.packages.as_ref().map(|packages| {
        Attachment::new(repository, PACKAGES, |out| {
            out.write_all(packages.as_bytes())
        })
    });
    let packages = packages.transpose()?;
    records::update(repository, id, packages.as_slice(), |known| {
        learn(known, sighting.facts.as_ref(), time)
    })
}

async fn ask(
    agreements: &Agreements,
    repository: &Repository,
    server: &Server,
    runs: &[RunId],
    asking: Asking<'_>,
) -> Result<(BTreeMap<RunId, Sighting>, Option<Error>)> {
    check_trust(agreements, repository, server)?;
    let mut connection = Connection::open(server, asking).await?;
    let mut answer = connection
        .call(&scripts::status(&server.path, false, runs), |_| {})
        .await?;
    if slurm::is_unasked(&answer) {
        let call = scripts::status(&server.path, true, runs);
        answer = connection.call(&call, |_| {}).await?;
    }
    let mut seen = sightings(&answer, Some(now()));
    // A server speaks for the runs it was asked about, and no others.
    seen.retain(|id, _| runs.contains(id));
    Ok((seen, slurm::unseen(server, &answer)))
}

/// Says which servers could not be seen; their runs keep their last known state.
pub fn warn_unseen(ctx: &Context, failures: &[(Server, Error)]) {
    for (_, error) in failures {
        ctx.output.warn(&error.to_string());
        for hint in &error.hints {
            ctx.output.hint(hint);
        }
    }
}
