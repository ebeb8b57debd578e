//! The imports of one Python file, read from its bytes by a scanner of statements.
//!
//! The scanner knows strings (f-strings too: PEP 701), comments, brackets, continuation lines, `;` and indentation,
//! and of the statements only those that matter: imports, and what guards them. It allocates nothing but its
//! answer, does not recurse, takes linear time, and goes on behind a mistake, so Python 2 and broken files count
//! too. That it finds what a full parser finds is tested file by file (`tests/requirements_scan.rs`).
//!
//! It reads bytes, not text: every source encoding of PEP 263 that holds ASCII works as it is; the few in which a
//! byte of a longer character can look like ASCII are decoded first.

mod encoding;
mod header;
mod import;
mod install;
mod lex;
mod paths;

use serde::{Deserialize, Serialize};

/// Whether an import has to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Guard {
    /// The program fails without it.
    Plain,
    /// Inside `try … except ImportError`, `if TYPE_CHECKING`, a check of the platform, the version of Python or of
    /// whether something is there; or named by `importlib.import_module("x")` outside of an f-string.
    Guarded,
}

/// One absolute import.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Import {
    /// The dotted name of the module.
    pub module: String,
    /// What `from MODULE import …` names; empty for `import MODULE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The line, from 1.
    pub line: u32,
    /// Whether it has to work.
    pub guard: Guard,
}

/// Something in a file that keeps Python 3 from reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong there.
    pub message: String,
}

/// What a file says about its imports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The absolute imports in the order of the file; relative ones are the project's own.
    pub imports: Vec<Import>,
    /// What is wrong with the file, at most a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Nothing of the file can be read, so that what it imports is not known; a problem says why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// The file is Python 2, where a package's files import each other without dots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
    /// The texts that look like paths, of a file that changes `sys.path` or tells a packager where the packages lie.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    /// Those of them on the very line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<String>,
    /// The file only says that its folder is a part of a namespace (pkgutil's and pkg_resources' way, before PEP 420).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub namespace: bool,
    /// What it asks pip or conda to install (`%pip install x`, PEP 723): requirements and URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub installs: Vec<String>,
    /// Calls that load a distribution by name at run time (pandas' `read_excel`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
}

impl Scan {
    /// That of a file of which nothing can be read, with the line that says so and why.
    pub fn unread(line: u32, why: impl Into<String>) -> Self {
        let (line, message) = (line.max(1), why.into());
        Scan {
            problems: vec![Problem { line, message }],
            unread: true,
            ..Scan::default()
        }
    }
}

/// A call that loads a distribution by name at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The name of the method, as the table of companions has it.
    pub name: String,
    /// The line, from 1.
    pub line: u32,
}

/// Reads the imports of `source`. With `notebook`, it is a cell, in which lines may be magics or shell commands.
pub fn scan(source: &[u8], notebook: bool) -> Scan {
    let decoded = encoding::decode(source);
    let source = decoded.as_deref().unwrap_or(source);
    if let Some(why) = refuse(source) {
        return Scan::unread(1, why);
    }
    let mut scanner = Scanner::new(source, notebook);
    scanner.run();
    if let Some(at) = memchr::memchr(0, source) {
        scanner.problem(at, "a NUL byte, which Python does not read");
        // Encrypted, or anything else than text.
        scanner.scan.unread = scanner.scan.imports.is_empty();
    }
    scanner.calls();
    let mut scan = scanner.scan;
    (scan.folders, scan.roots) = paths::folders(source);
    scan.namespace = paths::is_namespace(source);
    if !notebook {
        scan.installs = install::script(source);
    }
    scan
}

/// Why `source` is not read at all.
fn refuse(source: &[u8]) -> Option<&'static str> {
    if source.starts_with(b"\xff\xfe") || source.starts_with(b"\xfe\xff") {
        return Some("is UTF-16, which Python does not read");
    }
    None
}

