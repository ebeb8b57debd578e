//! Jupyter notebooks: the imports of their code cells.
//!
//! Formats: nbformat 4 (`cells[].source`, a text or a list of texts) and 3 (`worksheets[].cells[].input`).

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::scan::{Scan, scan};

#[derive(Deserialize)]
struct Notebook {
    #[serde(default)]
    cells: Vec<Cell>,
    #[serde(default)]
    worksheets: Vec<Worksheet>,
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize)]
struct Worksheet {
    #[serde(default)]
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    #[serde(default)]
    cell_type: String,
    #[serde(default)]
    source: Text,
    #[serde(default)]
    input: Text,
    #[serde(default)]
    language: Value,
    #[serde(default)]
    metadata: Value,
}

/// The text of a cell: one string, or a list of its lines.
#[derive(Default)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Lines;
        impl<'de> Visitor<'de> for Lines {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.into()))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut lines: A) -> Result<Text, A::Error> {
                let mut text = String::new();
                while let Some(line) = lines.next_element::<Option<String>>()? {
                    text.push_str(&line.unwrap_or_default());
                }
                Ok(Text(text))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text::default())
            }
        }
        value.deserialize_any(Lines)
    }
}

/// Cell magics whose cell is Python that runs here. Every other one hands the cell to something else.
const PYTHON_MAGICS: [&str; 9] = [
    "time", "timeit", "capture", "prun", "memit", "mprun", "lprun", "debug", "scalene",
];

/// Whether a cell is Python as far as its magics say; one may stand behind another.
fn runs_here(mut text: &str) -> bool {
    while let Some(magic) = text.trim_start().strip_prefix("%%") {
        let (line, rest) = magic.split_once('\n').unwrap_or((magic, ""));
        let name = line.split_whitespace().next().unwrap_or_default();
        if !PYTHON_MAGICS.contains(&name) {
            return false;
        }
        text = rest;
    }
    true
}

/// Whether a language, as a notebook names it, is Python or made of it: `ipython`, `pyspark`, `sage`.
fn is_python(language: &str) -> bool {
    ["python", "pyspark", "sage"]
        .iter()
        .any(|name| language.contains(name))
}

/// The first of `values` that is a text with something in it.
fn word(values: &[&Value]) -> Option<String> {
    let texts = values.iter().filter_map(|value| value.as_str());
    let mut texts = texts.filter(|text| !text.is_empty());
    texts.next().map(str::to_lowercase)
}

impl Notebook {
    fn is_python(&self) -> bool {
        let (kernel, info) = (
            &self.metadata["kernelspec"],
            &self.metadata["language_info"],
        );
        if let Some(language) = word(&[&kernel["language"], &info["name"]]) {
            return is_python(&language);
        }
        // Kernels have names of their own (`conda-env-x-py`); only another language's says something.
        let others = [
            "julia",
            "r",
            "ir",
            "scala",
            "bash",
            "javascript",
            "deno",
            "java",
            "kotlin",
            "gophernotes",
            "rust",
            "sql",
            "matlab",
            "octave",
            "xcpp",
        ];
        let name = word(&[&kernel["name"], kernel]).unwrap_or_default();
        // `julia-1.6`, `ir33`
        let end = name.find(|c: char| !c.is_alphabetic());
        !others.contains(&&name[..end.unwrap_or(name.len())])
    }
}

impl Cell {
    /// Whether it is Python as far as it says itself; most say nothing.
    fn is_python(&self) -> Option<bool> {
        let about = &self.metadata;
        let said = word(&[
            &self.language,
            &about["vscode"]["languageId"],
            &about["dotnet_interactive"]["language"],
            &about["kernel"],
        ]);
        said.map(|language| is_python(&language))
    }
}

