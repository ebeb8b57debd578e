//! What one line of a requirements file says.

use super::{Kind, Requirement};
use crate::requirements::name;

/// `https://user:word@host` without what stands before the `@`.
pub(super) fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.into();
    };
    let host = rest.find('/').unwrap_or(rest.len());
    let start = rest[..host].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[start..])
}

/// Where the comment of a line begins: at a `#` in front or behind white space, as pip reads it.
fn comment_at(text: &str) -> usize {
    let bytes = text.as_bytes();
    let begins =
        |at: &usize| bytes[*at] == b'#' && (*at == 0 || bytes[at - 1].is_ascii_whitespace());
    (0..bytes.len()).find(begins).unwrap_or(bytes.len())
}

pub(super) fn classify(text: &str) -> Kind {
    let body = &text[..comment_at(text)];
    let flat = body.replace("\\\r\n", " ").replace("\\\n", " ");
    let flat = flat.trim();
    if flat.is_empty() {
        return Kind::Comment;
    }
    if let Some(rest) = flat.strip_prefix('-') {
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        // `-rfile` needs no blank.
        let end = if rest.starts_with('-') || end <= 1 {
            end
        } else {
            1
        };
        let end = (0..=end)
            .rev()
            .find(|at| rest.is_char_boundary(*at))
            .unwrap_or(0);
        let value = rest[end..].trim_start_matches('=').trim().to_string();
        return match &rest[..end] {
            "e" | "-editable" => Kind::Direct(direct_name(&value)),
            option => Kind::Option(format!("-{option}"), value),
        };
    }
    requirement(text).unwrap_or_else(|why| match why {
        Some(why) => Kind::Unreadable(why),
        None => Kind::Direct(direct_name(flat)),
    })
}

/// Reads `NAME[EXTRAS] SPEC ; MARKER --hash=…`. The error is nothing for a URL or a path.
fn requirement(text: &str) -> Result<Kind, Option<String>> {
    let end = comment_at(text);
    let bytes = text.as_bytes();
    let blank = |at: usize| at < end && (bytes[at].is_ascii_whitespace() || bytes[at] == b'\\');
    let skip = |mut at: usize| {
        while blank(at) {
            at += 1;
        }
        at
    };
    let start = skip(0);
    let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let stop = start + bytes[start..end].iter().take_while(|b| part(b)).count();
    let name = &text[start..stop];
    if matches!(bytes.get(stop), Some(b':' | b'/' | b'+')) || name.starts_with('.') {
        return Err(None);
    }
    if stem(name).is_some() {
        return Err(None);
    }
    if !name::is_valid(name) {
        return Err(Some("is not a requirement".into()));
    }
    let mut at = stop;
    if bytes.get(skip(at)) == Some(&b'[') && skip(at) < end {
        let close = text[at..end]
            .find(']')
            .ok_or(Some("has an extra that is not closed".to_string()))?;
        at += close + 1;
    }
    let from = skip(at);
    if bytes.get(from) == Some(&b'@') && from < end {
        return Ok(Kind::Direct(Some(name.into())));
    }
    let rest = &text[from..end];
    let until = rest
        .find(';')
        .unwrap_or(rest.len())
        .min(rest.find("--").unwrap_or(rest.len()));
    let spec = rest[..until].trim_end_matches(|c: char| c.is_whitespace() || c == '\\');
    check_spec(spec)?;
    let spec = if spec.is_empty() {
        at..at
    } else {
        from..from + spec.len()
    };
    let options = rest.find("--").unwrap_or(rest.len());
    let marker = rest.find(';').filter(|at| *at < options).map(|at| {
        let marker = rest[at + 1..options]
            .replace("\\\r\n", " ")
            .replace("\\\n", " ");
        marker.trim().to_string()
    });
    Ok(Kind::Requirement(Requirement {
        name: name.into(),
        spec,
        marker,
        hashed: rest[options..].contains("--hash"),
    }))
}

fn check_spec(spec: &str) -> Result<(), Option<String>> {
    let inner = spec
        .strip_prefix('(')
        .and_then(|s| s.strip_suffix(')'))
        .unwrap_or(spec);
    let flat = inner.replace("\\\r\n", " ").replace("\\\n", " ");
    match flat.parse::<pep440_rs::VersionSpecifiers>() {
        Ok(_) => Ok(()),
        Err(error) => {
            let why = error.to_string();
            Err(Some(
                why.lines().next().unwrap_or("is not a version").to_string(),
            ))
        }
    }
}

/// The name of what a URL or a path installs: `#egg=NAME`, or else its last component without its ending.
fn direct_name(url: &str) -> Option<String> {
    if let Some(at) = url.find("#egg=") {
        let name = &url[at + 5..];
        let end = name.find(['&', '[', ' ']).unwrap_or(name.len());
        return Some(name[..end].into()).filter(|name: &String| name::is_valid(name));
    }
    let path = url
        .split(['#', '?', ';', ' '])
        .next()?
        .trim_end_matches('/');
    let last = path.rsplit('/').next()?;
    let last = last.split('@').next()?;
    let last = last.strip_suffix(".git").unwrap_or(last);
    match stem(last) {
        Some(stem) => archived(stem),
        None => name::is_valid(last).then(|| last.into()),
    }
}

/// The name of an archive without its ending; nothing for what pip takes for no archive.
fn stem(file: &str) -> Option<&str> {
    let endings = [
        ".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar",
    ];
    let without = |ending: &&str| {
        let at = file.len().checked_sub(ending.len())?;
        let ends = file.get(at..)?.eq_ignore_ascii_case(ending);
        ends.then(|| &file[..at])
    };
    endings.iter().find_map(without)
}

/// The distribution in an archive: `NAME-VERSION`, of a wheel with tags behind it (the packaging specifications "Source
/// distribution format" and "Binary distribution format"). Older names have dashes of their own.
fn archived(stem: &str) -> Option<String> {
    let is_version = |part: &str| part.parse::<pep440_rs::Version>().is_ok();
    let mut dashes = stem.match_indices('-').map(|(at, _)| at);
    let end = dashes.find(|at| {
        let version = stem[at + 1..].split('-').next();
        version.is_some_and(is_version)
    })?;
    Some(&stem[..end])
        .filter(|name| name::is_valid(name))
        .map(str::to_string)
}