/// A block that decides whether the imports in it have to work.
struct Frame {
    indent: u32,
    kind: Block,
    /// The first import of the block.
    start: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Block {
    /// `try`; whether a handler catches a failed import, and where `finally` began.
    Try { caught: bool, end: Option<usize> },
    /// `if`; whether the branch at hand is guarded, and whether the `else` is too.
    If { guarded: bool, rest: bool },
    /// `with suppress(ImportError)`.
    With,
}

/// Where a simple statement ended.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Line,
    Semicolon,
    Colon,
}

struct Scanner<'s> {
    source: &'s [u8],
    at: usize,
    notebook: bool,
    frames: Vec<Frame>,
    /// What the file calls the checks that it imports.
    checks: Vec<(&'s [u8], header::Check)>,
    /// How far lines have been counted, and the line there.
    counted: (usize, u32),
    /// An f-string that cannot be read as PEP 701 says: from there on they are plain strings.
    plain_strings: bool,
    scan: Scan,
}

const MANY_PROBLEMS: usize = 5;

impl<'s> Scanner<'s> {
    fn new(source: &'s [u8], notebook: bool) -> Self {
        let at = if source.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        Scanner {
            source,
            at,
            notebook,
            frames: Vec::new(),
            checks: Vec::new(),
            counted: (0, 1),
            plain_strings: false,
            scan: Scan::default(),
        }
    }

    fn run(&mut self) {
        while self.at < self.source.len() {
            let indent = self.indentation();
            match self.peek(0) {
                Some(b'\n' | b'\r' | b'#') | None => self.skip_line(),
                Some(b'%' | b'!' | b'?') if self.notebook => self.magic(),
                Some(_) => self.logical_line(indent),
            }
        }
        self.close(|_| true);
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.get(self.at + ahead).copied()
    }

