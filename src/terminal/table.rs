//! Aligned columns.

use super::clean;

/// Rows of text in aligned columns, two spaces apart. Cells are cleaned when they are added.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these column heads; a head that begins with `>` is right-aligned.
    pub fn new(heads: &[&str]) -> Self {
        let right = heads.iter().map(|head| head.starts_with('>')).collect();
        let heads = heads
            .iter()
            .map(|head| clean(head.trim_start_matches('>')))
            .collect();
        Table {
            rows: vec![heads],
            right,
        }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows
            .push(cells.into_iter().map(|cell| clean(cell.as_ref())).collect());
    }

    /// Whether there is nothing below the heads.
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// The columns of a terminal that its lines need at most.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
    }

    /// The lines, heads first, without trailing spaces.
    pub fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        self.rows
            .iter()
            .map(|row| self.line(row, &widths))
            .collect()
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        (0..columns)
            .map(|i| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(i))
                    .map(|cell| width(cell))
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[i] - width(cell));
            let right = self.right.get(i).copied().unwrap_or(false);
            line.push_str(&if right {
                format!("{pad}{cell}")
            } else {
                format!("{cell}{pad}")
            });
            line.push_str("  ");
        }
        line.trim_end().to_string()
    }
}

/// Columns that `text` takes; a terminal gives wide characters two.
fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let mut table = Table::new(&["RUN", ">LOSS"]);
        table.row(["train-1", "0.5"]);
        table.row(["數", "12.25"]);
        assert_eq!(
            table.lines(),
            ["RUN       LOSS", "train-1    0.5", "數       12.25"]
        );
        assert_eq!(table.width(), 14);
    }
}
