//! Long output on a terminal: git's pager, by git's rules.

use std::io::Write;
use std::process::{Command, Stdio};

use super::Output;
use crate::error::Error;

/// Writes lines of data, already cleaned or painted: where a person reads standard output, through the pager that
/// `git var GIT_PAGER` names (`GIT_PAGER`, `core.pager`, `PAGER`, `less`), as git itself would.
///
/// # Errors
/// As [`Output::data`].
pub fn page(output: &Output, lines: &[String]) -> Result<(), Error> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    match pager().filter(|_| output.is_read()) {
        Some(pager) if through(&pager, &text) => Ok(()),
        _ => output.bytes(text.as_bytes()),
    }
}

fn pager() -> Option<String> {
    let said = Command::new("git")
        .args(["var", "GIT_PAGER"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let pager = String::from_utf8(said.stdout).ok()?.trim().to_string();
    (said.status.success() && !pager.is_empty() && pager != "cat").then_some(pager)
}

/// Whether the pager took it. A person who leaves it early has read enough.
fn through(pager: &str, text: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", pager]).stdin(Stdio::piped());
    // As git sets them (pager.c), unless the person has.
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(text.as_bytes());
    }
    // 127: the shell found no such program.
    child.wait().is_ok_and(|status| status.code() != Some(127))
}
