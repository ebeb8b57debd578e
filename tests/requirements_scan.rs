//! The scanner against a full parser: on every Python file of a corpus that parses, the same imports on the same
//! lines with the same guards.
//!
//! The corpus is a part of the standard library of the `python3` at hand, or all of it and of the folders of
//! `AGILE_PYTHON_CORPUS` (separated by colons).

use std::path::{Path, PathBuf};

use git_agile::requirements::scan::{Guard, Import, scan};
use rayon::prelude::*;
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{ElifElseClause, ExceptHandler, Expr, Stmt};
use ruff_python_parser::parse_module;
use ruff_text_size::{Ranged, TextSize};

/// The imports as the syntax tree has them.
struct Oracle<'s> {
    source: &'s str,
    guarded: u32,
    /// What the file calls the checks that it imports, and whether each is that of type checkers.
    named: Vec<(String, bool)>,
    /// What it calls `contextlib.suppress`.
    suppress: Vec<String>,
    found: Vec<Import>,
}

impl Oracle<'_> {
    fn add(&mut self, at: TextSize, module: &str, names: Vec<String>, dynamic: bool) {
        let before = &self.source[..at.to_usize()];
        let lines = before.matches('\n').count() + before.matches('\r').count()
            - before.matches("\r\n").count();
        let guard = if self.guarded > 0 || dynamic {
            Guard::Guarded
        } else {
            Guard::Plain
        };
        let line = u32::try_from(lines + 1).unwrap();
        self.found.push(Import {
            module: module.into(),
            names,
            line,
            guard,
        });
    }

    /// Notes what `import NAME as GIVEN` or `from MODULE import NAME as GIVEN` gives another name to.
    fn name(&mut self, module: &str, name: &str, given: &str) {
        let (check, typing) = asks(name);
        let check = check
            || module == "platform"
            || matches!((module, name), ("sys", "version") | ("os", "name"));
        if (check || typing) && asks(given) == (false, false) {
            self.named.push((given.into(), typing));
        }
    }

    /// What a condition says about its body and about what follows it.
    fn condition(&self, test: &Expr) -> (bool, bool) {
        let (mut check, mut typing) = (false, false);
        for word in words(test) {
            let asked = asks(&word);
            let named = self.named.iter().find(|(name, _)| *name == word);
            let dotted = word.ends_with("sys.version") || word.ends_with("os.name");
            check |= asked.0 || dotted || named.is_some_and(|(_, typing)| !typing);
            typing |= asked.1 || named.is_some_and(|(_, typing)| *typing);
        }
        let negated = self.is_negated(test);
        let alone = !matches!(test, Expr::BoolOp(_));
        match (check, typing) {
            (true, _) => (true, true),
            (false, true) => (!negated, negated && alone),
            _ => (false, false),
        }
    }

    /// Whether a part of `test` is what no type checker meets: `not TYPE_CHECKING`, `TYPE_CHECKING is False`.
    fn is_negated(&self, test: &Expr) -> bool {
        let typing = |part: &Expr| {
            let is_name = matches!(part, Expr::Name(_) | Expr::Attribute(_));
            is_name && self.condition(part) == (true, false)
        };
        match test {
            Expr::UnaryOp(op) if op.op == ruff_python_ast::UnaryOp::Not => typing(&op.operand),
            Expr::Compare(test) => {
                let is_false =
                    |part: &Expr| matches!(part, Expr::BooleanLiteral(literal) if !literal.value);
                typing(&test.left) && test.comparators.iter().any(is_false)
            }
            Expr::BoolOp(test) => test.values.iter().any(|part| self.is_negated(part)),
            _ => false,
        }
    }

    fn block(&mut self, body: &[Stmt], guarded: bool) {
        self.guarded += u32::from(guarded);
        body.iter().for_each(|statement| self.visit_stmt(statement));
        self.guarded -= u32::from(guarded);
    }
}

