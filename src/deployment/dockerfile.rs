//! Which files of a commit an image depends on.

/// The paths that the text of a Dockerfile copies into the image; nothing where only the whole commit is certain to hold
/// them (Dockerfile reference, COPY and ADD).
pub fn copied(text: &str) -> Option<Vec<String>> {
    // Where lines go on is said in another way there.
    if text.to_lowercase().contains("escape=") {
        return None;
    }
    let mut paths = Vec::new();
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines().map(str::trim) {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = match word.to_ascii_uppercase().as_str() {
            "COPY" | "ADD" => rest,
            "RUN" if !rest.contains("--mount") => continue,
            "RUN" | "ONBUILD" => return None,
            _ => continue,
        };
        let (flags, words): (Vec<_>, Vec<_>) = rest
            .split_whitespace()
            .partition(|word| word.starts_with("--"));
        if flags.iter().any(|flag| flag.starts_with("--from=")) {
            continue;
        }
        if rest.contains(['$', '*', '?', '[', '"', '\'']) || rest.contains("<<") {
            return None;
        }
        let (_, sources) = words.split_last()?;
        for source in sources.iter().filter(|source| !source.contains("://")) {
            let source = source.trim_start_matches("./").trim_matches('/');
            if matches!(source, "" | ".")
                || source.split('/').any(|part| matches!(part, "." | ".."))
            {
                return None;
            }
            paths.push(source.to_string());
        }
    }
    Some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied() {
        let text = "FROM python:3.12\nCOPY requirements.txt ./setup.py /tmp/\nRUN pip install \\\n  -r /tmp/requirements.txt\n\
                    COPY --from=build /x /y\nadd --chown=1:1 src/ /app\nADD https://x/y.tgz /z\n";
        assert_eq!(
            copied(text).unwrap(),
            ["requirements.txt", "setup.py", "src"]
        );
        for whole in [
            "COPY . .",
            "COPY ./ /app",
            "COPY *.txt /x/",
            "COPY [\"a\", \"b\"]",
            "COPY $FILE /x",
            "COPY <<EOF /x\nhi\nEOF",
            "RUN --mount=type=bind,target=/x make",
            "COPY a/../b /x",
            "# escape=`\nCOPY a `\n b /x",
        ] {
            assert_eq!(copied(whole), None, "{whole}");
        }
    }
}