/// JSON of what is nearly JSON: Python writes `NaN` and `Infinity`, which are null here, and any half of a pair of
/// surrogates, which is U+FFFD here.
fn mend(source: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(source);
    let mut rest = text.as_bytes();
    let mut mended = Vec::with_capacity(rest.len());
    let mut quoted = false;
    while let Some(byte) = rest.first() {
        quoted ^= *byte == b'"';
        let (length, text) = match byte {
            b'\\' if quoted => escape(rest),
            b'-' | b'I' | b'N' if !quoted => number(rest),
            _ => (1, &rest[..1]),
        };
        mended.extend_from_slice(text);
        rest = &rest[length..];
    }
    mended
}

/// The escape at the start of `text`: how long it is, and what it should be.
fn escape(text: &[u8]) -> (usize, &[u8]) {
    let half = |at: usize, digits: &[u8]| {
        let starts = |start: &[u8]| text.get(at..).is_some_and(|text| text.starts_with(start));
        (starts(b"\\ud") || starts(b"\\uD"))
            && text.get(at + 3).is_some_and(|digit| digits.contains(digit))
    };
    if half(0, b"89abAB") && half(6, b"cdefCDEF") {
        return (12.min(text.len()), &text[..12.min(text.len())]);
    }
    if half(0, b"89abcdefABCDEF") {
        return (6.min(text.len()), b"\\ufffd");
    }
    (2.min(text.len()), &text[..2.min(text.len())])
}

/// The same for what begins like a number that JSON does not have.
fn number(text: &[u8]) -> (usize, &[u8]) {
    let words = [&b"NaN"[..], b"Infinity", b"-Infinity"];
    match words.into_iter().find(|word| text.starts_with(word)) {
        Some(word) => (word.len(), b"null"),
        None => (1, &text[..1]),
    }
}

/// Reads the imports of a notebook. An import's line counts from the first line of the notebook's code, cell by
/// cell, as the person sees the code; a notebook that is no JSON is unread.
pub fn scan_notebook(source: &[u8]) -> Scan {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let read = serde_json::from_slice(source);
    let read = read.or_else(|error| serde_json::from_slice(&mend(source)).map_err(|_| error));
    let notebook: Notebook = match read {
        Ok(notebook) => notebook,
        Err(error) => {
            let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
            return Scan::unread(line, format!("is not a notebook: {error}"));
        }
    };
    let mut all = Scan::default();
    let python = notebook.is_python();
    let sheets = notebook
        .worksheets
        .into_iter()
        .flat_map(|sheet| sheet.cells);
    let mut lines = 0;
    for cell in notebook.cells.into_iter().chain(sheets) {
        if cell.cell_type != "code" || !cell.is_python().unwrap_or(python) {
            continue;
        }
        let text = if cell.source.0.is_empty() {
            cell.input.0
        } else {
            cell.source.0
        };
        if runs_here(&text) {
            append(&mut all, scan(text.as_bytes(), true), lines);
        }
        lines += u32::try_from(text.lines().count()).unwrap_or(0);
    }
    all
}

