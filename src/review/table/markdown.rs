//! GitHub's Markdown tables.

use super::{Cell, Sheet};
use crate::terminal::clean;

/// The table, after a line with what all runs share.
pub(super) fn write(sheet: &Sheet) -> String {
    let mut out = String::new();
    if let Some(common) = sheet.common_line() {
        out += &format!("All runs: {}\n\n", escape(&common));
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out += &line(sheet.heads.iter().map(|head| escape(&head.title)).collect());
    let rules = sheet
        .heads
        .iter()
        .map(|head| if head.is_number { "---:" } else { "---" });
    out += &line(rules.map(String::from).collect());
    for row in &sheet.rows {
        out += &line(row.iter().map(cell).collect());
    }
    out
}

fn cell(cell: &Cell) -> String {
    escape(&cell.text())
}

/// What Markdown or HTML in it would obey, with a backslash before it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        if "\\`*_{}[]<>#|~&!".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
