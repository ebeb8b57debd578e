//! Names of distributions.

/// The name by which two spellings of a distribution are compared: lower case, runs of `-`, `_` and `.` become
/// one `-` (PEP 503; the packaging specification "Names and normalization").
pub fn normal(name: &str) -> String {
    if is_normal(name) {
        return name.into();
    }
    let mut out = String::with_capacity(name.len());
    let mut dash = false;
    for c in name.trim().chars() {
        if matches!(c, '-' | '_' | '.') {
            dash = true;
        } else {
            if dash && !out.is_empty() {
                out.push('-');
            }
            dash = false;
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// Whether `name` is what [`normal`] makes of it.
pub fn is_normal(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.bytes().all(fits) && name.split('-').all(|part| !part.is_empty())
}

/// Whether `name` can be the name of a distribution (PEP 508: letters, digits, `.`, `_` and `-`, with a letter or
/// a digit at both ends).
pub fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_equal() {
        for name in ["ruamel.yaml", "Ruamel_Yaml", "ruamel-_.yaml"] {
            assert_eq!(normal(name), "ruamel-yaml");
        }
        assert!(is_normal("ruamel-yaml") && !is_normal("Flask") && !is_normal("a--b"));
        assert!(is_valid("PyYAML") && !is_valid("-e") && !is_valid("a b") && !is_valid(""));
    }
}
