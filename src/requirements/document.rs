//! `requirements.txt` as a list of lines, so that an edit changes only the lines it must.
//!
//! Format: pip's "Requirements File Format", with requirements as PEP 508 writes them.

mod line;

use std::ops::Range;

use self::line::{classify, without_secrets};
use super::name;

/// The byte order mark, as some editors begin a file.
const MARK: &str = "\u{feff}";

/// A requirements file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The byte order mark in front of the first line, or nothing.
    mark: &'static str,
    lines: Vec<Line>,
    /// What ends a line here.
    eol: &'static str,
    /// The last line ends as the others do.
    ended: bool,
}

/// A logical line: backslashes join several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text without its last line end.
    pub text: String,
    eol: &'static str,
    /// The line's number in the file as it was read; 0 for a new one.
    pub number: u32,
    /// What it says.
    pub kind: Kind,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A blank line or a comment.
    Comment,
    /// `-r FILE`, `-c FILE`, an index option and the like: the option, and its value.
    Option(String, String),
    /// `-e`, a URL or a path, or `NAME @ URL`: the distribution's name as far as it can be told.
    Direct(Option<String>),
    /// A requirement by name.
    Requirement(Requirement),
    /// What pip would refuse, and why.
    Unreadable(String),
}

/// A requirement by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The name as written.
    pub name: String,
    /// Where the version specifiers are in the line; empty where they would be.
    pub spec: Range<usize>,
    /// The environment marker.
    pub marker: Option<String>,
    /// The line has `--hash` options.
    pub hashed: bool,
}

impl Line {
    /// The name of the distribution that it asks for.
    pub fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Requirement(requirement) => Some(&requirement.name),
            Kind::Direct(name) => name.as_deref(),
            _ => None,
        }
    }

    /// Whether it belongs to the requirement above: pip-compile writes `    # via` there, and more behind it.
    fn is_note(&self) -> bool {
        let text = self.text.trim_start();
        let noted = text.starts_with("# via") || text.starts_with("#   ");
        noted && text.len() < self.text.len()
    }
}

