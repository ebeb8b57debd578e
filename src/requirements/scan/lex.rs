//! Words, strings and white space.

use super::{Scanner, Stop};

/// Whether `byte` is part of a name: every byte of a non-ASCII character counts.
pub(super) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The name that begins at `at`; empty when none does.
pub(super) fn word(source: &[u8], at: usize) -> &[u8] {
    let rest = source.get(at..).unwrap_or_default();
    let end = rest.iter().position(|b| !is_name(*b)).unwrap_or(rest.len());
    &rest[..end]
}

/// How many lines end in `text`: at LF, CR LF, or CR alone, as Python counts.
pub(super) fn count_lines(text: &[u8]) -> u32 {
    let mut lines = memchr::memchr_iter(b'\n', text).count();
    for at in memchr::memchr_iter(b'\r', text) {
        lines += usize::from(text.get(at + 1) != Some(&b'\n'));
    }
    u32::try_from(lines).unwrap_or(u32::MAX)
}

/// Moves over one line end at `at`.
fn line_end(source: &[u8], at: usize) -> usize {
    at + 1 + usize::from(source[at] == b'\r' && source.get(at + 1) == Some(&b'\n'))
}

/// The end of the string whose opening quote is at `at`, as strings without fields end, and whether it is closed.
pub(super) fn string_end(source: &[u8], at: usize) -> (usize, bool) {
    let quote = source[at];
    let triple = source.get(at + 1) == Some(&quote) && source.get(at + 2) == Some(&quote);
    if triple {
        return triple_end(source, at + 3, quote);
    }
    let mut at = at + 1;
    while let Some(found) =
        memchr::memchr3(quote, b'\\', b'\n', source.get(at..).unwrap_or_default())
    {
        let stop = at + found;
        // A carriage return alone ends a line too, and is rare.
        if let Some(cr) = memchr::memchr(b'\r', &source[at..stop]) {
            return (at + cr, false);
        }
        match source[stop] {
            b'\\' if stop + 1 < source.len() => {
                let next = stop + 1;
                at = if matches!(source[next], b'\n' | b'\r') {
                    line_end(source, next)
                } else {
                    next + 1
                };
            }
            b'\n' => return (stop, false),
            b'\\' => return (source.len(), false),
            _ => return (stop + 1, true),
        }
    }
    match memchr::memchr(b'\r', source.get(at..).unwrap_or_default()) {
        Some(cr) => (at + cr, false),
        None => (source.len(), false),
    }
}

fn triple_end(source: &[u8], mut at: usize, quote: u8) -> (usize, bool) {
    while let Some(found) = memchr::memchr2(quote, b'\\', source.get(at..).unwrap_or_default()) {
        let stop = at + found;
        if source[stop] == b'\\' {
            at = stop + 2;
        } else if source.get(stop + 1) == Some(&quote) && source.get(stop + 2) == Some(&quote) {
            return (stop + 3, true);
        } else {
            at = stop + 1;
        }
    }
    (source.len(), false)
}

/// How deep fields may nest in an f-string: Python's own limit is lower.
const DEEP: u32 = 64;

/// The end of an f-string (PEP 701) whose text begins at `at`; nothing when it has none.
fn format_end(
    source: &[u8],
    mut at: usize,
    quote: u8,
    triple: bool,
    raw: bool,
    depth: u32,
) -> Option<usize> {
    loop {
        match *source.get(at)? {
            byte if byte == quote => {
                if !triple {
                    return Some(at + 1);
                }
                if source.get(at + 1) == Some(&quote) && source.get(at + 2) == Some(&quote) {
                    return Some(at + 3);
                }
                at += 1;
            }
            b'\\' => match source.get(at + 1)? {
                b'{' | b'}' => at += 1,
                b'N' if !raw && source.get(at + 2) == Some(&b'{') => {
                    at += 3 + memchr::memchr(b'}', &source[at + 3..])?;
                }
                b'\n' | b'\r' => at = line_end(source, at + 1),
                _ => at += 2,
            },
            b'\n' | b'\r' if !triple => return None,
            b'{' if source.get(at + 1) == Some(&b'{') => at += 2,
            b'{' => at = field_end(source, at + 1, quote, triple, raw, depth + 1)?,
            _ => at += 1,
        }
    }
}

