//! Comma- and tab-separated values (RFC 4180) with a line of names, as the loggers of Keras and Lightning write.

use csv::{ReaderBuilder, StringRecord};

use super::{Curves, Reading, number};

/// Values with commas between them.
pub fn read_commas(bytes: &[u8]) -> Reading {
    read(bytes, b',')
}

/// Values with tabs between them.
pub fn read_tabs(bytes: &[u8]) -> Reading {
    read(bytes, b'\t')
}

/// Each column that holds numbers is a curve; an empty cell adds nothing to it.
fn read(bytes: &[u8], delimiter: u8) -> Reading {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(bytes);
    let mut curves = Curves::new();
    let names: Vec<String> = match reader.headers() {
        Ok(names) => names.iter().map(|name| name.trim().to_string()).collect(),
        Err(error) => return (curves, Some(error.to_string())),
    };
    let mut row = StringRecord::new();
    loop {
        match reader.read_record(&mut row) {
            Ok(false) => return (curves, None),
            Err(error) => return (curves, Some(error.to_string())),
            Ok(true) => {}
        }
        for (name, cell) in names.iter().zip(&row) {
            if let Some(value) = number(cell).filter(|_| !name.is_empty()) {
                curves.entry(name.clone()).or_default().push(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_numbers_are_curves() {
        let text = "\u{feff}epoch,\"train, loss\",val,note\r\n0,0.5,,start\r\n1,nan,0.75,\r\n2,-inf,,end\r\n";
        let (curves, damage) = read_commas(text.as_bytes());
        assert_eq!(damage, None);
        assert_eq!(
            curves.keys().collect::<Vec<_>>(),
            ["epoch", "train, loss", "val"]
        );
        assert_eq!(
            (&curves["val"], curves["train, loss"][2]),
            (&vec![0.75], f64::NEG_INFINITY)
        );
        assert!(curves["train, loss"][1].is_nan());
        assert_eq!(read_tabs(b"a\tb\n1\t2\n").0["b"], [2.0]);
    }

    #[test]
    fn a_short_last_row_is_named() {
        let (curves, damage) = read_commas(b"a,b\n1,2\n3");
        assert_eq!(curves["a"], [1.0]);
        assert!(damage.is_some());
        assert_eq!(read_commas(b""), (Curves::new(), None));
    }
}
