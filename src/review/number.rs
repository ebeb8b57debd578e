//! Numbers for people.

/// Five significant digits, without zeros at the end; an exponent where the number would be long.
pub fn show(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let size = value.abs().log10().floor() as i32;
    if value.fract() == 0.0 && size < 15 {
        return value.to_string();
    }
    if !(-4..7).contains(&size) {
        return scientific(value, 4);
    }
    trim(&format!("{value:.*}", (4 - size).max(0) as usize)).to_string()
}

/// A mean and its uncertainty, which decides how many digits mean something: it gets two.
pub fn show_spread(mean: f64, spread: f64) -> (String, String) {
    if !mean.is_finite() || !spread.is_finite() || spread <= 0.0 {
        return (show(mean), show(spread));
    }
    let size = |value: f64| value.abs().log10().floor() as i32;
    let digits = 1 - size(spread);
    if !(0..=6).contains(&digits) || mean.abs() >= 1e12 {
        // Down to where the uncertainty begins, as far as a float goes.
        let mean = match mean.fract() == 0.0 || digits < 0 {
            true => show(mean),
            false => scientific(mean, (size(mean) + digits).clamp(4, 15) as usize),
        };
        return (mean, scientific(spread, 1));
    }
    let digits = digits as usize;
    (format!("{mean:.digits$}"), format!("{spread:.digits$}"))
}

fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", trim(mantissa)),
        None => text,
    }
}

fn trim(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// A change relative to `before`, `+12.5 %`; nothing where that makes no sense.
pub fn show_change(before: f64, now: f64) -> Option<String> {
    let change = (now - before) / before.abs();
    match change {
        _ if !change.is_finite() => None,
        _ if change == 0.0 => Some("±0 %".into()),
        _ if change.abs() >= 10.0 => Some(format!("{change:+.0}×")),
        _ => Some(format!("{:+.1} %", change * 100.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (-1.5, "-1.5"),
            (0.123456789, "0.12346"),
            (123456.789, "123457"),
            (0.00012345678, "0.00012346"),
            (1.23456e-7, "1.2346e-7"),
            (1e-9, "1e-9"),
            (1.5e20, "1.5e20"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (0.99999999, "1"),
        ] {
            assert_eq!(show(value), text);
        }
    }

    #[test]
    fn the_spread_decides_the_digits() {
        let shown = |mean, spread| {
            let (mean, spread) = show_spread(mean, spread);
            format!("{mean} ± {spread}")
        };
        assert_eq!(shown(0.123456, 0.00213), "0.1235 ± 0.0021");
        assert_eq!(shown(93.4567, 12.3), "93 ± 12");
        assert_eq!(shown(1_000_000_001.33, 0.577), "1000000001.33 ± 0.58");
        assert_eq!(shown(1234.5, 123.0), "1234.5 ± 1.2e2");
        assert_eq!(shown(1.5e-8, 2.5e-9), "1.5e-8 ± 2.5e-9");
        assert_eq!(shown(0.123456789012, 1.2e-9), "1.23456789e-1 ± 1.2e-9");
        assert_eq!(shown(0.5, 0.0), "0.5 ± 0");
        assert_eq!(shown(0.0, 1234.0), "0 ± 1.2e3");
        assert_eq!(shown(f64::NAN, f64::NAN), "NaN ± NaN");
        assert_eq!(show_change(2.0, 1.5).as_deref(), Some("-25.0 %"));
        assert_eq!(show_change(-2.0, -1.0).as_deref(), Some("+50.0 %"));
        assert_eq!(show_change(0.0, 1.0), None);
        assert_eq!(show_change(1.0, f64::NAN), None);
    }
}
