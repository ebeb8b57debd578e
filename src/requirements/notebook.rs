//! Jupyter notebooks: the imports of their code cells.
//!
//! Formats: nbformat 4 (`cells[].source`, a text or a list of texts) and 3 (`worksheets[].cells[].input`).

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::scan::{Problem, Scan, scan};

#[derive(Deserialize)]
struct Notebook {
    #[serde(default)]
    cells: Vec<Cell>,
    #[serde(default)]
    worksheets: Vec<Worksheet>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Worksheet {
    #[serde(default)]
    cells: Vec<Cell>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    kernelspec: Option<Language>,
    language_info: Option<Language>,
}

#[derive(Deserialize)]
struct Language {
    name: Option<String>,
    language: Option<String>,
}

#[derive(Deserialize)]
struct Cell {
    #[serde(default)]
    cell_type: String,
    #[serde(default)]
    source: Text,
    #[serde(default)]
    input: Text,
    language: Option<String>,
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
                while let Some(line) = lines.next_element::<String>()? {
                    text.push_str(&line);
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

/// The code of a cell that counts, as Python.
fn python(text: &str) -> Option<&str> {
    let magic = text.trim_start().strip_prefix("%%");
    let name = magic.map(|rest| rest.split_whitespace().next().unwrap_or_default());
    name.is_none_or(|name| PYTHON_MAGICS.contains(&name))
        .then_some(text)
}

impl Metadata {
    fn is_python(&self) -> bool {
        let words = [&self.kernelspec, &self.language_info];
        let kernel = words.into_iter().flatten().find_map(|kernel| {
            let name = kernel.language.as_ref().or(kernel.name.as_ref());
            name.map(|name| name.to_lowercase())
        });
        // Kernels have names of their own (`conda-env-x-py`); only another language's says something.
        let others = [
            "julia",
            "r",
            "ir",
            "scala",
            "bash",
            "javascript",
            "rust",
            "sql",
            "matlab",
            "octave",
            "c++",
        ];
        kernel.is_none_or(|name| !others.contains(&name.as_str()))
    }
}

/// Reads the imports of a notebook. An import's line counts from the first line of the notebook's code, cell by
/// cell, as the person sees the code; a notebook that is no JSON has a problem and no imports.
pub fn scan_notebook(source: &[u8]) -> Scan {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let notebook: Notebook = match serde_json::from_slice(source) {
        Ok(notebook) => notebook,
        Err(error) => {
            let line = u32::try_from(error.line()).unwrap_or(u32::MAX).max(1);
            let message = format!("is not a notebook: {error}");
            let problems = vec![Problem { line, message }];
            return Scan {
                problems,
                ..Scan::default()
            };
        }
    };
    let mut all = Scan::default();
    if !notebook.metadata.is_python() {
        return all;
    }
    let sheets = notebook
        .worksheets
        .into_iter()
        .flat_map(|sheet| sheet.cells);
    let mut lines = 0;
    for cell in notebook.cells.into_iter().chain(sheets) {
        if cell.cell_type != "code" || cell.language.is_some_and(|name| name != "python") {
            continue;
        }
        let text = if cell.source.0.is_empty() {
            cell.input.0
        } else {
            cell.source.0
        };
        if let Some(code) = python(&text) {
            append(&mut all, scan(code.as_bytes(), true), lines);
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
        assert!(names(br#"{"cells": [{"cell_type": "code", "source": "import a"}], "metadata": {"kernelspec": {"language": "julia"}}}"#).is_empty());
    }
}
