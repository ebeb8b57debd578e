//! What code asks an installer for: `%pip install x` in notebooks, and inline script metadata (PEP 723).
//!
//! A hint of which distribution an import means, no more: nothing is installed or run.

/// More than this is no list of requirements.
const MANY: usize = 200;

/// Notes what the line `command` of a notebook installs: `%pip`, `!pip`, `!python -m pip`, `!uv pip`, `%conda`.
pub(super) fn command(command: &[u8], found: &mut Vec<String>) {
    if memchr::memmem::find(command, b"install").is_none() {
        return;
    }
    let text = String::from_utf8_lossy(command)
        .replace("\\\n", " ")
        .replace("\\\r\n", " ");
    for piece in text
        .split(['\n', ';', '|'])
        .flat_map(|line| line.split("&&"))
    {
        let mut words = piece
            .trim_start_matches(['%', '!', ' ', '\t'])
            .split_whitespace();
        let installer = |word: &str| {
            let name = word.rsplit('/').next().unwrap_or_default();
            matches!(
                name,
                "pip" | "pip3" | "pip2" | "conda" | "mamba" | "micromamba" | "uv" | "-mpip"
            )
        };
        // `python -m pip`, `sudo pip`, `uv pip`
        let known = words
            .by_ref()
            .take(4)
            .take_while(|word| *word != "install")
            .any(installer);
        let is_install = piece
            .split_whitespace()
            .take(6)
            .any(|word| word == "install");
        if known && is_install {
            arguments(piece, found);
        }
    }
}

/// The requirements behind `install`: no options, and not their values.
fn arguments(piece: &str, found: &mut Vec<String>) {
    let mut words = piece
        .split_whitespace()
        .skip_while(|word| *word != "install")
        .skip(1);
    while let Some(word) = words.next() {
        if word.starts_with('#') {
            return;
        }
        if word.starts_with('-') {
            let valued = matches!(
                word,
                "-r" | "-c"
                    | "-f"
                    | "-i"
                    | "-t"
                    | "-n"
                    | "-p"
                    | "--requirement"
                    | "--constraint"
                    | "--find-links"
                    | "--index-url"
                    | "--extra-index-url"
                    | "--target"
                    | "--channel"
                    | "--name"
                    | "--prefix"
                    | "--trusted-host"
            );
            if valued {
                words.next();
            }
            continue;
        }
        let word = word.trim_matches(['"', '\'', ',']);
        if !word.is_empty() && word.len() < 300 && found.len() < MANY {
            found.push(word.into());
        }
    }
}

/// The `dependencies` of the inline metadata of a script, as PEP 723 has it.
pub(super) fn script(source: &[u8]) -> Vec<String> {
    let Some(start) = memchr::memmem::find(source, b"# /// script") else {
        return Vec::new();
    };
    if start > 0 && source[start - 1] != b'\n' {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&source[start..]);
    let lines = text.lines().skip(1);
    let block: Vec<&str> = lines
        .map_while(|line| line.strip_prefix('#'))
        .take_while(|line| line.trim() != "///")
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let Ok(table) = block.join("\n").parse::<toml::Table>() else {
        return Vec::new();
    };
    let list = table.get("dependencies").and_then(toml::Value::as_array);
    let texts = list.into_iter().flatten().filter_map(toml::Value::as_str);
    texts.take(MANY).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installs(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        command(text.as_bytes(), &mut found);
        found
    }

    #[test]
    fn installers_of_a_notebook_are_read() {
        for (text, expected) in [
            ("%pip install -q a 'b>=1' # c", &["a", "b>=1"][..]),
            (
                "!pip3 install -r x.txt a==1 \\\n  b && pip install c",
                &["a==1", "b", "c"],
            ),
            ("!{sys.executable} -m pip install a", &["a"]),
            ("!uv pip install --index-url https://h a", &["a"]),
            ("%conda install -c conda-forge -y a", &["a"]),
            (
                "!pip install git+https://h/o/CLIP.git",
                &["git+https://h/o/CLIP.git"],
            ),
            ("!apt-get install ffmpeg", &[]),
            ("!npm install a", &[]),
            ("!pip list", &[]),
        ] {
            assert_eq!(installs(text), expected, "{text}");
        }
    }

    #[test]
    fn inline_metadata_is_read() {
        let text = "#!/usr/bin/env -S uv run\n# /// script\n# requires-python = \">=3.11\"\n# dependencies = [\n#   \"requests<3\",\n#   'rich',\n# ]\n# ///\nimport requests\n";
        assert_eq!(script(text.as_bytes()), ["requests<3", "rich"]);
        assert!(script(b"x = '# /// script'\n").is_empty());
        assert!(script(b"# /// script\n# dependencies = [\n# ///\n").is_empty());
    }
}
