//! Tables that sort.

use std::fmt::Write;

use super::escape;
use crate::review::direction::Direction;
use crate::review::table::{Cell, Sheet};

/// A table with the `id`, whose heads sort it; the first cell of each row names it and holds what `head` gives for the
/// row and its text. The rows stand by the column `by` already, the largest first where that is said.
pub(super) fn sortable(
    id: &str,
    caption: &str,
    sheet: &Sheet,
    best: Option<usize>,
    by: Option<(&str, Direction)>,
    head: impl Fn(usize, &str) -> String,
) -> String {
    let mut out = format!(
        "<table id=\"{id}\" class=\"sortable\"><caption>{}</caption><thead><tr>",
        escape(caption)
    );
    let by = by.and_then(|(name, direction)| {
        let is_it = |title: &str| title.strip_prefix("metric.").unwrap_or(title) == name;
        let place = sheet.heads.iter().rposition(|head| is_it(&head.title))?;
        Some((place, direction))
    });
    for (place, column) in sheet.heads.iter().enumerate() {
        let sorted = match by.filter(|(by, _)| *by == place) {
            Some((_, Direction::Min)) => "ascending",
            Some((_, Direction::Max)) => "descending",
            None => "none",
        };
        let class = if column.is_number { " class=\"n\"" } else { "" };
        // A string takes everything.
        let _ = write!(
            out,
            "<th scope=\"col\" aria-sort=\"{sorted}\"{class}><button type=\"button\">{}</button></th>",
            escape(&column.title)
        );
    }
    out.push_str("</tr></thead><tbody>");
    let mut order: Vec<usize> = (0..sheet.rows.len()).collect();
    if let Some((place, direction)) = by {
        let value = |row: &usize| match sheet.rows[*row].get(place) {
            Some(Cell::Number(value) | Cell::Spread { mean: value, .. }) => Some(*value),
            _ => None,
        };
        order.sort_by(|a, b| direction.order(value(a), value(b)));
    }
    for index in order {
        let cells = &sheet.rows[index];
        out.push_str(if best == Some(index) {
            "<tr class=\"best\">"
        } else {
            "<tr>"
        });
        for (place, (cell, column)) in cells.iter().zip(&sheet.heads).enumerate() {
            let text = cell.text();
            let class = match (column.is_number, column.title.as_str(), cell) {
                (true, ..) => " class=\"n\"",
                (_, "state", Cell::Text(state)) if is_bad(state) => " class=\"bad\"",
                _ => "",
            };
            let exact = exact(cell, &text, place == 0);
            let _ = match place {
                0 => write!(
                    out,
                    "<th scope=\"row\"{class}{exact}>{}</th>",
                    head(index, &text)
                ),
                _ => write!(out, "<td{class}{exact}>{}</td>", escape(&text)),
            };
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table>"
}

/// What a cell sorts by, where that is not what it shows.
fn exact(cell: &Cell, shown: &str, is_first: bool) -> String {
    let value = match cell {
        Cell::Number(value) | Cell::Spread { mean: value, .. } => *value,
        _ if is_first => return format!(" data-v=\"{}\"", escape(shown)),
        _ => return String::new(),
    };
    let text = match value {
        f64::INFINITY => "Infinity".to_string(),
        f64::NEG_INFINITY => "-Infinity".to_string(),
        value => value.to_string(),
    };
    match text == shown {
        true => String::new(),
        false => format!(" data-v=\"{text}\""),
    }
}

fn is_bad(state: &str) -> bool {
    ["failed", "lost", "timed-out"]
        .iter()
        .any(|bad| state.starts_with(bad))
}
