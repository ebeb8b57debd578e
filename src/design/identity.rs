//! A run's id: the same question has the same id, on every machine.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::model::names::{
    CommitId, DataName, EnvName, ExperimentName, ParamName, RunId, ServerName,
};
use crate::model::run::{DataKey, Rule};
use crate::model::value::Value;

/// What makes a run the one it is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Identity<'a> {
    /// The commit whose code runs.
    pub commit: &'a CommitId,
    /// The experiment.
    pub experiment: &'a ExperimentName,
    /// Its parameters.
    pub parameters: &'a BTreeMap<ParamName, Value>,
    /// The digest of the environment's description.
    pub environment: &'a str,
    /// The data it needs.
    pub data: &'a BTreeMap<DataName, DataKey>,
    /// The command with the parameters in it, and what else a layer outside the commit may have changed: the server's
    /// `setup` and `env`, and what ends the run early.
    pub surroundings: (
        &'a str,
        Option<&'a str>,
        &'a BTreeMap<EnvName, String>,
        Stops<'a>,
    ),
    /// The server: the same setting on two servers is two runs.
    pub server: &'a ServerName,
}

/// What ends a run early. A run without a metric's rule has the id that it had before there were such rules.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Stops<'a> {
    /// Nothing, or a limit in seconds.
    Limit(Option<u64>),
    /// That, and the rule of a metric.
    Rule(Option<u64>, &'a Rule),
}

/// The id of attempt `attempt` (from 1) of the run that `identity` describes: experiment, commit, and ten digits
/// of a SHA-256 over all of `identity`; later attempts add `-aN`.
pub fn run_id(identity: &Identity, attempt: u32) -> RunId {
    // Maps are ordered by key and JSON has one form here, so equal values give equal bytes.
    let bytes = serde_json::to_vec(identity).unwrap_or_default();
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let suffix = if attempt > 1 {
        format!("-a{attempt}")
    } else {
        String::new()
    };
    let text = format!(
        "{}-{}-{digest}{suffix}",
        slug(identity.experiment.as_str()),
        identity.commit.short()
    );
    // The slug is not empty, has legal characters only and at most 24 of them, so the whole has 1 to 60.
    RunId::new(text).expect("a slug, a commit and a digest make a run id")
}

fn slug(name: &str) -> String {
    let dashed: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    let slug: String = parts.join("-").chars().take(24).collect();
    match slug.trim_matches('-') {
        "" => "run".to_string(),
        slug => slug.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(experiment: &str, lr: &str, server: &str, attempt: u32) -> String {
        id_with(experiment, lr, server, attempt, Stops::Limit(None))
    }

    fn id_with(experiment: &str, lr: &str, server: &str, attempt: u32, stops: Stops) -> String {
        let commit = CommitId::new("1a2b3c4d5e6f70819203a4b5c6d7e8f901234567").unwrap();
        let parameters = BTreeMap::from([(ParamName::new("lr").unwrap(), Value::from_typed(lr))]);
        let identity = Identity {
            commit: &commit,
            experiment: &ExperimentName::new(experiment).unwrap(),
            parameters: &parameters,
            environment: "0123456789abcdef",
            data: &BTreeMap::new(),
            surroundings: ("python t.py", None, &BTreeMap::new(), stops),
            server: &ServerName::new(server).unwrap(),
        };
        run_id(&identity, attempt).to_string()
    }

    #[test]
    fn a_rule_is_part_of_the_question() {
        let rule = |below| Rule {
            metric: "loss".into(),
            below: Some(below),
            above: None,
            patience: None,
            mode: None,
        };
        let id = |stops| id_with("train", "0.1", "gpu1", 1, stops);
        let (one, two) = (rule(0.1), rule(0.2));
        let ids = [
            id(Stops::Limit(None)),
            id(Stops::Limit(Some(9))),
            id(Stops::Rule(None, &one)),
            id(Stops::Rule(Some(9), &one)),
            id(Stops::Rule(None, &two)),
        ];
        assert_eq!(
            ids.iter().collect::<std::collections::BTreeSet<_>>().len(),
            5
        );
    }

    #[test]
    fn equal_questions_have_equal_ids() {
        // A later version must give the same id, or it would launch what has run.
        assert_eq!(id("train", "0.1", "gpu1", 1), "train-1a2b3c4-fe8fdbfa85");
        assert_ne!(id("train", "0.1", "gpu1", 1), id("train", "0.2", "gpu1", 1));
        assert_ne!(id("train", "0.1", "gpu1", 1), id("train", "0.1", "gpu2", 1));
        assert_eq!(
            id("train", "0.1", "gpu1", 2),
            format!("{}-a2", id("train", "0.1", "gpu1", 1))
        );
    }

    #[test]
    fn any_experiment_name_makes_an_id() {
        for name in [
            "A.b_c",
            "9",
            &"x".repeat(64),
            "a..--..",
            "A-------------------------b",
        ] {
            assert!(id(name, "1", "s", u32::MAX).len() <= 60, "{name}");
        }
    }
}
