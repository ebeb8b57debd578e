//! The text of one file, what is wrong with it in a person's words, and where in it a key stands.

use toml::Table;

use super::load::Layer;
use super::raw::RawConfig;
use crate::error::{Error, Result};
use crate::terminal::clean;

/// The largest configuration file, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The tables of `layer`, checked and as they are.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) with file and line: too large, not UTF-8, no TOML, an unknown key, or a
/// value that does not fit.
pub(super) fn parse(layer: &Layer) -> Result<(RawConfig, Table)> {
    let file = &layer.file;
    if layer.content.len() > MAX_BYTES {
        return Err(Error::config(format!("{file} is larger than 1 MiB"))
            .hint("split the experiments, or use `random`"));
    }
    let text = std::str::from_utf8(&layer.content).map_err(|error| {
        let line = line_at(&layer.content, error.valid_up_to());
        Error::config(format!("{file}:{line}: not UTF-8 text"))
            .hint(format!("save {file} as UTF-8, and commit"))
    })?;
    let raw = toml::from_str(text).map_err(|error| syntax_error(file, text, &error))?;
    let table = toml::from_str(text).map_err(|error| syntax_error(file, text, &error))?;
    Ok((raw, table))
}

/// `error` as `FILE:LINE: what`, the line with a caret below, and the nearest known key.
fn syntax_error(file: &str, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().trim();
    let message = &message.replace("a nonzero u16", "a whole number from 1 to 65535");
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = &text.as_bytes()[..start];
    let number = line_at(before, start);
    let line_start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let line: String = text[line_start..]
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(160)
        .collect();
    let column = String::from_utf8_lossy(&before[line_start..])
        .chars()
        .count()
        .min(160);

    let (what, hint) = explain(message);
    let gutter = " ".repeat(number.to_string().len());
    let excerpt = format!(
        "{number} | {}\n{gutter} | {}^",
        clean(&line.replace('\t', " ")),
        " ".repeat(column)
    );
    let error = Error::config(format!("{file}:{number}: {}\n{excerpt}", first_line(&what)));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn first_line(text: &str) -> String {
    clean(
        &text
            .lines()
            .next()
            .unwrap_or("")
            .chars()
            .take(500)
            .collect::<String>(),
    )
}

/// serde's "unknown field `sever`, expected one of `a`, `b`" as a plain sentence and a suggestion.
fn explain(message: &str) -> (String, Option<String>) {
    let unknown = [("field", "key"), ("variant", "value")];
    let found = unknown.iter().find_map(|(serdes, ours)| {
        let rest = message.strip_prefix(&format!("unknown {serdes} `"))?;
        Some((rest, *ours))
    });
    let Some((rest, noun)) = found else {
        return (message.to_string(), None);
    };
    let mut quoted = rest.split('`');
    let word = quoted.next().unwrap_or("");
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let hint = match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the {noun}s here are {}", known.join(", ")),
    };
    (format!("unknown {noun} `{word}`"), Some(hint))
}

/// The candidate that `word` most likely means, if one is near enough.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + word.len() / 4).then_some(candidate)
}

/// The line, counted from 1, on which `text` sets the dotted `key` or its innermost parent that it has.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = toml_edit::Document::parse(text).ok()?;
    let mut item = document.as_item();
    let mut span = None;
    for part in key.split('.') {
        let Some(table) = item.as_table_like() else {
            break;
        };
        let Some((key, next)) = table.get_key_value(part) else {
            break;
        };
        span = key.span().or(next.span()).or(span);
        item = next;
    }
    Some(line_at(text.as_bytes(), span?.start))
}

/// The line, counted from 1, of the byte `at`.
fn line_at(text: &[u8], at: usize) -> usize {
    1 + text[..at].iter().filter(|&&byte| byte == b'\n').count()
}
