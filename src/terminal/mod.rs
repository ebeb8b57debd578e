//! The one door to the person: cleaning foreign text, colours, tables and progress.
//!
//! Data goes to standard output, talk to standard error. Nothing else in the program prints.

mod clean;
mod output;
mod table;

pub use clean::{Escaper, clean, clean_bytes, clean_lines};
pub use output::{Output, Stream, Style};
pub use table::Table;
