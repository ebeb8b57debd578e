//! Foreign text made harmless for a terminal.

/// `text` on one line without anything a terminal would obey: control characters (C0, DEL, C1), line breaks and
/// the characters that reorder or hide text are written as `\x1b` or `\u{202e}`. Printable text, also accents
/// and wide characters, stays as it is.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_clean(&mut out, c);
    }
    out
}

/// Like [`clean`], keeping line feeds and tabs: for text that has lines, such as a tool's last output.
pub fn clean_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\n' | '\t' => out.push(c),
            _ => push_clean(&mut out, c),
        }
    }
    out
}

/// [`clean`] for bytes of unknown encoding: what is not UTF-8 is written as `\xff`.
pub fn clean_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_clean(&mut out, c);
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// JSON with everything escaped that a terminal would obey or that hides text: the same value in other letters.
pub(super) fn clean_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{7f}' => out.push_str("\\u007f"),
            c if is_invisible(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// [`clean_lines`] for a stream of bytes that arrives in pieces: a character that is cut in two is kept for the next.
#[derive(Debug, Default)]
pub struct Escaper {
    kept: Vec<u8>,
}

impl Escaper {
    /// The harmless form of the next `bytes`. Line feeds and tabs stay, and a carriage return too: a progress bar
    /// needs it, and it cannot leave its line.
    pub fn escape(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.kept);
        all.extend_from_slice(bytes);
        let mut out = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' | '\t' | '\r' => out.push(c),
                    _ => push_clean(&mut out, c),
                }
            }
            let is_last = chunks.peek().is_none();
            if is_last && is_beginning(chunk.invalid()) {
                self.kept = chunk.invalid().to_vec();
                break;
            }
            for byte in chunk.invalid() {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
        out.into_bytes()
    }
}

/// Whether `bytes` may become a character when more come.
fn is_beginning(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn push_clean(out: &mut String, c: char) {
    match c {
        c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
        c if is_invisible(c) => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
        c => out.push(c),
    }
}

/// C1 controls, line and paragraph separators, zero-width and direction-changing characters (Unicode
/// Technical Report 36, section 3.1 and "Trojan Source", CVE-2021-42574).
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_become_text() {
        assert_eq!(clean("\u{1b}]52;c;AAAA\u{7}"), "\\x1b]52;c;AAAA\\x07");
        assert_eq!(clean("a\u{9b}2J\nb"), "a\\u{9b}2J\\x0ab");
        assert_eq!(
            clean("naïve 數 \u{202e}cod.exe"),
            "naïve 數 \\u{202e}cod.exe"
        );
        assert_eq!(clean_bytes(b"ok\xff\x1b"), "ok\\xff\\x1b");
        assert_eq!(clean_lines("a\r\nb\tc\rd"), "a\nb\tc\\x0dd");
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let text = "數 é\n\u{1b}[1m\r".as_bytes();
        for at in 0..text.len() {
            let mut escaper = Escaper::default();
            let mut out = escaper.escape(&text[..at]);
            out.extend(escaper.escape(&text[at..]));
            assert_eq!(String::from_utf8(out).unwrap(), "數 é\n\\x1b[1m\r");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_terminal_obeys_is_left(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = clean_bytes(&bytes);
            prop_assert!(!text.chars().any(|c| c.is_control() || is_invisible(c)));
            prop_assert_eq!(clean(&text), text.clone());
        }

        #[test]
        fn json_keeps_its_value(value in any::<String>()) {
            let text = clean_json(&serde_json::to_string(&value).unwrap());
            prop_assert!(!text.chars().any(|c| c.is_control() || is_invisible(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
        }
    }
}