impl Document {
    /// Reads a file; never fails, since every line that cannot be read is kept as [`Kind::Unreadable`].
    pub fn parse(text: &str) -> Self {
        let (mark, text) = match text.strip_prefix(MARK) {
            Some(text) => (MARK, text),
            None => ("", text),
        };
        let eol = match text.find('\n') {
            Some(at) if text[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        };
        let mut lines: Vec<Line> = Vec::new();
        let mut open = false;
        for (number, piece) in (1..).zip(text.split_inclusive('\n')) {
            let (body, end) = match (piece.strip_suffix("\r\n"), piece.strip_suffix('\n')) {
                (Some(body), _) => (body, "\r\n"),
                (None, Some(body)) => (body, "\n"),
                (None, None) => (piece, ""),
            };
            match lines.last_mut().filter(|_| open) {
                Some(line) => {
                    line.text.push_str(line.eol);
                    line.text.push_str(body);
                    line.eol = end;
                }
                None => lines.push(Line {
                    text: body.into(),
                    eol: end,
                    number,
                    kind: Kind::Comment,
                }),
            }
            open = body.ends_with('\\') && !body.trim_start().starts_with('#');
        }
        for line in &mut lines {
            line.kind = classify(&line.text);
        }
        let ended = lines.last().is_none_or(|line| !line.eol.is_empty());
        Document {
            mark,
            lines,
            eol,
            ended,
        }
    }

    /// The lines in their order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The requirements by name, with their lines.
    pub fn requirements(&self) -> impl Iterator<Item = (&Line, &Requirement)> {
        self.lines.iter().filter_map(|line| match &line.kind {
            Kind::Requirement(requirement) => Some((line, requirement)),
            _ => None,
        })
    }

    /// What the lines that `before` does not have make pip fetch from elsewhere: index options, URLs, paths. Names
    /// and passwords in them are left out.
    pub fn new_sources(&self, before: &Document) -> Vec<String> {
        let elsewhere = |line: &&Line| match &line.kind {
            Kind::Direct(_) => true,
            Kind::Option(name, _) => matches!(
                name.as_str(),
                "-i" | "--index-url"
                    | "--extra-index-url"
                    | "-f"
                    | "--find-links"
                    | "--trusted-host"
            ),
            _ => false,
        };
        let known = |line: &&Line| {
            before
                .lines
                .iter()
                .any(|other| other.text.trim() == line.text.trim())
        };
        let lines = self
            .lines
            .iter()
            .filter(|line| elsewhere(line) && !known(line));
        lines
            .map(|line| without_secrets(line.text.trim()))
            .collect()
    }

    /// The first line with a hash, or that asks for them: pip then wants one for every requirement.
    pub fn hashed(&self) -> Option<&Line> {
        let asks = |text: &str| text.contains("--hash") || text.contains("--require-hashes");
        let mut lines = self.lines.iter();
        lines.find(|line| line.kind != Kind::Comment && asks(&line.text))
    }

    /// Removes the lines for which `unwanted` holds, with the notes behind them.
    pub fn remove(&mut self, mut unwanted: impl FnMut(&Line) -> bool) {
        let mut gone = false;
        self.lines.retain(|line| {
            gone = unwanted(line) || gone && line.is_note();
            !gone
        });
    }

    /// Gives each requirement the specifiers that `spec` says, where it says some.
    pub fn respecify(&mut self, mut spec: impl FnMut(&Line, &Requirement) -> Option<String>) {
        for line in &mut self.lines {
            let Kind::Requirement(requirement) = &line.kind else {
                continue;
            };
            if let Some(new) = spec(line, requirement) {
                line.text.replace_range(requirement.spec.clone(), &new);
                line.kind = classify(&line.text);
            }
        }
    }

    /// Adds the requirement `text` where a person would: in its place when the names are sorted, else behind the
    /// last requirement and its notes.
    pub fn insert(&mut self, text: &str) {
        let kind = classify(text);
        let Kind::Requirement(new) = &kind else {
            return;
        };
        let key = name::normal(&new.name);
        let places: Vec<(usize, String)> = (0..)
            .zip(&self.lines)
            .filter_map(|(at, line)| match &line.kind {
                Kind::Requirement(r) => Some((at, name::normal(&r.name))),
                _ => None,
            })
            .collect();
        let sorted = places.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let before = places.iter().find(|(_, other)| sorted && *other > key);
        let at = match (before, places.last()) {
            (Some((at, _)), _) => *at,
            (None, Some((at, _))) => {
                let behind = &self.lines[at + 1..];
                at + 1 + behind.iter().take_while(|line| line.is_note()).count()
            }
            (None, None) => self.lines.len(),
        };
        // Behind a backslash that ends the file the new line would continue it.
        let open = self
            .lines
            .last()
            .is_some_and(|line| line.text.trim_end_matches('\r').ends_with('\\'));
        let at = if open {
            at.min(self.lines.len() - 1)
        } else {
            at
        };
        self.lines.insert(
            at,
            Line {
                text: text.into(),
                eol: self.eol,
                number: 0,
                kind,
            },
        );
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut out = String::from(self.mark);
        for (at, line) in self.lines.iter().enumerate() {
            out.push_str(&line.text);
            let last = at + 1 == self.lines.len();
            out.push_str(match (last, line.eol) {
                (true, _) if !self.ended => "",
                (_, "") => self.eol,
                (_, eol) => eol,
            });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(text: &str) -> Requirement {
        match classify(text) {
            Kind::Requirement(requirement) => requirement,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_kind_of_line_is_known() {
        for (text, spec, marker) in [
            ("numpy", "", None),
            ("numpy==1.2 # why", "==1.2", None),
            (
                " Pillow[x, y] >= 1, < 2 ; python_version < '3.9'",
                ">= 1, < 2",
                Some("python_version < '3.9'"),
            ),
            ("a (>=2)", "(>=2)", None),
            ("a==1 \\\n  --hash=sha256:00", "==1", None),
        ] {
            let found = requirement(text);
            assert_eq!(&text[found.spec.clone()], spec, "{text}");
            assert_eq!(found.marker.as_deref(), marker);
        }
        assert!(requirement("a==1 \\\n  --hash=sha256:00").hashed);
        for (text, name) in [
            ("-e git+https://h/o/CLIP.git@main#egg=clip", Some("clip")),
            ("git+https://github.com/openai/CLIP.git", Some("CLIP")),
            ("clip @ git+https://h/x", Some("clip")),
            ("./wheels/foo-1.0-py3-none-any.whl", Some("foo")),
            ("https://h/x/numpy-1.26.4.zip", Some("numpy")),
            (
                "./dist/scikit-learn-1.3.2.tar.gz#sha256=0",
                Some("scikit-learn"),
            ),
            ("scipy-1.11.4.TAR.BZ2", Some("scipy")),
            ("file:///x/ruamel.yaml-0.18.tgz", Some("ruamel.yaml")),
            ("https://github.com/o/r/archive/main.zip", None),
            ("-e .", None),
        ] {
            assert_eq!(
                classify(text),
                Kind::Direct(name.map(String::from)),
                "{text}"
            );
        }
        assert_eq!(
            classify("-rbase.txt"),
            Kind::Option("-r".into(), "base.txt".into())
        );
        assert_eq!(
            classify("--index-url=https://h"),
            Kind::Option("--index-url".into(), "https://h".into())
        );
        for text in ["a==", "a=1", "%x", "a b", "é", "-é", "[", "a["] {
            assert!(
                matches!(classify(text), Kind::Unreadable(_) | Kind::Option(..)),
                "{text}"
            );
        }
    }

    #[test]
    fn an_edit_changes_only_its_line() {
        let text = "# top\r\n-r base.txt\r\n\r\nflask==1.0  # web\r\nnumpy\\\r\n >=1\r\n-e .";
        let mut document = Document::parse(text);
        assert_eq!(document.render(), text);
        document.respecify(|_, r| (r.name == "numpy").then(|| "==2.0".into()));
        document.insert("requests==2");
        document.insert("click==8");
        document.remove(|line| line.text.starts_with("flask"));
        let expected =
            "# top\r\n-r base.txt\r\n\r\nclick==8\r\nnumpy\\\r\n ==2.0\r\nrequests==2\r\n-e .";
        assert_eq!(document.render(), expected);
    }

    #[test]
    fn notes_stay_with_their_requirements() {
        let text = "a==1\n    # via\n    #   -r x.in\n    #   b\nb==1\n  # mine\nc==1\n    # via b\n# end\n";
        let mut document = Document::parse(text);
        document.insert("a2");
        document.insert("d");
        document.remove(|line| matches!(line.name(), Some("a" | "b")));
        assert_eq!(
            document.render(),
            "a2\n  # mine\nc==1\n    # via b\nd\n# end\n"
        );
    }

    #[test]
    fn new_sources_are_told_without_their_secrets() {
        let before = Document::parse("-e .\nnumpy\n");
        let text =
            "-e .\nnumpy\n--extra-index-url https://me:word@h/simple\nclip @ git+https://h/c@v1\n";
        let said = Document::parse(text).new_sources(&before);
        assert_eq!(
            said,
            [
                "--extra-index-url https://h/simple",
                "clip @ git+https://h/c@v1"
            ]
        );
    }

    #[test]
    fn a_missing_last_line_end_is_kept() {
        let mut document = Document::parse("a==1\nb==1");
        document.insert("c==1");
        assert_eq!(document.render(), "a==1\nb==1\nc==1");
        let mut empty = Document::parse("");
        empty.insert("a");
        assert_eq!(empty.render(), "a\n");
    }

    #[test]
    fn a_byte_order_mark_stays_in_front() {
        for (text, expected) in [
            ("\u{feff}b==1\n", "\u{feff}a\nb==2\n"),
            ("\u{feff}# why\n", "\u{feff}# why\na\n"),
            ("\u{feff}", "\u{feff}a\n"),
        ] {
            let mut document = Document::parse(text);
            document.respecify(|_, _| Some("==2".into()));
            document.insert("a");
            assert_eq!(document.render(), expected);
        }
        assert_eq!(
            Document::parse("\u{feff}-r a.txt").lines()[0].text,
            "-r a.txt"
        );
    }
}
