//! Import statements, and calls that import.

use super::{Guard, Import, Scanner, header, lex};

impl<'s> Scanner<'s> {
    /// `import a.b as c, d`.
    pub(super) fn import(&mut self) {
        let start = self.at;
        self.at += "import".len();
        loop {
            let module = self.dotted();
            if module.is_empty() {
                self.problem(start, "an import that names nothing");
                return;
            }
            let alias = self.alias();
            self.note_check(b"", module.as_bytes(), alias);
            self.found(start, module, Vec::new());
            self.spaces();
            if self.peek(0) != Some(b',') {
                return;
            }
            self.at += 1;
        }
    }

    /// `from a.b import c as d, e`, with or without parentheses.
    pub(super) fn import_from(&mut self) {
        let start = self.at;
        self.at += "from".len();
        self.spaces();
        let mut relative = false;
        while self.peek(0) == Some(b'.') {
            relative = true;
            self.at += 1;
            self.spaces();
        }
        let module = match lex::word(self.source, self.at) {
            b"import" => String::new(),
            _ => self.dotted(),
        };
        self.spaces();
        if lex::word(self.source, self.at) != b"import" {
            self.problem(start, "a `from` without an `import`");
            return;
        }
        self.at += "import".len();
        let from = if relative { "" } else { module.as_str() };
        let names = self.names(from);
        if !relative && !module.is_empty() {
            self.found(start, module, names);
        }
    }

    /// The names behind `from MODULE import …`; none for `*`.
    fn names(&mut self, module: &str) -> Vec<String> {
        let mut names = Vec::new();
        self.spaces();
        let open = self.peek(0) == Some(b'(');
        // The bracket stays for `skim` when its end is missing.
        let bracket = self.at;
        if open {
            self.at += 1;
        }
        loop {
            self.gap(open);
            let word = lex::word(self.source, self.at);
            if word.is_empty() {
                break;
            }
            names.push(String::from_utf8_lossy(word).into_owned());
            self.at += word.len();
            self.gap(open);
            let mut given = word;
            if lex::word(self.source, self.at) == b"as" {
                self.at += 2;
                self.gap(open);
                given = lex::word(self.source, self.at);
                self.at += given.len();
                self.gap(open);
            }
            self.note_check(module.as_bytes(), word, given);
            if self.peek(0) != Some(b',') {
                break;
            }
            self.at += 1;
        }
        if open && self.peek(0) == Some(b')') {
            self.at += 1;
        } else if open {
            self.at = bracket;
        }
        names
    }

    /// Blanks, and in brackets also line ends and comments.
    fn gap(&mut self, bracket: bool) {
        loop {
            self.spaces();
            match self.peek(0) {
                Some(b'\n' | b'\r') if bracket => self.at += 1,
                Some(b'#') if bracket => self.skip_line(),
                _ => return,
            }
        }
    }

    fn dotted(&mut self) -> String {
        let mut name = String::new();
        loop {
            self.spaces();
            let word = lex::word(self.source, self.at);
            if word.is_empty() || word[0].is_ascii_digit() {
                return name;
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&String::from_utf8_lossy(word));
            self.at += word.len();
            let behind = self.at;
            self.spaces();
            if self.peek(0) != Some(b'.') {
                self.at = behind;
                return name;
            }
            self.at += 1;
        }
    }

    /// The name behind `as`; empty without one.
    fn alias(&mut self) -> &'s [u8] {
        self.spaces();
        if lex::word(self.source, self.at) != b"as" {
            return b"";
        }
        self.at += 2;
        self.spaces();
        let alias = lex::word(self.source, self.at);
        self.at += alias.len();
        alias
    }

    /// Notes that the file calls a check `given`: `from platform import system`, `import platform as p`.
    fn note_check(&mut self, module: &[u8], name: &[u8], given: &'s [u8]) {
        if given.is_empty() || header::asks(given).is_some() {
            return;
        }
        if let Some(check) = header::imported(module, name) {
            self.checks.push((given, check));
        }
    }

    fn found(&mut self, at: usize, module: String, names: Vec<String>) {
        let (line, guard) = (self.line(at), self.guard());
        self.scan.imports.push(Import {
            module,
            names,
            line,
            guard,
        });
    }

    /// At the bracket of `import_module("x")` or `__import__("x")`: notes `x`.
    pub(super) fn dynamic_import(&mut self) {
        let before = &self.source[..self.at];
        let name = [&b"import_module"[..], b"__import__"]
            .into_iter()
            .find(|name| before.ends_with(name));
        let Some(name) = name else { return };
        if before[..before.len() - name.len()]
            .last()
            .is_some_and(|b| lex::is_name(*b))
        {
            return;
        }
        if let Some(module) = literal(&self.source[self.at + 1..]) {
            let line = self.line(self.at);
            self.scan.imports.push(Import {
                module,
                names: Vec::new(),
                line,
                guard: Guard::Guarded,
            });
        }
    }
}

/// The dotted name in quotes at the start of `text`, when it is a whole argument.
fn literal(text: &[u8]) -> Option<String> {
    let text = text.trim_ascii_start();
    let quote = *text.first().filter(|b| matches!(b, b'"' | b'\''))?;
    let text = &text[1..];
    let end = memchr::memchr(quote, &text[..text.len().min(200)])?;
    let module = &text[..end];
    let names = |part: &[u8]| {
        !part.is_empty() && part.iter().all(|b| lex::is_name(*b)) && !part[0].is_ascii_digit()
    };
    let whole = matches!(
        text[end + 1..].trim_ascii_start().first(),
        Some(b')' | b',')
    );
    (whole && module.split(|b| *b == b'.').all(names))
        .then(|| String::from_utf8_lossy(module).into_owned())
}

/// Whether `from` at `at` begins an import on one line, which nothing inside brackets can.
pub(super) fn reads_as_import(source: &[u8], at: usize) -> bool {
    let line = &source[at..];
    let line = &line[..memchr::memchr2(b'\n', b'\r', line).unwrap_or(line.len())];
    let mut words = line
        .split(|b| matches!(b, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    words.next() == Some(b"from") && words.next().is_some() && words.next() == Some(b"import")
}
