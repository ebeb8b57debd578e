//! Makes smaller what the program carries: packs the large tables into a third, and takes comments out of the scripts.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, write::DeflateEncoder};

const TABLES: &str = "src/requirements/tables";
/// Shell and Python that runs on servers.
const SCRIPTS: [&str; 2] = ["src/deployment/scripts", "src/review"];

fn main() -> Result<(), Box<dyn Error>> {
    for input in SCRIPTS.iter().chain(&[TABLES, "build.rs"]) {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = std::env::var("OUT_DIR")?;
    let out = Path::new(&out);
    for table in ["modules.tsv", "curated.tsv", "stdlib.tsv"] {
        pack(&Path::new(TABLES).join(table), &out.join(table))?;
    }
    fs::create_dir_all(out.join("scripts"))?;
    for folder in SCRIPTS {
        compact_all(folder, &out.join("scripts"))?;
    }
    // The index of the tables for unwinding, which the release profile does not do.
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
    Ok(())
}

fn pack(table: &Path, packed: &Path) -> io::Result<()> {
    let mut encoder = DeflateEncoder::new(File::create(packed)?, Compression::best());
    encoder.write_all(&fs::read(table)?)?;
    encoder.finish()?;
    Ok(())
}

fn compact_all(folder: &str, out: &Path) -> io::Result<()> {
    for script in fs::read_dir(folder)? {
        let script = script?.path();
        if let (Some(name), Some("sh" | "py")) = (script.file_name(), extension(&script)) {
            fs::write(out.join(name), compact(&fs::read_to_string(&script)?))?;
        }
    }
    Ok(())
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
