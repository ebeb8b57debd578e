//! A table that is as wide as the terminal at most, where that can be had.

use crate::review::metrics::Curve;
use crate::review::table::{self, Cell, Sheet};
use crate::terminal::Table;

/// Letters of a curve in the table, and as few as still show its shape.
const LETTERS: usize = 16;
const FEWEST: usize = 6;

/// The curves of one metric, one for each row of a table.
pub struct Curves<'a> {
    /// The head of their column.
    pub title: String,
    /// The curves; nothing where a run has none.
    pub of: Vec<Option<&'a Curve>>,
}

impl Curves<'_> {
    fn letters(&self, width: usize) -> (&str, Vec<String>) {
        let spark = |curve: &Option<&Curve>| {
            curve.map_or_else(String::new, |curve| table::sparkline(curve, width))
        };
        (self.title.as_str(), self.of.iter().map(spark).collect())
    }
}

/// The table of `sheet` in at most `width` columns if it can be: with shorter curves, without the state of runs that all
/// ended alike (it joins what all have in common), without curves. Otherwise, or without a width, as wide as it is.
pub fn fit(sheet: &mut Sheet, curves: Option<&Curves>, width: Option<usize>) -> Table {
    let draw =
        |sheet: &Sheet, letters| sheet.terminal(curves.map(|curves| curves.letters(letters)));
    let full = draw(sheet, LETTERS);
    let Some(width) = width.filter(|width| full.width() > *width) else {
        return full;
    };
    if draw(sheet, FEWEST).width() > width {
        share_state(sheet);
    }
    // A head may be wider than its curves.
    let letters = (FEWEST..=LETTERS).rev();
    let fitting = letters
        .map(|letters| draw(sheet, letters))
        .find(|table| table.width() <= width);
    fitting.unwrap_or_else(|| sheet.terminal(None))
}

/// Moves the state, when it is the same for all, from its column to what all have in common.
fn share_state(sheet: &mut Sheet) {
    let Some(column) = sheet.heads.iter().position(|head| head.title == "state") else {
        return;
    };
    let Some(Cell::Text(state)) = sheet.rows.first().map(|row| row[column].clone()) else {
        return;
    };
    if sheet
        .rows
        .iter()
        .all(|row| row[column] == Cell::Text(state.clone()))
    {
        sheet.heads.remove(column);
        sheet
            .rows
            .iter_mut()
            .for_each(|row| drop(row.remove(column)));
        sheet.common.push(("state".into(), state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::table::Head;

    fn sheet(states: [&str; 2]) -> Sheet {
        let head = |title: &str| Head {
            title: title.into(),
            is_number: false,
        };
        let row = |state: &str| vec![Cell::Text("train-1".into()), Cell::Text(state.into())];
        Sheet {
            heads: vec![head("run"), head("state")],
            rows: states.map(row).into(),
            common: Vec::new(),
        }
    }

    fn fitted(states: [&str; 2], width: Option<usize>) -> (Vec<String>, Option<String>) {
        let curve = Curve {
            axis: String::new(),
            steps: (0..32).map(f64::from).collect(),
            values: (0..32).map(f64::from).collect(),
        };
        let curves = Curves {
            title: "LOSS".into(),
            of: vec![Some(&curve), None],
        };
        let mut sheet = sheet(states);
        let lines = fit(&mut sheet, Some(&curves), width).lines();
        (lines, sheet.common_line())
    }

    #[test]
    fn what_is_too_wide_gives_way_in_turn() {
        let all = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let wide = all(&[
            "RUN      STATE      LOSS",
            "train-1  succeeded  ▁▂▂▂▃▃▄▄▅▅▆▆▇▇▇█",
            "train-1  succeeded",
        ]);
        let both = ["succeeded"; 2];
        assert_eq!(fitted(both, None), (wide.clone(), None));
        assert_eq!(fitted(both, Some(36)), (wide, None));
        let (lines, common) = fitted(both, Some(30));
        assert!(
            lines[1].starts_with("train-1  succeeded  ▁") && common.is_none(),
            "{lines:?}"
        );
        assert_eq!(console::measure_text_width(&lines[1]), 30);
        let (lines, common) = fitted(both, Some(20));
        assert!(lines[1].starts_with("train-1  ▁"), "{lines:?}");
        assert_eq!(common.as_deref(), Some("state=succeeded"));
        // Runs that ended otherwise keep their states, and lose their curves.
        let (lines, common) = fitted(["succeeded", "failed (1)"], Some(20));
        assert_eq!(lines[2], "train-1  failed (1)");
        assert_eq!(common, None);
        // Narrower than can be is as it is.
        assert_eq!(
            fitted(["lost", "failed (1)"], Some(3)).0[1],
            "train-1  lost"
        );
    }
}
