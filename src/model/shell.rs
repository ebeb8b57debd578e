//! Quoting for a POSIX shell: the one place where data becomes shell text.

use std::fmt::Write as _;

/// A text holds a NUL, which no argument or variable can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value holds a NUL character, which a program cannot receive")]
pub struct HasNul;

/// `bytes` as one word of a POSIX shell, whatever they are (POSIX.1-2017, XCU 2.2.2 Single-Quotes).
///
/// # Errors
/// [`HasNul`] when there is a NUL among them.
pub fn quote_bytes(bytes: &[u8]) -> Result<Vec<u8>, HasNul> {
    if bytes.contains(&0) {
        return Err(HasNul);
    }
    let mut word = Vec::with_capacity(bytes.len() + 2);
    word.push(b'\'');
    for &byte in bytes {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            _ => word.push(byte),
        }
    }
    word.push(b'\'');
    Ok(word)
}

/// [`quote_bytes`] for text. Words that need no quoting stay readable.
///
/// # Errors
/// [`HasNul`] when `text` holds a NUL.
pub fn quote(text: &str) -> Result<String, HasNul> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_string());
    }
    let word = quote_bytes(text.as_bytes())?;
    // Quoting adds ASCII only, so UTF-8 stays UTF-8.
    Ok(String::from_utf8_lossy(&word).into_owned())
}

/// Lines that set and export `variables` when a shell sources them.
///
/// # Errors
/// [`HasNul`] when a value holds a NUL.
pub fn exports<'a>(
    variables: impl IntoIterator<Item = (String, &'a str)>,
) -> Result<String, HasNul> {
    let mut lines = String::new();
    for (name, value) in variables {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "export {name}={}", quote(value)?);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn through(shell: &[&str], word: &[u8]) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        let mut text = b"printf %s ".to_vec();
        text.extend_from_slice(word);
        let mut command = Command::new(shell[0]);
        command
            .args(&shell[1..])
            .arg("-c")
            .arg(std::ffi::OsStr::from_bytes(&text))
            .env("LC_ALL", "C");
        command.output().unwrap().stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_bytes_survive_every_shell(bytes in proptest::collection::vec(1u8.., 0..40)) {
            let word = quote_bytes(&bytes).unwrap();
            for shell in [&["sh"][..], &["bash"], &["busybox", "sh"]] {
                prop_assert_eq!(&through(shell, &word), &bytes);
            }
        }
    }

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(quote("0.01").unwrap(), "0.01");
        assert_eq!(quote("").unwrap(), "''");
        assert_eq!(quote("it's").unwrap(), "'it'\\''s'");
        assert_eq!(quote("~x").unwrap(), "'~x'");
        assert_eq!(quote("a\0b"), Err(HasNul));
    }
}