fn append(all: &mut Scan, mut cell: Scan, lines: u32) {
    cell.imports
        .iter_mut()
        .for_each(|import| import.line += lines);
    cell.problems
        .iter_mut()
        .for_each(|problem| problem.line += lines);
    all.imports.append(&mut cell.imports);
    // A cell need not be Python at all: what is odd in one is nobody's mistake.
    all.folders.append(&mut cell.folders);
    all.roots.append(&mut cell.roots);
    all.installs.append(&mut cell.installs);
    cell.calls.iter_mut().for_each(|call| call.line += lines);
    all.calls.append(&mut cell.calls);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_cells_of_every_format_count() {
        let four = br#"{"cells": [{"cell_type": "code", "source": ["import a\n", "import b"]},
            {"cell_type": "code", "source": "%%bash\nimport no"}, {"cell_type": "raw", "source": "import no"},
            {"cell_type": "code", "source": null}, {"cell_type": "code", "source": "%%time\nimport c"}]}"#;
        let three = br#"{"worksheets": [{"cells": [{"cell_type": "code", "input": "import a", "language": "python"}]}]}"#;
        let names = |text: &[u8]| -> Vec<_> {
            let found = scan_notebook(text).imports;
            found.into_iter().map(|i| (i.module, i.line)).collect()
        };
        assert_eq!(
            names(four),
            [("a".into(), 1), ("b".into(), 2), ("c".into(), 6)]
        );
        assert_eq!(names(three), [("a".into(), 1)]);
        assert_eq!(scan_notebook(b"{\"cells\": [").problems.len(), 1);
    }

    #[test]
    fn what_lenient_writers_write_is_read() {
        let names = |cell: &str, rest: &str| -> Vec<_> {
            let text =
                format!(r#"{{"cells": [{{"cell_type": "code", "source": {cell}}}], {rest}}}"#);
            let scan = scan_notebook(text.as_bytes());
            assert!(!scan.unread, "{text}");
            scan.imports.into_iter().map(|i| i.module).collect()
        };
        let outputs = r#""x": [NaN, -Infinity, Infinity, "NaN \" NaN"]"#;
        let half = r#"["x = '\ud83d\ude00 \ud83d'\n", null, "import a"]"#;
        assert_eq!(names(half, outputs), ["a"]);
        assert_eq!(
            names(
                r#""import a""#,
                r#""metadata": {"kernelspec": "python3", "language_info": null}"#
            ),
            ["a"]
        );
        assert_eq!(names(r#""import a""#, r#""metadata": null"#), ["a"]);
        let whole = br#""\ud83d\ude00 \ud83d \\ud83d \uD83D" -1 NaN"#;
        let mended = br#""\ud83d\ude00 \ufffd \\ud83d \ufffd" -1 null"#;
        assert_eq!(mend(whole), mended);
        assert!(scan_notebook(b"<<<<<<< HEAD\n{}").unread);
    }

    #[test]
    fn only_python_counts() {
        let counts = |cell: &str, metadata: &str| {
            let text = format!(
                r#"{{"cells": [{{"cell_type": "code", {cell}}}], "metadata": {metadata}}}"#
            );
            !scan_notebook(text.as_bytes()).imports.is_empty()
        };
        let plain = r#""source": "import a""#;
        for (metadata, expected) in [
            (r#"{}"#, true),
            (r#"{"kernelspec": {"language": "julia"}}"#, false),
            (r#"{"kernelspec": {"name": "julia-1.6"}}"#, false),
            (r#"{"kernelspec": {"name": "ir"}}"#, false),
            (r#"{"kernelspec": {"name": "conda-env-x-py"}}"#, true),
            (
                r#"{"kernelspec": {"name": "x", "language": "go"}, "language_info": {"name": "go"}}"#,
                false,
            ),
            (r#"{"kernelspec": {"language": "sage"}}"#, true),
            (
                r#"{"kernelspec": {"language": ""}, "language_info": {"name": "pyspark"}}"#,
                true,
            ),
            (
                r#"{"kernelspec": {"name": "x"}, "language_info": {"name": "typescript"}}"#,
                false,
            ),
        ] {
            assert_eq!(counts(plain, metadata), expected, "{metadata}");
        }
        for (cell, expected) in [
            (r#""metadata": {"vscode": {"languageId": "sql"}}"#, false),
            (
                r#""metadata": {"dotnet_interactive": {"language": "csharp"}}"#,
                false,
            ),
            (r#""metadata": {"kernel": "R"}"#, false),
            (r#""metadata": {"kernel": "Python3"}"#, true),
            (r#""metadata": {}, "language": "R""#, false),
        ] {
            assert_eq!(
                counts(&format!("{plain}, {cell}"), "{}"),
                expected,
                "{cell}"
            );
        }
        for (source, expected) in [
            ("%%capture out\\n\\n%%bash\\nimport a", false),
            ("%%capture\\n%%time\\nimport a", true),
        ] {
            let cell = format!(r#""source": "{source}""#);
            assert_eq!(counts(&cell, "{}"), expected, "{source}");
        }
    }
}