/// The end of a replacement field behind its `}`.
fn field_end(
    source: &[u8],
    mut at: usize,
    quote: u8,
    triple: bool,
    raw: bool,
    depth: u32,
) -> Option<usize> {
    if depth > DEEP {
        return None;
    }
    let mut nesting = 0_u32;
    loop {
        match *source.get(at)? {
            b'}' if nesting == 0 => return Some(at + 1),
            b'(' | b'[' | b'{' => nesting += 1,
            b')' | b']' | b'}' => nesting = nesting.checked_sub(1)?,
            b'"' | b'\'' => {
                at = nested_string_end(source, at, depth)?;
                continue;
            }
            b'#' => {
                at += memchr::memchr2(b'\n', b'\r', &source[at..])?;
                continue;
            }
            b':' if nesting == 0 => return spec_end(source, at + 1, quote, triple, raw, depth),
            _ => {}
        }
        at += 1;
    }
}

/// The end of a format specification, and of its field.
fn spec_end(
    source: &[u8],
    mut at: usize,
    quote: u8,
    triple: bool,
    raw: bool,
    depth: u32,
) -> Option<usize> {
    loop {
        match *source.get(at)? {
            b'}' => return Some(at + 1),
            b'{' => at = field_end(source, at + 1, quote, triple, raw, depth + 1)?,
            b'\n' | b'\r' if !triple => return None,
            byte if byte == quote && !triple => return None,
            byte if byte == quote
                && source.get(at + 1) == Some(&quote)
                && source.get(at + 2) == Some(&quote) =>
            {
                return None;
            }
            _ => at += 1,
        }
    }
}

fn nested_string_end(source: &[u8], at: usize, depth: u32) -> Option<usize> {
    match format_prefix(source, at) {
        Some(raw) => {
            let (quote, triple, start) = opening(source, at);
            format_end(source, start, quote, triple, raw, depth + 1)
        }
        None => Some(string_end(source, at))
            .filter(|end| end.1)
            .map(|end| end.0),
    }
}

/// The quote at `at`, whether it is tripled, and where the text begins.
fn opening(source: &[u8], at: usize) -> (u8, bool, usize) {
    let quote = source[at];
    let triple = source.get(at + 1) == Some(&quote) && source.get(at + 2) == Some(&quote);
    (quote, triple, at + if triple { 3 } else { 1 })
}

/// Whether the quote at `at` opens an f-string (or a t-string, PEP 750), and whether it is raw.
fn format_prefix(source: &[u8], at: usize) -> Option<bool> {
    let before = &source[at.saturating_sub(3)..at];
    let length = before.iter().rev().take_while(|b| is_name(**b)).count();
    let prefix = &before[before.len() - length..];
    let has = |letter: u8| prefix.iter().any(|b| b.eq_ignore_ascii_case(&letter));
    let known = match length {
        1 => true,
        2 => has(b'r'),
        _ => false,
    };
    (known && (has(b'f') || has(b't'))).then(|| has(b'r'))
}

/// What the scanner does at a byte of ordinary code.
const PLAIN: u8 = 0;
const CLASS: [u8; 256] = {
    let mut class = [PLAIN; 256];
    let special = b"\n\r\\#\"'()[]{};:=";
    let mut at = 0;
    while at < special.len() {
        class[special[at] as usize] = special[at];
        at += 1;
    }
    class
};

