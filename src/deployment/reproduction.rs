//! A run once more, from its record alone.

use super::deploy::{Occasion, attempt_id};
use crate::design::{Identity, Stops, run_id};
use crate::model::config::Server;
use crate::model::names::RunId;
use crate::model::run::{Place, Run, SCHEMA};

/// The id that the first attempt of what `run` asks has on `server` as that is configured now. It is the one that the
/// record has only if command, data, limits, and the server's `setup` and `env` are what they were.
pub fn first_id(run: &Run, server: &Server) -> RunId {
    let surroundings = (
        run.command.as_str(),
        server.setup.as_deref(),
        &server.env,
        match &run.rule {
            None => Stops::Limit(run.limit),
            Some(rule) => Stops::Rule(run.limit, rule),
        },
    );
    let identity = Identity {
        commit: &run.commit,
        experiment: &run.experiment,
        parameters: &run.parameters,
        environment: &run.environment.key,
        data: &run.data,
        surroundings,
        server: &server.name,
    };
    run_id(&identity, 1)
}

/// Whether `run` is an attempt of the run whose first attempt is `first`.
pub fn is_attempt_of(run: &Run, first: &RunId) -> bool {
    match run.attempt {
        1 => run.id == *first,
        attempt => run.id == attempt_id(first, attempt),
    }
}

/// The attempt number `attempt` at what `original` asks, on `server`, where the first one is `first`.
pub fn reproduction(
    original: &Run,
    server: &Server,
    first: &RunId,
    attempt: u32,
    occasion: Occasion,
) -> Run {
    Run {
        schema: SCHEMA,
        id: match attempt {
            1 => first.clone(),
            attempt => attempt_id(first, attempt),
        },
        attempt,
        reproduces: Some(original.id.clone()),
        server: Place {
            name: server.name.clone(),
            host: server.host.clone(),
            path: server.path.clone(),
        },
        sprint: occasion.sprint,
        asked: occasion.asked,
        by: occasion.by,
        ..original.clone()
    }
}
