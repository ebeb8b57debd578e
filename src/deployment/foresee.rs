//! What a server says before a deployment: what of it is there already. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::observe::{Sighting, sightings};
use super::protocol::Answer;
use crate::model::names::{CommitId, RunId};

/// What is there of what a deployment needs.
#[derive(Clone, Debug, Default)]
pub struct Foresight {
    /// The runs.
    pub runs: BTreeMap<RunId, Sighting>,
    /// The commits, of the project and of its submodules, that are missing, each with those on which a transfer can build.
    pub missing: BTreeMap<CommitId, Vec<CommitId>>,
    /// The commits that are there.
    pub commits: BTreeSet<CommitId>,
    /// The SHA-256 of what Git LFS keeps and the server has not.
    pub lacks: BTreeSet<String>,
    /// The data sets by their address.
    pub data: BTreeMap<String, Data>,
    /// The environment: its name, whether it is there, and who builds it. Nothing where the server cannot have it.
    pub environment: Option<(String, bool, String)>,
}

/// What is there of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// All of it.
    There,
    /// The archive, which has to be unpacked.
    Packed,
    /// So many bytes, where a download will continue.
    Part(u64),
    /// Nothing.
    Missing,
}

/// Reads a server's answer. Lines that are not understood are passed over: a newer script may say more.
pub fn foresight(answer: &Answer) -> Foresight {
    let mut seen = Foresight {
        runs: sightings(answer, None),
        ..Foresight::default()
    };
    for line in answer {
        let fields: Vec<&str> = line.iter().map(String::as_str).collect();
        match fields.as_slice() {
            ["commit", id, state] => {
                let Ok(id) = CommitId::new(*id) else { continue };
                match *state {
                    "there" => drop(seen.commits.insert(id)),
                    _ => drop(seen.missing.entry(id).or_default()),
                }
            }
            ["have", id, other] => {
                if let (Ok(id), Ok(other)) = (CommitId::new(*id), CommitId::new(*other)) {
                    seen.missing.entry(id).or_default().push(other);
                }
            }
            ["lacks", oid] => drop(seen.lacks.insert(oid.to_string())),
            ["data", url, state, size] => {
                let data = match *state {
                    "there" => Data::There,
                    "packed" => Data::Packed,
                    "part" => Data::Part(size.parse().unwrap_or(0)),
                    _ => Data::Missing,
                };
                seen.data.insert(url.to_string(), data);
            }
            ["environment", name, state, manager] => {
                let is_ready = *state == "ready";
                seen.environment = Some((name.to_string(), is_ready, manager.to_string()));
            }
            _ => {}
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_hostile_lines_are_passed_over() {
        let (there, missing) = ("a".repeat(40), "b".repeat(40));
        let text = format!(
            "run|ok-1|look|running|5|-|alive|4\nrun|../x|look|absent\ncommit|{there}|there\ncommit|{missing}|missing\n\
             have|{missing}|{there}\nhave|{missing}|--upload-pack=x\nlacks|0f\ndata|https://x|part|17\n\
             data|https://y|what|-\nenvironment|0123|ready|uv\nsomething|new\n"
        );
        let answer: Answer = text
            .lines()
            .map(|line| line.split('|').map(str::to_string).collect())
            .collect();
        let seen = foresight(&answer);
        assert_eq!(seen.runs.len(), 1);
        assert_eq!(
            seen.commits.iter().map(CommitId::as_str).next(),
            Some(&*there)
        );
        let (id, have) = seen.missing.iter().next().unwrap();
        assert_eq!((id.as_str(), have.len()), (&*missing, 1));
        assert_eq!(seen.data["https://x"], Data::Part(17));
        assert_eq!(seen.data["https://y"], Data::Missing);
        assert!(seen.lacks.contains("0f"));
        assert_eq!(seen.environment, Some(("0123".into(), true, "uv".into())));
    }
}
