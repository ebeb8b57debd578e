//! Laws that hold for every text, tried on many made-up ones: no panic, no endless time, nothing lost.
//!
//! `AGILE_FUZZ=10000000 cargo test --release --test requirements_fuzz` tries that many; a failure names its seed.

use std::collections::BTreeSet;

use git_agile::requirements::Pin;
use git_agile::requirements::declared::names;
use git_agile::requirements::document::Document;
use git_agile::requirements::edit::{Wanted, edit};
use git_agile::requirements::environment::{metadata, recorded};
use git_agile::requirements::name::is_valid;
use git_agile::requirements::notebook::scan_notebook;
use git_agile::requirements::pyproject;
use git_agile::requirements::scan::scan;
use rayon::prelude::*;

fn runs(default: u64) -> u64 {
    let set = std::env::var("AGILE_FUZZ").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// xorshift64*: quick, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    /// Pieces of `words`, and now and then any byte.
    fn soup(&mut self, words: &[&str], most: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..self.below(most) {
            if self.below(40) == 0 {
                text.push(self.below(256) as u8);
            } else {
                text.extend_from_slice(words[self.below(words.len())].as_bytes());
            }
        }
        text
    }
}

/// Tries `law` on `count` texts of `words`.
fn hold(count: u64, words: &[&str], most: usize, law: impl Fn(&[u8]) + Sync) {
    (1..=count).into_par_iter().for_each(|seed| {
        let text = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).soup(words, most);
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| law(&text)));
        assert!(
            held.is_ok(),
            "seed {seed}: {:?}",
            String::from_utf8_lossy(&text)
        );
    });
}

const PYTHON: [&str; 80] = [
    "import ",
    "from ",
    " import ",
    "as ",
    "a",
    "b.c",
    ".",
    "..",
    ",",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ";",
    ":",
    "\n",
    "\n    ",
    "\n\t",
    "\r\n",
    "\r",
    "\\\n",
    "\\",
    "#",
    "'",
    "\"",
    "'''",
    "\"\"\"",
    "f'",
    "f\"",
    "rf'''",
    "t\"",
    "{{",
    "}}",
    "!r",
    "=",
    "x",
    "if ",
    "elif ",
    "else:",
    "try:",
    "except ",
    "except:",
    "ImportError",
    "finally:",
    "with ",
    "suppress(",
    "TYPE_CHECKING",
    "sys.platform",
    "is_a_available()",
    "def f():",
    "class A:",
    "for x in y:",
    "lambda: ",
    "importlib.import_module(",
    "__import__('d')",
    "print 'x'",
    "%%time\n",
    "%pip",
    "!ls",
    "é",
    "\0",
    "\u{feff}",
    " ",
    "pass",
    "async ",
    "\x0c",
    "!pip install ",
    " -r ",
    "&&",
    "# /// script\n",
    "# dependencies = [\"a\"]\n",
    "# ///\n",
    "# coding: shift_jis\n",
    "# coding: gbk\n",
    "sys.path.append(",
    "from sys import path\n",
    "x + '/lib' '%s/{x}/lib'",
    "extend_path(",
];

#[test]
fn the_scanner_survives_everything() {
    hold(runs(20_000), &PYTHON, 40, |text| {
        let found = scan(text, false);
        let lines = text.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() + 1;
        for import in &found.imports {
            assert!(!import.module.is_empty());
            assert!((1..=lines as u32).contains(&import.line));
        }
        scan(text, true);
    });
}

const REQUIREMENTS: [&str; 47] = [
    "numpy",
    "Flask",
    "a.b-c_d",
    "==",
    ">=",
    "~=",
    "===",
    "!=",
    "<",
    ",",
    "1.0",
    "2.*",
    "1!2.0+cu121",
    "rc1",
    "[",
    "]",
    "extra",
    ";",
    "python_version",
    " < ",
    "'3.9'",
    "and ",
    "@ ",
    "git+https://h/x.git",
    "#egg=y",
    "#",
    " # note",
    "-r ",
    "-c ",
    "-e ",
    "--hash=sha256:00",
    "--index-url ",
    "-",
    "./p",
    ".whl",
    "\\\n",
    "\\",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "(",
    ")",
    "é",
    "\u{feff}",
    "\0",
];

