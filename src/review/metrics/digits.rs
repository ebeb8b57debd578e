//! Numbers in text, read faster than the standard library reads them where they are short, and the same.

/// The powers of ten that a double holds exactly, up to the digits that it holds.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// The number (RFC 8259, section 6) that `text` begins with, and what follows it; none beyond the range of doubles.
pub(super) fn take_number(text: &[u8]) -> Option<(f64, &[u8])> {
    let is_negative = text.first() == Some(&b'-');
    let mut digits = Digits::default();
    let begin = usize::from(is_negative);
    let whole = digits.take(text.get(begin..)?);
    if whole == 0 || whole > 1 && text[begin] == b'0' {
        return None;
    }
    let (mut end, mut places) = (begin + whole, 0);
    if text.get(end) == Some(&b'.') {
        places = digits.take(&text[end + 1..]);
        end += 1 + places;
        if places == 0 {
            return None;
        }
    }
    let mut is_short = whole + places < POWERS.len();
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = Digits::default().take(&text[end + 1 + sign..]);
        end += 1 + sign + exponent;
        is_short = false;
        if exponent == 0 {
            return None;
        }
    }
    // Both are exact then, so that the quotient is the nearest double, as `parse` gives it.
    let value = match is_short {
        true => digits.value as f64 / POWERS[places],
        false => std::str::from_utf8(&text[begin..end]).ok()?.parse().ok()?,
    };
    let value = if is_negative { -value } else { value };
    value.is_finite().then_some((value, &text[end..]))
}

/// Decimal digits, one after another; too many of them run over.
#[derive(Default)]
struct Digits {
    value: u64,
}

impl Digits {
    /// How many digits `text` begins with.
    fn take(&mut self, text: &[u8]) -> usize {
        let mut count = 0;
        while let Some(byte @ b'0'..=b'9') = text.get(count) {
            self.value = self
                .value
                .wrapping_mul(10)
                .wrapping_add(u64::from(byte - b'0'));
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_standard() {
        for text in [
            "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "-.5", "", "x", "1e999",
        ] {
            assert_eq!(take_number(text.as_bytes()), None, "{text}");
        }
        for text in [
            "0",
            "-0",
            "12",
            "0.25",
            "-3.5e-2",
            "1E5",
            "123456789012345678",
            "1e-400",
        ] {
            let given = [text, ", 7"].concat();
            let (value, rest) = take_number(given.as_bytes()).unwrap();
            assert_eq!(
                value.to_bits(),
                text.parse::<f64>().unwrap().to_bits(),
                "{text}"
            );
            assert_eq!(rest, b", 7");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_the_standard_library_reads_them(value: f64, short in -1e6..1e6f64, places in 0..12usize) {
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}"), format!("{short:.places$}")] {
                let (found, rest) = take_number(text.as_bytes()).unwrap();
                prop_assert_eq!(found.to_bits(), text.parse::<f64>().unwrap().to_bits());
                prop_assert!(rest.is_empty());
            }
        }
    }
}