impl Scanner<'_> {
    /// Moves to the end of the simple statement at hand, or to the colon of a compound one.
    pub(super) fn skim(&mut self, colon: bool) -> Stop {
        let source = self.source;
        let mut depth = 0_u32;
        let mut opened = self.at;
        while let Some(&byte) = source.get(self.at) {
            match CLASS[byte as usize] {
                PLAIN => self.at += 1,
                b'\n' | b'\r' => {
                    self.at = line_end(source, self.at);
                    if depth == 0 {
                        return Stop::Line;
                    }
                    if self.begins_statement() {
                        self.problem(opened, "a bracket that is never closed");
                        return Stop::Line;
                    }
                }
                b'\\' => match self.peek(1) {
                    Some(b'\n' | b'\r') => self.at = line_end(source, self.at + 1),
                    _ => self.at += 1,
                },
                b'#' => self.skip_to_end(),
                b'"' | b'\'' => self.string(),
                b'(' | b'[' | b'{' => {
                    if depth == 0 {
                        opened = self.at;
                    }
                    depth += 1;
                    if byte == b'(' {
                        self.dynamic_import();
                    }
                    self.at += 1;
                }
                b')' | b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b';' if depth == 0 => {
                    self.at += 1;
                    return Stop::Semicolon;
                }
                b':' if depth == 0 && colon && self.peek(1) != Some(b'=') => {
                    self.at += 1;
                    return Stop::Colon;
                }
                b'=' if self.notebook && self.shell_follows() => self.skip_magic(),
                _ => self.at += 1,
            }
        }
        if depth > 0 {
            self.problem(opened, "a bracket that is never closed");
        }
        Stop::Line
    }

    /// Whether a line inside brackets begins with a statement: then a bracket was forgotten. `import` and `class`
    /// are words that cannot stand there.
    fn begins_statement(&self) -> bool {
        let mut at = self.at;
        while matches!(self.source.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        match self.source.get(at) {
            Some(b'i' | b'f' | b'c' | b'd') => {}
            _ => return false,
        }
        let word = word(self.source, at);
        let behind = self.source.get(at + word.len());
        match word {
            b"import" | b"class" | b"def" => matches!(behind, Some(b' ' | b'\t')),
            b"from" => super::import::reads_as_import(self.source, at),
            _ => false,
        }
    }

    /// `x = !ls` and `x = %magic` in a notebook.
    fn shell_follows(&self) -> bool {
        let rest = &self.source[self.at + 1..];
        let next = rest.iter().position(|b| !matches!(b, b' ' | b'\t'));
        next.is_some_and(|next| match rest[next] {
            b'!' => rest.get(next + 1) != Some(&b'='),
            b'%' => true,
            _ => false,
        })
    }

    fn string(&mut self) {
        let open = self.at;
        if !self.plain_strings
            && let Some(raw) = format_prefix(self.source, open)
        {
            let (quote, triple, start) = opening(self.source, open);
            if let Some(end) = format_end(self.source, start, quote, triple, raw, 0) {
                self.at = end;
                return;
            }
            // One that cannot be read means a broken file; looking again and again could take for ever.
            self.plain_strings = true;
        }
        let (end, closed) = string_end(self.source, open);
        self.at = end;
        if !closed {
            self.problem(open, "a string that is never closed");
        }
    }

    /// Moves over blanks and continued lines.
    pub(super) fn spaces(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\x0c'), _) => self.at += 1,
                (Some(b'\\'), Some(b'\n' | b'\r')) => self.at = line_end(self.source, self.at + 1),
                _ => return,
            }
        }
    }

    fn skip_to_end(&mut self) {
        let rest = &self.source[self.at..];
        self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
    }

    /// Moves behind the end of the line.
    pub(super) fn skip_line(&mut self) {
        self.skip_to_end();
        if self.at < self.source.len() {
            self.at = line_end(self.source, self.at);
        }
    }

    /// Moves over a line of a magic or of the shell, and notes what it installs.
    pub(super) fn magic(&mut self) {
        let start = self.at;
        self.skip_magic();
        super::install::command(&self.source[start..self.at], &mut self.scan.installs);
    }

    /// Moves to the end of a magic or a shell command, which a backslash may continue.
    pub(super) fn skip_magic(&mut self) {
        loop {
            self.skip_to_end();
            let continued = self.source[..self.at].last() == Some(&b'\\');
            if !continued || self.at >= self.source.len() {
                return;
            }
            self.at = line_end(self.source, self.at);
        }
    }
}