#[test]
fn a_requirements_file_loses_nothing() {
    let versions = [Some("1.0"), Some("2.1+cu121"), None, Some("nonsense")];
    let names = ["numpy", "requests", "Flask"];
    hold(runs(10_000) / 10, &REQUIREMENTS, 40, |text| {
        let text = String::from_utf8_lossy(text);
        assert_eq!(Document::parse(&text).render(), text);
        // A mark in the middle, which pip refuses, may come to the front: then it is one, and the line is another.
        if text.rfind('\u{feff}').is_some_and(|at| at > 0) {
            return;
        }
        for pin in [Pin::Exact, Pin::Compatible, Pin::Minimum, Pin::None] {
            let wanted: Vec<_> = names
                .iter()
                .zip(versions)
                .map(|(name, version)| Wanted {
                    name: (*name).into(),
                    version: version.map(Into::into),
                })
                .collect();
            let mut document = Document::parse(&text);
            edit(&mut document, &wanted, pin, &BTreeSet::new(), |_| false);
            let once = document.render();
            let mut again = Document::parse(&once);
            let changes = edit(&mut again, &wanted, pin, &BTreeSet::new(), |_| false);
            assert_eq!(again.render(), once, "{changes:?}");
        }
    });
}

#[test]
fn other_formats_survive_everything() {
    let notebook = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"cells\"",
        "\"cell_type\"",
        "\"code\"",
        "\"source\"",
        "\"import a\\n\"",
        "null",
        "1",
        "\"metadata\"",
        "\"kernelspec\"",
        "\"language\"",
        "\"python\"",
        "\"",
        "\\u0000",
        "\\ud800",
        "\\udc00",
        "NaN",
        "-Infinity",
        "\"%%time\\n%%bash\"",
    ];
    hold(runs(20_000) / 10, &notebook, 40, |text| {
        drop(scan_notebook(text))
    });
    let toml = [
        "[project]\n",
        "dependencies",
        " = ",
        "[",
        "]",
        "\"numpy\"",
        "\"x>=1\"",
        ",",
        "\n  ",
        "# c",
        "\n",
        "{",
        "}",
        "'",
        "\"",
        "name",
        "=",
        "1",
    ];
    let wanted = [Wanted {
        name: "requests".into(),
        version: Some("2.0".into()),
    }];
    let settles = |text: &str| {
        if let Some((once, _)) = pyproject::edit(text, &wanted, Pin::Exact, |_| false) {
            let again = pyproject::edit(&once, &wanted, Pin::Exact, |_| false);
            assert_eq!(again.map(|(text, _)| text), Some(once));
        }
    };
    hold(runs(20_000) / 10, &toml, 24, |text| {
        settles(&String::from_utf8_lossy(text));
    });
    let list = [
        "'numpy>=1', ",
        "\"requests<1\", ",
        "\"Requests>2\"",
        "'x>=1'",
        ",",
        "\n  ",
        "\r\n",
        " # c\n",
        "# ,\r\n",
        " ",
        "'''y'''",
        "1,",
    ];
    hold(runs(20_000) / 10, &list, 16, |text| {
        let text = String::from_utf8_lossy(text);
        settles(&format!("[project]\r\ndependencies = [{text}]\nx = 1\n"));
    });
    let declarations = [
        "install_requires",
        "require",
        "=",
        "[",
        "]",
        "{",
        "}",
        "'a>=1'",
        "\"",
        "'",
        "\n",
        "  ",
        "[options]\n",
        "[options.extras_require]\n",
        "- ",
        "- pip:\n",
        "[packages]\n",
        "a = '*'\n",
        "#",
        "é",
    ];
    hold(runs(20_000) / 10, &declarations, 40, |text| {
        let text = String::from_utf8_lossy(text);
        for path in [
            "setup.py",
            "setup.cfg",
            "Pipfile",
            "environment.yml",
            "requirements.in",
        ] {
            for name in names(path, &text) {
                assert!(is_valid(&name), "{name}");
            }
        }
    });
    let record = [
        "a/",
        "b",
        "__init__.py",
        ".so",
        ",",
        "\n",
        "..",
        "/",
        "é",
        "Name: x\n",
        "Version: 1\n",
        ":",
        " ",
    ];
    hold(runs(20_000) / 10, &record, 40, |text| {
        let text = String::from_utf8_lossy(text);
        recorded(&text);
        metadata(&text);
    });
}