    /// Moves over the white space at the start of a line; the column behind it.
    fn indentation(&mut self) -> u32 {
        let mut column = 0;
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' => column += 1,
                b'\t' => column = (column / 8 + 1) * 8,
                b'\x0c' => column = 0,
                _ => break,
            }
            self.at += 1;
        }
        column
    }

    /// The statements of one logical line.
    fn logical_line(&mut self, indent: u32) {
        let word = lex::word(self.source, self.at);
        self.leave_blocks(indent, word);
        let compound = header::is_compound(word);
        if compound {
            self.open_block(indent, word);
            if self.skim(true) != Stop::Colon {
                return;
            }
        }
        loop {
            self.spaces();
            self.simple_statement();
            if self.skim(false) == Stop::Line {
                return;
            }
        }
    }

    fn simple_statement(&mut self) {
        match lex::word(self.source, self.at) {
            b"import" => self.import(),
            b"from" => self.import_from(),
            word @ (b"print" | b"exec") => self.python2(word),
            _ => {}
        }
    }

    /// Notes `print "x"` and `exec "x"`.
    fn python2(&mut self, word: &[u8]) {
        let mut next = self.at + word.len();
        while matches!(self.source.get(next), Some(b' ' | b'\t')) {
            next += 1;
        }
        let operator: [&[u8]; 7] = [b"in", b"is", b"if", b"and", b"or", b"not", b"for"];
        let argument = match self.source.get(next) {
            Some(b'"' | b'\'') => true,
            Some(b'>') => self.source.get(next + 1) == Some(&b'>') && word == b"print",
            Some(b) if lex::is_name(*b) => {
                next > self.at + word.len() && !operator.contains(&lex::word(self.source, next))
            }
            _ => false,
        };
        if argument && !self.scan.legacy {
            self.scan.legacy = true;
            let word = if word == b"print" { "print" } else { "exec" };
            self.problem(
                self.at,
                &format!("Python 2: `{word}` is a function in Python 3"),
            );
        }
    }

    /// Ends the blocks that the statement `word` at column `indent` does not continue.
    fn leave_blocks(&mut self, indent: u32, word: &[u8]) {
        self.close(|frame| {
            let continues = match frame.kind {
                Block::Try { .. } => matches!(word, b"except" | b"else" | b"finally"),
                Block::If { .. } => matches!(word, b"elif" | b"else"),
                Block::With => false,
            };
            frame.indent > indent || frame.indent == indent && !continues
        });
    }

    fn close(&mut self, ends: impl Fn(&Frame) -> bool) {
        while let Some(frame) = self.frames.pop_if(|frame| ends(frame)) {
            if let Block::Try { caught: true, end } = frame.kind {
                let end = end.unwrap_or(self.scan.imports.len());
                for import in &mut self.scan.imports[frame.start..end] {
                    import.guard = Guard::Guarded;
                }
            }
        }
    }

    /// Notes what the compound statement `word` says about the imports in it.
    fn open_block(&mut self, indent: u32, word: &[u8]) {
        let here = self.scan.imports.len();
        let own = self
            .frames
            .last_mut()
            .filter(|frame| frame.indent == indent);
        let kind = match (word, own) {
            (b"try", _) => Block::Try {
                caught: false,
                end: None,
            },
            (b"with" | b"async", _) if header::suppresses(self.source, self.at, &self.checks) => {
                Block::With
            }
            (b"if", _) => match header::condition(self.source, self.at + 2, &self.checks) {
                Some(branch) => Block::If {
                    guarded: branch.body,
                    rest: branch.rest,
                },
                None => return,
            },
            (b"except", Some(frame)) => {
                if let Block::Try { caught, .. } = &mut frame.kind {
                    *caught = *caught || header::catches(self.source, self.at + 6);
                }
                return;
            }
            (b"finally", Some(frame)) => {
                if let Block::Try { end, .. } = &mut frame.kind {
                    *end = Some(here);
                }
                return;
            }
            (b"else", Some(frame)) => {
                if let Block::If { guarded, rest } = &mut frame.kind {
                    *guarded = *rest;
                }
                return;
            }
            (b"elif", own) => {
                let branch = header::condition(self.source, self.at + 4, &self.checks);
                match (own.map(|frame| &mut frame.kind), branch) {
                    (Some(Block::If { guarded, rest }), branch) => {
                        *guarded = *rest || branch.is_some_and(|b| b.body);
                        *rest = *rest || branch.is_some_and(|b| b.rest);
                        return;
                    }
                    (_, Some(branch)) => Block::If {
                        guarded: branch.body,
                        rest: branch.rest,
                    },
                    (_, None) => return,
                }
            }
            _ => return,
        };
        self.frames.push(Frame {
            indent,
            kind,
            start: here,
        });
    }

    /// Whether the statement at hand is guarded; what a `try` says is known only at its end.
    fn guard(&self) -> Guard {
        let guarded = self.frames.iter().any(|frame| match frame.kind {
            Block::If { guarded, .. } => guarded,
            Block::With => true,
            Block::Try { .. } => false,
        });
        if guarded {
            Guard::Guarded
        } else {
            Guard::Plain
        }
    }

    /// The line of the byte `at`.
    fn line(&mut self, at: usize) -> u32 {
        let (from, line) = self.counted;
        if at < from {
            return 1 + lex::count_lines(&self.source[..at]);
        }
        let line = line + lex::count_lines(&self.source[from..at]);
        self.counted = (at, line);
        line
    }

    /// Looks for calls that load another distribution, in a file that imports pandas.
    fn calls(&mut self) {
        let pandas =
            |import: &Import| import.module == "pandas" || import.module.starts_with("pandas.");
        if !self.scan.imports.iter().any(pandas) {
            return;
        }
        for (name, _) in crate::requirements::tables::companions() {
            let call = format!(".{name}(");
            if let Some(at) = memchr::memmem::find(self.source, call.as_bytes()) {
                let line = self.line(at);
                let name = name.to_string();
                self.scan.calls.push(Call { name, line });
            }
        }
    }

    fn problem(&mut self, at: usize, message: &str) {
        if self.scan.problems.len() < MANY_PROBLEMS {
            let line = self.line(at);
            let message = message.to_string();
            self.scan.problems.push(Problem { line, message });
        }
    }
}

#[cfg(test)]
mod tests;