fn words(expression: &Expr) -> Vec<String> {
    struct Words(Vec<String>);
    impl<'a> Visitor<'a> for Words {
        fn visit_expr(&mut self, expression: &'a Expr) {
            match expression {
                Expr::Name(name) => self.0.push(name.id.to_string()),
                Expr::Attribute(attribute) => {
                    if let Expr::Name(name) = &*attribute.value {
                        self.0.push(format!("{}.{}", name.id, attribute.attr));
                    }
                    self.0.push(attribute.attr.to_string());
                }
                Expr::Call(call) => call.arguments.keywords.iter().for_each(|k| {
                    self.0.extend(k.arg.as_ref().map(ToString::to_string));
                }),
                _ => {}
            }
            walk_expr(self, expression);
        }
    }
    let mut words = Words(Vec::new());
    words.visit_expr(expression);
    words.0
}

/// Whether a name asks for the platform, a version or what is there, and whether for a type checker.
fn asks(word: &str) -> (bool, bool) {
    let checks = [
        "platform",
        "version_info",
        "hexversion",
        "PY2",
        "PY3",
        "find_spec",
        "find_loader",
        "python_implementation",
        "python_version",
        "implementation",
    ];
    let available = word.ends_with("_available") && word != "is_available"
        || word.starts_with("is_") && word.ends_with("_version");
    (checks.contains(&word) || available, word == "TYPE_CHECKING")
}

fn catches(handler: &ExceptHandler) -> bool {
    let ExceptHandler::ExceptHandler(handler) = handler;
    let errors = [
        "ImportError",
        "ModuleNotFoundError",
        "Exception",
        "BaseException",
    ];
    handler.type_.as_ref().is_none_or(|name| {
        words(name)
            .iter()
            .any(|word| errors.contains(&word.as_str()))
    })
}

impl<'a> Visitor<'a> for Oracle<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(import) => {
                for alias in &import.names {
                    if let Some(given) = &alias.asname {
                        self.name("", &alias.name, given);
                    }
                    self.add(import.start(), &alias.name, Vec::new(), false);
                }
            }
            Stmt::ImportFrom(import) => {
                let module = import.module.as_deref().filter(|_| import.level == 0);
                for alias in &import.names {
                    let given = alias.asname.as_ref().unwrap_or(&alias.name);
                    if module == Some("contextlib") && &*alias.name == "suppress" {
                        self.suppress.push(given.to_string());
                    }
                    self.name(module.unwrap_or_default(), &alias.name, given);
                }
                let names = import.names.iter().map(|alias| alias.name.to_string());
                let names = names.filter(|name| name != "*").collect();
                if let Some(module) = module {
                    self.add(import.start(), module, names, false);
                }
            }
            Stmt::Try(block) => {
                let caught = block.handlers.iter().any(catches);
                self.block(&block.body, caught);
                for ExceptHandler::ExceptHandler(handler) in &block.handlers {
                    self.guarded += u32::from(caught);
                    handler.type_.iter().for_each(|t| self.visit_expr(t));
                    self.guarded -= u32::from(caught);
                    self.block(&handler.body, caught);
                }
                self.block(&block.orelse, caught);
                self.block(&block.finalbody, false);
            }
            Stmt::If(block) => {
                let (body, mut rest) = self.condition(&block.test);
                self.visit_expr(&block.test);
                self.block(&block.body, body);
                for ElifElseClause { test, body, .. } in &block.elif_else_clauses {
                    match test {
                        Some(test) => {
                            self.visit_expr(test);
                            let (here, after) = self.condition(test);
                            self.block(body, rest || here);
                            rest = rest || after;
                        }
                        None => self.block(body, rest),
                    }
                }
            }
            Stmt::With(block) => {
                let items: Vec<String> = block
                    .items
                    .iter()
                    .flat_map(|item| words(&item.context_expr))
                    .collect();
                let at = items.iter().position(|word| self.suppress.contains(word));
                let errors = [
                    "ImportError",
                    "ModuleNotFoundError",
                    "Exception",
                    "BaseException",
                ];
                let suppresses =
                    at.is_some_and(|at| items[at..].iter().any(|w| errors.contains(&w.as_str())));
                block
                    .items
                    .iter()
                    .for_each(|item| self.visit_with_item(item));
                self.block(&block.body, suppresses);
            }
            other => walk_stmt(self, other),
        }
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        // Fields of f-strings hold no statement, and the scanner passes them by: what a call there imports
        // dynamically counts neither way.
        if matches!(expression, Expr::FString(_) | Expr::TString(_)) {
            return;
        }
        if let Expr::Call(call) = expression {
            let name = match &*call.func {
                Expr::Name(name) => name.id.as_str(),
                Expr::Attribute(attribute) => attribute.attr.as_str(),
                _ => "",
            };
            let first = call.arguments.args.first();
            if let (true, Some(Expr::StringLiteral(text))) =
                (matches!(name, "import_module" | "__import__"), first)
            {
                let module = text.value.to_str();
                let part = |p: &str| {
                    !p.is_empty()
                        && !p.starts_with(|c: char| c.is_ascii_digit())
                        && p.chars().all(|c| c.is_alphanumeric() || c == '_')
                };
                if module.split('.').all(part) && !text.value.is_implicit_concatenated() {
                    self.add(call.arguments.start(), module, Vec::new(), true);
                }
            }
        }
        walk_expr(self, expression);
    }
}

