//! Source encodings (PEP 263) in which a byte of a longer character can look like ASCII.

/// `source` as UTF-8 when it must be decoded before it can be read byte by byte; nothing when it need not.
pub(super) fn decode(source: &[u8]) -> Option<Vec<u8>> {
    let name = String::from_utf8_lossy(declared(source)?).to_ascii_lowercase();
    // Python's name -> the Encoding Standard's.
    let label = match name.replace('_', "-").as_str() {
        "gbk" | "gb2312" | "cp936" | "936" | "ms936" => "gbk",
        "gb18030" | "gb18030-2000" => "gb18030",
        "big5" | "big5-tw" | "csbig5" | "big5hkscs" | "big5-hkscs" | "cp950" | "950" => "big5",
        "shift-jis" | "shiftjis" | "sjis" | "s-jis" | "cp932" | "932" | "ms932" | "mskanji"
        | "ms-kanji" => "shift_jis",
        "iso-2022-jp" | "iso2022-jp" | "iso2022jp" | "csiso2022jp" => "iso-2022-jp",
        _ => return None,
    };
    let encoding = encoding_rs::Encoding::for_label(label.as_bytes())?;
    let (text, _) = encoding.decode_without_bom_handling(source);
    Some(text.into_owned().into_bytes())
}

/// The encoding that a comment in one of the first two lines names: `coding[:=]\s*([-\w.]+)`, as PEP 263 has it.
fn declared(source: &[u8]) -> Option<&[u8]> {
    let mut lines = source.split(|b| *b == b'\n').take(2);
    lines.find_map(|line| {
        let line = line
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(line)
            .trim_ascii_start();
        if !line.starts_with(b"#") {
            return None;
        }
        let at = memchr::memmem::find(line, b"coding")? + "coding".len();
        let rest = line[at..]
            .strip_prefix(b":")
            .or(line[at..].strip_prefix(b"="))?
            .trim_ascii_start();
        let part = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let end = rest.iter().take_while(part).count();
        Some(&rest[..end]).filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::super::scan;

    fn modules(source: &[u8]) -> Vec<String> {
        scan(source, false)
            .imports
            .into_iter()
            .map(|i| i.module)
            .collect()
    }

    #[test]
    fn a_second_byte_is_no_backslash() {
        // U+8868 in Shift JIS and U+8A93 in GBK end in the byte of a backslash.
        let sjis = b"# -*- coding: shift_jis -*-\nx = '\x95\x5c'\nimport a\ny = 'import b'\n";
        assert_eq!(modules(sjis), ["a"]);
        let gbk = b"#!/usr/bin/python\n# vim: set fileencoding=GBK :\nx = \"\xd5\x5c\"\nimport a\n";
        assert_eq!(modules(gbk), ["a"]);
        let jp = b"# coding: iso-2022-jp\nx = '\x1b$B\x25\x27\x1b(B'\nimport a\n";
        assert_eq!(modules(jp), ["a"]);
        assert_eq!(modules(b"# coding: latin-1\nx = '\xe9'\nimport a\n"), ["a"]);
        assert_eq!(modules(b"# coding: nonsense\nimport a\n"), ["a"]);
    }
}
