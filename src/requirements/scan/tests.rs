use super::*;

fn seen(source: &str) -> Vec<(String, Guard, u32)> {
    let scan = scan(source.as_bytes(), false);
    scan.imports
        .into_iter()
        .map(|i| (i.module, i.guard, i.line))
        .collect()
}

fn modules(source: &str) -> Vec<String> {
    seen(source)
        .into_iter()
        .map(|(module, ..)| module)
        .collect()
}

fn plain(source: &str) -> Vec<String> {
    let plain = |(module, guard, _)| (guard == Guard::Plain).then_some(module);
    seen(source).into_iter().filter_map(plain).collect()
}

#[test]
fn statements_are_found_in_every_shape() {
    let source = "import os, numpy as np ; import tqdm\nfrom \\\n  attrs import \\\n define\nif x: import a.b\n\
                  from c import (d as e, # f\n g,\n)\nfrom . import no\nfrom .no import no\nfrom h import*\n";
    assert_eq!(
        modules(source),
        ["os", "numpy", "tqdm", "attrs", "a.b", "c", "h"]
    );
    assert_eq!(seen(source)[5].2, 6);
}

#[test]
fn texts_are_no_statements() {
    let source = "'''\nimport a\n'''\n# import b\ns = \"\\\"\"; import c\nx = f\"{d['import e']}{'''\nimport f\n'''}\"\n\
                  y = f\"{x[\"(\"]}\" 'it'\nimport g\nz = rf'\\{x}'\nimport h\nx = '\\\nimport i'\nimport j\n";
    assert_eq!(modules(source), ["c", "g", "h", "j"]);
}

#[test]
fn guards_are_known() {
    let source = "try:\n    import a\nexcept (ImportError, OSError):\n    import b\nelse:\n    import c\nfinally:\n    import d\n\
                  try: import e\nexcept KeyError: pass\nif TYPE_CHECKING:\n    import f\nelse:\n    import g\n\
                  if sys.platform == 'x':\n  import h\nelif y:\n  import i\nelse:\n  import j\n\
                  with suppress(ImportError):\n    import k\nimport l\nif is_m_available() and n:\n    import m\n\
                  try:\n    import o\nexcept:\n    pass\nfor x in y:\n    pass\nelse:\n    import p\n\
                  if torch.cuda.is_available():\n    import q\n";
    assert_eq!(plain(source), ["d", "e", "g", "l", "p", "q"]);
}

#[test]
fn checks_are_known_by_the_names_that_a_file_gives_them() {
    for (import, condition) in [
        ("from platform import system", "system() == 'Windows'"),
        (
            "from platform import (machine as m, # why\n  node)",
            "x and m()",
        ),
        ("import os, platform as p", "p.system() == 'Windows'"),
        ("from sys import platform", "platform == 'win32'"),
        ("from sys import version_info as v", "v >= (3, 11)"),
        ("from sys import version", "version < '3'"),
        ("from os import name as kind", "kind == 'nt'"),
        ("from typing import TYPE_CHECKING as TC", "TC"),
        (
            "from .utils import is_torch_available as has_torch",
            "has_torch()",
        ),
    ] {
        let source = format!("{import}\nif {condition}:\n    import a\nimport b\n");
        let found = plain(&source);
        assert!(
            found.contains(&"b".into()) && !found.contains(&"a".into()),
            "{source}"
        );
    }
    let source = "from mine import system, name\nif system() and name:\n    import a\n";
    assert_eq!(plain(source), ["mine", "a"]);
    let source =
        "from typing import TYPE_CHECKING as TC\nif not TC:\n    import a\nelse:\n    import b\n";
    assert_eq!(plain(source), ["typing", "a"]);
    let source = "from contextlib import suppress as quiet\nwith quiet(ImportError):\n    import a\nif quiet:\n    import b\n";
    assert_eq!(plain(source), ["contextlib", "b"]);
}

#[test]
fn what_no_type_checker_reads_is_needed() {
    for (condition, expected) in [
        ("TYPE_CHECKING", &["b"][..]),
        ("not TYPE_CHECKING", &["a"]),
        ("not typing.TYPE_CHECKING", &["a"]),
        ("TYPE_CHECKING is False", &["a"]),
        ("t.TYPE_CHECKING == False", &["a"]),
        ("x and not TYPE_CHECKING", &["a", "b"]),
        ("not x and TYPE_CHECKING", &["b"]),
    ] {
        let source = format!("if {condition}:\n    import a\nelse:\n    import b\n");
        assert_eq!(plain(&source), expected, "{condition}");
    }
}

#[test]
fn broken_files_still_count() {
    let source = "import a\ndef (:\nimport b\nx = 'open\nimport c\nprint 'x'\nfrom\nimport\nimport d\ny = [1,\nfrom e import f\n";
    assert_eq!(modules(source), ["a", "b", "c", "d", "e"]);
    assert!(!scan(source.as_bytes(), false).problems.is_empty());
}

#[test]
fn calls_that_import_are_guarded() {
    let source = "m = importlib.import_module('a.b')\nn = __import__( \"c\" )\nk = import_module('d' + e)\nmy_import_module('f')\n";
    assert_eq!(modules(source), ["a.b", "c"]);
    assert!(plain(source).is_empty());
}

#[test]
fn notebooks_have_lines_of_their_own() {
    let source = "%pip install x\n!echo \"it's\nimport a\nfiles = !ls \"\nimport b\nnp?\nx = %time y('\nimport c\nx != y\nimport d";
    let found = scan(source.as_bytes(), true);
    let modules: Vec<_> = found.imports.iter().map(|i| &i.module[..]).collect();
    assert_eq!(modules, ["a", "b", "c", "d"]);
}

#[test]
fn hostile_bytes_take_linear_time() {
    for piece in [
        "(", "f\"{", "'''", "\\", "f'{f\"", "try:\n ", "import ", "\0", "\r", "[{(\n", "if x:\n",
        "f'''{{{",
    ] {
        let source = piece.repeat(2_000_000 / piece.len());
        scan(source.as_bytes(), false);
        scan(source.as_bytes(), true);
    }
}
