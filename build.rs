//! Makes smaller what the program carries: takes comments out of the scripts, and packs those for servers and the large tables
//! into a third.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, write::DeflateEncoder};

const TABLES: &str = "src/requirements/tables";
/// Shell and Python that deploys.
const DEPLOYMENT: &str = "src/deployment/scripts";
/// Python that sends results.
const REVIEW: &str = "src/review";

fn main() -> Result<(), Box<dyn Error>> {
    for input in [DEPLOYMENT, REVIEW, TABLES, "build.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = std::env::var("OUT_DIR")?;
    let out = Path::new(&out);
    for table in ["modules.tsv", "curated.tsv", "stdlib.tsv"] {
        let text = fs::read(Path::new(TABLES).join(table))?;
        pack(&text, &out.join(table))?;
    }
    fs::create_dir_all(out.join("scripts"))?;
    for (name, text) in scripts(REVIEW)? {
        fs::write(out.join("scripts").join(name), text)?;
    }
    let scripts = scripts(DEPLOYMENT)?;
    let parts = scripts
        .iter()
        .flat_map(|(name, text)| [name, "\0", text, "\0"]);
    pack(
        parts.collect::<String>().as_bytes(),
        &out.join("scripts.packed"),
    )?;
    // The index of the tables for unwinding, which the release profile does not do.
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
    Ok(())
}

fn pack(text: &[u8], packed: &Path) -> io::Result<()> {
    let mut encoder = DeflateEncoder::new(File::create(packed)?, Compression::best());
    encoder.write_all(text)?;
    encoder.finish()?;
    Ok(())
}

/// The scripts of a folder, by name, each without its comments.
fn scripts(folder: &str) -> io::Result<BTreeMap<String, String>> {
    let mut scripts = BTreeMap::new();
    for script in fs::read_dir(folder)? {
        let script = script?;
        if let (Ok(name), Some("sh" | "py")) =
            (script.file_name().into_string(), extension(&script.path()))
        {
            scripts.insert(name, compact(&fs::read_to_string(script.path())?));
        }
    }
    Ok(scripts)
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

/// A script without its comments and the tabs before its lines, which are half of it: what is sent should fit into the
/// first packets of a connection. No string of the scripts has a line that begins with a tab or, after blanks, `#`.
fn compact(script: &str) -> String {
    let lines = script.lines().map(|line| line.trim_start_matches('\t'));
    let kept = lines.filter(|line| !matches!(line.trim_start().chars().next(), None | Some('#')));
    kept.flat_map(|line| [line, "\n"]).collect()
}
