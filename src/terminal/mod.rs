//! The one door to the person: cleaning foreign text, colours, tables and progress.
//!
//! Data goes to standard output, talk to standard error. Nothing else in the program prints.

mod clean;
mod output;
mod pager;
mod screen;
mod table;

pub use clean::{Escaper, clean, clean_bytes, clean_lines};
pub use output::{Colour, Output, Stream, Style};
pub use pager::page;
pub use table::Table;

/// `1 run`, `2 runs`.
pub fn count(number: impl std::fmt::Display, noun: &str) -> String {
    match number.to_string() {
        one if one == "1" => format!("1 {noun}"),
        many => format!("{many} {noun}s"),
    }
}
