//! The headers of compound statements: what they say about the imports below them.

use super::lex;

/// Whether `word` begins a statement that ends in a colon.
pub(super) fn is_compound(word: &[u8]) -> bool {
    matches!(
        word,
        b"if"
            | b"elif"
            | b"else"
            | b"try"
            | b"except"
            | b"finally"
            | b"with"
            | b"for"
            | b"while"
            | b"def"
            | b"class"
            | b"async"
            | b"case"
    )
}

/// What an `if` says about its branches.
#[derive(Clone, Copy)]
pub(super) struct Branch {
    /// The imports below it are guarded.
    pub body: bool,
    /// The imports below its `else` are guarded.
    pub rest: bool,
}

/// What a name in a condition asks for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Check {
    /// The platform, the version of Python, or whether something is there.
    Place,
    /// Whether a type checker reads the file.
    Typing,
    /// No question: `contextlib.suppress`.
    Suppress,
}

/// What the condition that begins at `at` guards; nothing when it is no guard. `named` are the names that the file
/// gave to checks where it imported them.
pub(super) fn condition(source: &[u8], at: usize, named: &[(&[u8], Check)]) -> Option<Branch> {
    let mut typing = false;
    let mut check = false;
    let mut negated = false;
    // The question stands alone, so that its `else` is the answer's opposite.
    let mut alone = true;
    let mut before: &[u8] = b"";
    for word in words(source, at) {
        let given = || named.iter().find(|(name, _)| *name == word);
        let found = match word {
            b"version" if dotted(source, word, b"sys.") => Some(Check::Place),
            b"name" if dotted(source, word, b"os.") => Some(Check::Place),
            _ => asks(word).or_else(|| Some(given()?.1)),
        };
        check = check || found == Some(Check::Place);
        if found == Some(Check::Typing) {
            typing = true;
            negated = negated || before == b"not";
        }
        // `TYPE_CHECKING is False`
        negated = negated || word == b"False" && before == b"TYPE_CHECKING";
        alone = alone && !matches!(word, b"and" | b"or");
        if word != b"is" && !precedes_dot(source, word) {
            before = word;
        }
    }
    match (check, typing) {
        (true, _) => Some(Branch {
            body: true,
            rest: true,
        }),
        (false, true) => Some(Branch {
            body: !negated,
            rest: negated && alone,
        }),
        (false, false) => None,
    }
}

/// What `word` asks for wherever it comes from.
pub(super) fn asks(word: &[u8]) -> Option<Check> {
    match word {
        b"TYPE_CHECKING" => Some(Check::Typing),
        b"platform"
        | b"version_info"
        | b"hexversion"
        | b"PY2"
        | b"PY3"
        | b"find_spec"
        | b"find_loader"
        | b"python_implementation"
        | b"python_version"
        | b"implementation" => Some(Check::Place),
        _ => availability(word).then_some(Check::Place),
    }
}

/// What `name` asks for when it comes from `module`.
pub(super) fn imported(module: &[u8], name: &[u8]) -> Option<Check> {
    match (module, name) {
        (b"platform", _) | (b"sys", b"version") | (b"os", b"name") => Some(Check::Place),
        (b"contextlib", b"suppress") => Some(Check::Suppress),
        _ => asks(name),
    }
}

/// `is_torch_available`, `is_transformers_version`, `_xformers_available`; `torch.cuda.is_available` asks for a device.
fn availability(word: &[u8]) -> bool {
    word.ends_with(b"_available") && word != b"is_available"
        || word.starts_with(b"is_") && word.ends_with(b"_version")
}

/// Whether the text before `word`, a piece of `source`, is `prefix`.
fn dotted(source: &[u8], word: &[u8], prefix: &[u8]) -> bool {
    let at = word.as_ptr() as usize - source.as_ptr() as usize;
    source[..at].ends_with(prefix)
}

/// Whether a dot follows `word`, a piece of `source`.
fn precedes_dot(source: &[u8], word: &[u8]) -> bool {
    let end = word.as_ptr() as usize - source.as_ptr() as usize + word.len();
    source.get(end) == Some(&b'.')
}

/// Whether the handler that begins at `at` catches a failed import.
pub(super) fn catches(source: &[u8], at: usize) -> bool {
    let mut named = false;
    for word in words(source, at) {
        match word {
            b"ImportError" | b"ModuleNotFoundError" | b"Exception" | b"BaseException" => {
                return true;
            }
            b"as" => break,
            _ => named = true,
        }
    }
    !named
}

/// Whether the `with` at `at` suppresses a failed import; `named` as for [`condition`].
pub(super) fn suppresses(source: &[u8], at: usize, named: &[(&[u8], Check)]) -> bool {
    let mut suppress = false;
    for word in words(source, at) {
        match word {
            b"suppress" => suppress = true,
            _ if named.contains(&(word, Check::Suppress)) => suppress = true,
            b"ImportError" | b"ModuleNotFoundError" | b"Exception" | b"BaseException"
                if suppress =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// The names of a header from `at` to its colon; strings and comments are not among them.
fn words(source: &[u8], at: usize) -> impl Iterator<Item = &[u8]> {
    let mut at = at;
    let mut depth = 0_u32;
    // A header longer than this is data, not a condition.
    let end = source.len().min(at + 4096);
    std::iter::from_fn(move || {
        while at < end {
            match source[at] {
                b if lex::is_name(b) => {
                    let word = lex::word(source, at);
                    at += word.len();
                    if !word[0].is_ascii_digit() {
                        return Some(word);
                    }
                    continue;
                }
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                b':' if depth == 0 && source.get(at + 1) != Some(&b'=') => return None,
                b'\n' | b'\r' if depth == 0 => return None,
                b'\\' => at += 1 + usize::from(source.get(at + 1..at + 3) == Some(b"\r\n")),
                b'#' => {
                    at += memchr::memchr2(b'\n', b'\r', &source[at..]).unwrap_or(end);
                    continue;
                }
                b'"' | b'\'' => {
                    at = lex::string_end(source, at).0;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        None
    })
}
