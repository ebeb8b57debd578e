//! What a server is asked: the arguments of the program that lists and sends.

use std::ffi::{OsStr, OsString};

use super::manifest::{Ask, Limits};
use super::plan::Plan;
use crate::model::nonce::Nonce;

/// The Python program (3.6 or later, standard library only), without its comments (`build.rs`), for
/// `python3 -c PROGRAM ARGUMENTS…`.
pub const PROGRAM: &str = concat!(
    include_str!(concat!(env!("OUT_DIR"), "/scripts/answer.py")),
    include_str!(concat!(env!("OUT_DIR"), "/scripts/list.py")),
    include_str!(concat!(env!("OUT_DIR"), "/scripts/send.py"))
);

/// The most bytes of one argument; Linux takes 128 KiB (MAX_ARG_STRLEN).
const ARGUMENT: usize = 64 << 10;

/// One run on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The run's folder there, absolute.
    pub folder: OsString,
    /// The experiment's `results` patterns; without any, what the run created or changed.
    pub patterns: Vec<String>,
    /// Patterns that choose among those; without any, all of them.
    pub only: Vec<String>,
    /// Whether the run goes on: files that it still writes to are then refused.
    pub is_moving: bool,
}

impl Source {
    fn arguments(&self) -> impl Iterator<Item = OsString> + '_ {
        let patterns = self.patterns.iter().flat_map(|p| pair("--result", p));
        let only = self.only.iter().flat_map(|p| pair("--only", p));
        let moving = self.is_moving.then(|| pair("--moving", "yes"));
        pair("--run", &self.folder)
            .into_iter()
            .chain(patterns)
            .chain(only)
            .chain(moving.into_iter().flatten())
    }
}

/// Asks for the manifest of `sources`; [`read_manifest`](super::read_manifest) reads the answer.
pub fn manifest_arguments(nonce: &Nonce, sources: &[Source], limits: &Limits) -> Vec<OsString> {
    fetch_arguments(nonce, sources, &vec![Ask::List; sources.len()], limits)
}

/// Asks for the manifest of `sources`, and what else `asks` has for each; [`Offer::read`](super::Offer::read) reads the
/// answer.
pub fn fetch_arguments(
    nonce: &Nonce,
    sources: &[Source],
    asks: &[Ask],
    limits: &Limits,
) -> Vec<OsString> {
    let head = [
        "manifest".into(),
        nonce.to_string(),
        limits.file.to_string(),
        limits.files.to_string(),
    ];
    let head = head.into_iter().map(OsString::from);
    let runs = sources.iter().zip(asks).flat_map(|(source, ask)| {
        let more = match ask {
            Ask::List => None,
            Ask::Unless(state) => Some(pair("--have", state.to_string())),
            Ask::Contents => Some(pair("--contents", "yes")),
        };
        source.arguments().chain(more.into_iter().flatten())
    });
    head.chain(runs).collect()
}

/// Asks for the files that `plan` wants of the same `sources`; [`receive`](super::receive) reads the answer.
pub fn send_arguments(nonce: &Nonce, sources: &[Source], plan: &Plan) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["send".into(), nonce.to_string().into()];
    for (source, run) in sources.iter().zip(&plan.runs) {
        arguments.extend(source.arguments());
        arguments.extend(pair("--list", run.listing.id.to_string()));
        let wanted = ranges(run.wanted.iter().map(|w| (run.file(w).index, w.offset)));
        arguments.extend(wanted.into_iter().flat_map(|ranges| pair("--want", ranges)));
    }
    arguments
}

fn pair(name: &str, value: impl AsRef<OsStr>) -> [OsString; 2] {
    [name.into(), value.as_ref().into()]
}

/// `0-4,7,9-12,13+100` of each index and how many bytes of it are here, in as many pieces as arguments need.
fn ranges(files: impl Iterator<Item = (u64, u64)>) -> Vec<String> {
    let mut spans: Vec<(u64, u64, u64)> = Vec::new();
    for (index, offset) in files {
        match spans.last_mut() {
            Some((_, last, 0)) if offset == 0 && index.checked_sub(1) == Some(*last) => {
                *last = index
            }
            _ => spans.push((index, index, offset)),
        }
    }
    let mut pieces: Vec<String> = Vec::new();
    for (first, last, offset) in spans {
        let span = match (first == last, offset) {
            (true, 0) => first.to_string(),
            (true, _) => format!("{first}+{offset}"),
            (false, _) => format!("{first}-{last}"),
        };
        match pieces.last_mut() {
            Some(piece) if piece.len() + span.len() < ARGUMENT => {
                piece.push(',');
                piece.push_str(&span);
            }
            _ => pieces.push(span),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_short() {
        let whole = |indices: &[u64]| ranges(indices.iter().map(|index| (*index, 0)));
        assert_eq!(whole(&[0, 1, 2, 5, 7, 8]), ["0-2,5,7-8"]);
        assert_eq!(ranges((0..200_000).map(|i| (i, 0))), ["0-199999"]);
        assert_eq!(whole(&[3, 1, 2]), ["3,1-2"]);
        let begun = [(0, 0), (1, 5), (2, 0), (3, 0), (4, 9)];
        assert_eq!(ranges(begun.into_iter()), ["0,1+5,2-3,4+9"]);
        assert!(ranges(std::iter::empty()).is_empty());
        let pieces = ranges((0..200_000).step_by(2).map(|i| (i, 0)));
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= ARGUMENT));
        assert_eq!(pieces.join(",").split(',').count(), 100_000);
    }
}
