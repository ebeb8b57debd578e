//! Asking servers what their runs do, all servers at once.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::Context;
use crate::deployment::connection::{Asking, Connection};
use crate::deployment::observe::{Sighting, learn, sightings};
use crate::deployment::scripts;
use crate::deployment::trust::{Agreement, Agreements, Trust};
use crate::development::records::{self, Record};
use crate::development::repository::Repository;
use crate::error::{Error, Result};
use crate::model::config::{Launcher, Server, Source};
use crate::model::names::RunId;
use crate::model::run::Place;

/// At most so many servers at a time.
pub const JOBS: usize = 32;

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
    let answers: Vec<_> = stream::iter(asked).buffered(JOBS).collect().await;
    let (mut seen, mut failures) = (BTreeMap::new(), Vec::new());
    for (server, answer) in answers {
        match answer {
            Ok(sightings) => seen.extend(sightings),
            Err(error) => failures.push((server, error)),
        }
    }
    let time = now();
    let update = |record: Record| match seen.get(&record.run.id) {
        Some(sighting) => records::update(repository, &record.run.id, &[], |known| {
            learn(known, sighting.facts.as_ref(), time)
        }),
        None => Ok(record),
    };
    Ok((
        records.into_iter().map(update).collect::<Result<_>>()?,
        failures,
    ))
}

async fn ask(
    agreements: &Agreements,
    repository: &Repository,
    server: &Server,
    runs: &[RunId],
    asking: Asking<'_>,
) -> Result<BTreeMap<RunId, Sighting>> {
    check_trust(agreements, repository, server)?;
    let mut connection = Connection::open(server, asking).await?;
    let answer = connection
        .call(&scripts::status(&server.path, runs), |_| {})
        .await?;
    Ok(sightings(&answer).0)
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
