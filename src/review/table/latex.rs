//! LaTeX tables with the rules of `booktabs`.

use super::{Cell, Sheet};
use crate::review::number::{show, show_spread};
use crate::terminal::clean;

/// A `tabular`, after a comment with what all runs share.
pub(super) fn write(sheet: &Sheet) -> String {
    let mut out = String::from("% \\usepackage{booktabs}\n");
    if let Some(common) = sheet.common_line() {
        out += &format!("% all runs: {}\n", clean(&common));
    }
    let kinds: String = sheet
        .heads
        .iter()
        .map(|head| if head.is_number { 'r' } else { 'l' })
        .collect();
    out += &format!("\\begin{{tabular}}{{{kinds}}}\n\\toprule\n");
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    out += &line(sheet.heads.iter().map(|head| escape(&head.title)).collect());
    out += "\\midrule\n";
    for row in &sheet.rows {
        out += &line(row.iter().map(cell).collect());
    }
    out + "\\bottomrule\n\\end{tabular}\n"
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) => escape(text),
        Cell::Number(value) => format!("${}$", mathematics(&show(*value))),
        Cell::Spread { mean, spread, n } => {
            let text = match spread {
                Some(spread) if mean.is_finite() => {
                    let (mean, spread) = show_spread(*mean, *spread);
                    format!("${} \\pm {}$", mathematics(&mean), mathematics(&spread))
                }
                _ => format!("${}$", mathematics(&show(*mean))),
            };
            match n {
                Some(n) => format!("{text} ($n = {n}$)"),
                None => text,
            }
        }
    }
}

fn mathematics(number: &str) -> String {
    match (number, number.split_once('e')) {
        ("NaN", _) => "\\mathrm{NaN}".into(),
        ("inf", _) => "\\infty".into(),
        ("-inf", _) => "-\\infty".into(),
        (_, Some((mantissa, exponent))) => format!("{mantissa} \\times 10^{{{exponent}}}"),
        _ => number.into(),
    }
}

/// Text without anything that TeX would obey.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '"' => out.push_str("{\\char34}"),
            // After a line's `\\`, a bracket would begin an argument.
            '[' => out.push_str("{[}"),
            _ => out.push(c),
        }
    }
    out
}
