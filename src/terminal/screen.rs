//! What a command shows again and again, in one place.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How far a command has written down a terminal.
pub(super) struct Screen {
    height: usize,
    columns: usize,
    rows: AtomicUsize,
}

impl Screen {
    /// The terminal that shows standard output, where one does that moves its cursor.
    pub(super) fn find() -> Option<Self> {
        let (height, columns) = console::Term::stdout().size_checked()?;
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        (!is_dumb && columns > 0).then(|| Screen {
            height: height.into(),
            columns: columns.into(),
            rows: AtomicUsize::new(0),
        })
    }

    /// Takes note of whole lines that are written.
    pub(super) fn note(&self, lines: &str) {
        let rows = lines
            .split('\n')
            .map(|line| {
                console::measure_text_width(line)
                    .div_ceil(self.columns)
                    .max(1)
            })
            .sum();
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// What takes it all away again (ECMA-48, CPL and ED); none where its beginning has left the screen.
    pub(super) fn take_away(&self) -> Option<String> {
        match self.rows.swap(0, Ordering::Relaxed) {
            0 => Some(String::new()),
            rows if rows < self.height => Some(format!("\x1b[{rows}F\x1b[J")),
            _ => None,
        }
    }
}
