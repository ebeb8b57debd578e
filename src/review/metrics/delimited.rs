//! Comma- and tab-separated values (RFC 4180) with a line of names, as the loggers of Keras, Lightning and DVCLive
//! write them.

use csv::{ByteRecord, ReaderBuilder};

use super::curve::{Collector, Reading};
use super::digits::take_number;
use super::number;
use crate::terminal::clean_bytes;

/// Values with commas between them.
pub fn read_commas(bytes: &[u8]) -> Reading {
    read(bytes, b',')
}

/// Values with tabs between them.
pub fn read_tabs(bytes: &[u8]) -> Reading {
    read(bytes, b'\t')
}

/// Each column that holds numbers is a curve; an empty cell adds nothing to it. A row of another length, such as one
/// that was being written when the program was killed, is named and left out.
fn read(bytes: &[u8], delimiter: u8) -> Reading {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .has_headers(false)
        .from_reader(bytes);
    let (mut collector, mut row) = (Collector::default(), ByteRecord::new());
    let mut columns: Option<Vec<Option<usize>>> = None;
    let mut damage = None;
    let stopped = loop {
        match reader.read_byte_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => break Some(error.to_string()),
        }
        let Some(columns) = &columns else {
            match names(&mut collector, &row) {
                Ok(names) => columns = Some(names),
                Err(why) => break Some(why),
            }
            continue;
        };
        if row.len() != columns.len() {
            damage.get_or_insert_with(|| odd_row(bytes, &row, columns.len()));
            continue;
        }
        if let Err(why) = add(&mut collector, columns, &row) {
            break Some(why);
        }
    };
    collector.finish(damage.or(stopped))
}

/// Where the values of each column go.
fn names(collector: &mut Collector, row: &ByteRecord) -> Result<Vec<Option<usize>>, String> {
    let place = |name: &[u8]| match name.trim_ascii() {
        b"" => Ok(None),
        name => collector.name(&clean_bytes(name)).map(Some),
    };
    row.iter().map(place).collect()
}

fn add(
    collector: &mut Collector,
    columns: &[Option<usize>],
    row: &ByteRecord,
) -> Result<(), String> {
    let start = collector.begin();
    for (column, cell) in columns.iter().zip(row) {
        if let (Some(column), Some(value)) = (column, cell_number(cell)) {
            collector.add(*column, value)?;
        }
    }
    collector.end(start);
    Ok(())
}

fn cell_number(cell: &[u8]) -> Option<f64> {
    match take_number(cell) {
        Some((value, [])) => Some(value),
        _ => number(std::str::from_utf8(cell).ok()?),
    }
}

fn odd_row(bytes: &[u8], row: &ByteRecord, columns: usize) -> String {
    let start = row
        .position()
        .map_or(0, |position| position.byte() as usize);
    // After CR, the reader is still before LF.
    let start = start + usize::from(bytes.get(start) == Some(&b'\n'));
    let before = bytes.get(..start).unwrap_or(bytes);
    let line = 1 + memchr::memchr_iter(b'\n', before).count();
    format!("line {line}: {} values for {columns} names", row.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::metrics::Curves;

    #[test]
    fn columns_of_numbers_are_curves() {
        let text = "\u{feff}epoch,\"train, loss\",val,note\r\n0,0.5,,start\r\n1,nan,0.75,\r\n2,-inf,,end\r\n";
        let (curves, damage) = read_commas(text.as_bytes());
        assert_eq!(damage, None);
        assert_eq!(curves.keys().collect::<Vec<_>>(), ["train, loss", "val"]);
        let val = &curves["val"];
        assert_eq!(
            (val.axis.as_str(), &val.steps, &val.values),
            ("epoch", &vec![1.0], &vec![0.75])
        );
        let loss = &curves["train, loss"].values;
        assert!(loss[1].is_nan() && loss[2] == f64::NEG_INFINITY);
        assert_eq!(read_tabs(b"a\tb\n1\t2\n").0["b"].values, [2.0]);
    }

    #[test]
    fn a_short_row_is_named_and_left_out() {
        let (curves, damage) = read_commas(b"a,b\n1,2\n3\n4,\xff\n5,6");
        assert_eq!(curves["a"].values, [1.0, 4.0, 5.0]);
        assert_eq!(curves["b"].values, [2.0, 6.0]);
        assert_eq!(damage.as_deref(), Some("line 3: 1 values for 2 names"));
        let (_, damage) = read_commas(b"a,b\r\n1,2\r\n3\r\n");
        assert_eq!(damage.as_deref(), Some("line 3: 1 values for 2 names"));
        assert_eq!(read_commas(b""), (Curves::new(), None));
    }
}
