//! What a file says about where modules lie.

use memchr::memmem;

/// Words of files that change `sys.path`, and of those that tell a packager where the packages lie.
const CHANGES: [&[u8]; 14] = [
    b"sys.path.insert",
    b"sys.path.append",
    b"sys.path.extend",
    b"sys.path +=",
    b"sys.path+=",
    b"sys.path = ",
    b"sys.path=",
    b"sys.path[:0]",
    b"sys.path[0:0]",
    b"sys.path[1:1]",
    b"sys.path[0] =",
    b"addsitedir",
    b"package_dir",
    b"find_packages(",
];

/// The same of files that import `path` from `sys`.
const IMPORTED: [&[u8]; 4] = [
    b"path.insert(",
    b"path.append(",
    b"path.extend(",
    b"path[:0]",
];

/// More texts than this are no list of folders.
const MANY: usize = 200;

/// The short texts that look like paths in a file that changes `sys.path`, and those on the very lines. What a line
/// names one after the other (`join(here, "..", "lib", "python")`) counts as one path too.
pub(super) fn folders(source: &[u8]) -> (Vec<String>, Vec<String>) {
    let import = b"from sys import ";
    let mut lines = source.split(|b| *b == b'\n');
    let imported = has(source, import) && lines.any(|line| has(line, import) && has(line, b"path"));
    let changes = |text: &[u8]| {
        CHANGES.iter().any(|words| has(text, words))
            || imported && IMPORTED.iter().any(|words| has(text, words))
    };
    if !changes(source) {
        return (Vec::new(), Vec::new());
    }
    let (mut found, mut exact) = (Vec::new(), Vec::new());
    for line in source.split(|b| *b == b'\n') {
        let mut texts = texts(line);
        let joined: Vec<&str> = texts
            .iter()
            .map(String::as_str)
            .filter(|t| !is_dots(t))
            .collect();
        if joined.len() > 1 {
            texts.push(joined.join("/"));
        }
        if changes(line) {
            exact.extend(texts.iter().cloned());
        }
        found.append(&mut texts);
        if found.len() >= MANY {
            break;
        }
    }
    for texts in [&mut found, &mut exact] {
        texts.retain(|text| !is_dots(text));
        texts.sort();
        texts.dedup();
    }
    // The file's own folder and those above it: `os.path.dirname(__file__)`, `Path(__file__).parent`.
    found.insert(0, "..".into());
    (found, exact)
}

fn has(text: &[u8], words: &[u8]) -> bool {
    memmem::find(text, words).is_some()
}

/// `.`, `..`, `../..`
fn is_dots(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '.' | '/'))
}

/// The texts in quotes on `line` that look like paths.
fn texts(line: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(open) = memchr::memchr2(b'"', b'\'', rest) {
        let quote = rest[open];
        rest = &rest[open + 1..];
        let Some(end) = memchr::memchr(quote, rest) else {
            break;
        };
        let before = line[..line.len() - rest.len() - 1].trim_ascii_end();
        let text = behind_folder(&rest[..end], before.ends_with(b"+"));
        let path = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
        if (1..=100).contains(&text.len()) && text.iter().all(path) {
            found.push(String::from_utf8_lossy(text).into_owned());
        }
        rest = &rest[end + 1..];
    }
    found
}

/// The part of `text` that is below a folder which the program finds out: behind `{HERE}/`, `%s/`, or, when it is
/// `added` to that, behind `/`.
fn behind_folder(text: &[u8], added: bool) -> &[u8] {
    let ends_field = |at: &usize| text[*at] == b'}' || text[..=*at].ends_with(b"%s");
    match (0..text.len()).rev().find(ends_field) {
        Some(at) => text[at + 1..].strip_prefix(b"/").unwrap_or_default(),
        None if added => text.strip_prefix(b"/").unwrap_or(text),
        None => text,
    }
}

/// Whether an `__init__.py` does nothing but join a namespace.
pub(super) fn is_namespace(source: &[u8]) -> bool {
    const LONG: usize = 4096;
    let own: [&[u8]; 4] = [b"\ndef ", b"\nclass ", b"\nfrom .", b"__all__"];
    source.len() < LONG
        && (has(source, b"extend_path(") || has(source, b"declare_namespace("))
        && !own.iter().any(|words| has(source, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_a_changed_path_are_told() {
        let text = b"x = 'far'\nsys.path.insert(0, join(here, '..', 'lib', 'python'))\n";
        let (found, exact) = folders(text);
        assert_eq!(found, ["..", "far", "lib", "lib/python", "python"]);
        assert_eq!(exact, ["lib", "lib/python", "python"]);
        assert_eq!(folders(b"# sys.path\nx = 'a'\n"), (vec![], vec![]));
        for line in [
            "sys.path.append(f\"{os.getcwd()}/lib\")",
            "sys.path.append(os.getcwd() + '/lib')",
            "sys.path.insert(0, '%s/lib' % HERE)",
            "sys.path.append('{}/lib'.format(HERE))",
            "sys.path[:0] = ['lib']",
            "sys.path=['lib']+sys.path",
            "sys.path = ['lib'] + sys.path",
            "from sys import argv, path; path.append('lib')",
        ] {
            assert_eq!(folders(line.as_bytes()).1, ["lib"], "{line}");
        }
        let added = folders(b"sys.path.append(HERE + '/../lib')").1;
        assert_eq!(added, ["../lib"]);
        assert!(folders(b"path.append('lib')").1.is_empty());
    }

    #[test]
    fn a_part_of_a_namespace_has_no_code_of_its_own() {
        assert!(is_namespace(
            b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
        ));
        assert!(is_namespace(b"try:\n    import pkg_resources\n    pkg_resources.declare_namespace(__name__)\nexcept ImportError:\n    pass\n"));
        assert!(!is_namespace(b"from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\n\ndef f(): pass\n"));
        assert!(!is_namespace(b""));
    }
}
