//! What a server is asked: the arguments of the program that lists and sends.

use std::ffi::{OsStr, OsString};

use super::manifest::Limits;
use super::plan::Plan;
use crate::model::nonce::Nonce;

/// The Python program (3.6 or later, standard library only), for `python3 -c PROGRAM ARGUMENTS…`.
pub const PROGRAM: &str = concat!(include_str!("list.py"), "\n\n", include_str!("send.py"));

/// The most bytes of one argument; Linux takes 128 KiB (MAX_ARG_STRLEN).
const ARGUMENT: usize = 64 << 10;

/// One run on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The run's folder there, absolute.
    pub folder: OsString,
    /// The experiment's `results` patterns; without any, what the run created or changed.
    pub patterns: Vec<String>,
}

impl Source {
    fn arguments(&self) -> impl Iterator<Item = OsString> + '_ {
        let patterns = self.patterns.iter().flat_map(|p| pair("--result", p));
        pair("--run", &self.folder).into_iter().chain(patterns)
    }
}

/// Asks for the manifest of `sources`; [`read_manifest`](super::read_manifest) reads the answer.
pub fn manifest_arguments(nonce: &Nonce, sources: &[Source], limits: &Limits) -> Vec<OsString> {
    let head = [
        "manifest".into(),
        nonce.to_string(),
        limits.file.to_string(),
        limits.files.to_string(),
    ];
    let head = head.into_iter().map(OsString::from);
    head.chain(sources.iter().flat_map(Source::arguments))
        .collect()
}

/// Asks for the files that `plan` wants of the same `sources`; [`receive`](super::receive) reads the answer.
pub fn send_arguments(nonce: &Nonce, sources: &[Source], plan: &Plan) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["send".into(), nonce.to_string().into()];
    for (source, run) in sources.iter().zip(&plan.runs) {
        arguments.extend(source.arguments());
        arguments.extend(pair("--list", run.list.to_string()));
        let wanted = ranges(run.wanted.iter().map(|wanted| wanted.file.index));
        arguments.extend(wanted.into_iter().flat_map(|ranges| pair("--want", ranges)));
    }
    arguments
}

fn pair(name: &str, value: impl AsRef<OsStr>) -> [OsString; 2] {
    [name.into(), value.as_ref().into()]
}

/// `0-4,7,9-12`, in as many pieces as arguments need.
fn ranges(indices: impl Iterator<Item = u64>) -> Vec<String> {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for index in indices {
        match spans.last_mut() {
            Some((_, last)) if index.checked_sub(1) == Some(*last) => *last = index,
            _ => spans.push((index, index)),
        }
    }
    let mut pieces: Vec<String> = Vec::new();
    for (first, last) in spans {
        let span = match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
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
        assert_eq!(ranges([0, 1, 2, 5, 7, 8].into_iter()), ["0-2,5,7-8"]);
        assert_eq!(ranges(0..200_000), ["0-199999"]);
        assert_eq!(ranges([3, 1, 2].into_iter()), ["3,1-2"]);
        assert!(ranges(std::iter::empty()).is_empty());
        let pieces = ranges((0..200_000).step_by(2));
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= ARGUMENT));
        assert_eq!(pieces.join(",").split(',').count(), 100_000);
    }
}