fn expected(source: &str) -> Option<Vec<Import>> {
    let parsed = parse_module(source).ok()?;
    let mut oracle = Oracle {
        source,
        guarded: 0,
        named: Vec::new(),
        suppress: vec!["suppress".into()],
        found: Vec::new(),
    };
    parsed
        .suite()
        .iter()
        .for_each(|statement| oracle.visit_stmt(statement));
    Some(oracle.found)
}

/// Order among imports of one line says nothing.
fn sorted(mut imports: Vec<Import>) -> Vec<Import> {
    imports.sort_by(|a, b| {
        (a.line, &a.module, &a.names, a.guard).cmp(&(b.line, &b.module, &b.names, b.guard))
    });
    imports
}

/// The first difference between scanner and parser.
fn difference(source: &str) -> Option<String> {
    let expected = sorted(expected(source)?);
    let found = sorted(scan(source.as_bytes(), false).imports);
    if expected == found {
        return None;
    }
    let missing = expected.iter().find(|import| !found.contains(import));
    let extra = found.iter().find(|import| !expected.contains(import));
    Some(format!(
        "the parser has {missing:?}, the scanner has {extra:?}"
    ))
}

fn python_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => python_files(&path, found),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|e| e == "py") => {
                found.push(path)
            }
            _ => {}
        }
    }
}

fn corpus() -> Vec<PathBuf> {
    let mut folders = std::env::var("AGILE_PYTHON_CORPUS").unwrap_or_default();
    let script = "import sysconfig; print(sysconfig.get_paths()['stdlib'])";
    if let Ok(output) = std::process::Command::new("python3")
        .args(["-c", script])
        .output()
    {
        folders.push(':');
        folders.push_str(String::from_utf8_lossy(&output.stdout).trim());
    }
    let mut found = Vec::new();
    for folder in folders.split(':').filter(|folder| !folder.is_empty()) {
        python_files(Path::new(folder), &mut found);
    }
    found
}

/// Parsing recurses: a stack of a known size.
fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new()
        .stack_size(256 << 20)
        .build()
        .unwrap();
    pool.install(work)
}

#[test]
fn the_scanner_finds_what_a_parser_finds() {
    let mut files = corpus();
    if std::env::var_os("AGILE_PYTHON_CORPUS").is_none() {
        // A sixth, every time the same.
        files.sort();
        files = files.into_iter().step_by(6).collect();
    }
    let checked = |path: &PathBuf| -> Option<Result<(), String>> {
        let source = std::fs::read_to_string(path).ok()?;
        let source = source.strip_prefix('\u{feff}').unwrap_or(&source);
        expected(source)?;
        Some(match difference(source) {
            None => Ok(()),
            Some(what) => Err(format!("{}: {what}", path.display())),
        })
    };
    let results: Vec<_> = with_stack(|| files.par_iter().filter_map(checked).collect());
    let wrong: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .cloned()
        .collect();
    eprintln!(
        "{} of {} files parse, {} differ",
        results.len(),
        files.len(),
        wrong.len()
    );
    assert!(
        wrong.is_empty(),
        "{}",
        wrong[..wrong.len().min(20)].join("\n")
    );
}
