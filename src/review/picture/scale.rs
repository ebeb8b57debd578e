//! From values to places on an axis.

use super::super::number::show;

/// Where the values of an axis lie, and which of them are written beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    kind: Kind,
    /// The places of the first and the last value, in the picture's units.
    from: f64,
    to: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Linear(f64, f64),
    Log(f64, f64),
    /// Words, side by side.
    Words(Vec<String>),
}

/// A value that is written beside an axis, and its place.
pub(super) struct Tick {
    pub place: f64,
    pub text: String,
}

impl Scale {
    /// An axis for finite `values`, with a logarithmic one where `log` and all are positive.
    pub fn of(values: impl Iterator<Item = f64> + Clone, log: bool) -> Self {
        let finite = values.filter(|value| value.is_finite() && (!log || *value > 0.0));
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let kind = match (low <= high, low == high, log) {
            (false, ..) => Kind::Linear(0.0, 1.0),
            (_, true, true) => Kind::Log(low / 2.0, high * 2.0),
            (_, true, false) => {
                let room = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
                Kind::Linear(low - room, high + room)
            }
            (_, _, true) => Kind::Log(low, high),
            (_, _, false) => Kind::Linear(low, high),
        };
        Scale {
            kind,
            from: 0.0,
            to: 1.0,
        }
    }

    /// An axis of words.
    pub fn words(words: Vec<String>) -> Self {
        Scale {
            kind: Kind::Words(words),
            from: 0.0,
            to: 1.0,
        }
    }

    /// The same from one place to another.
    pub fn between(self, from: f64, to: f64) -> Self {
        Scale { from, to, ..self }
    }

    /// The same with `share` of its length left free at both ends.
    pub fn with_room(mut self, share: f64) -> Self {
        match &mut self.kind {
            Kind::Linear(low, high) => {
                let room = (*high - *low) * share;
                (*low, *high) = (*low - room, *high + room);
            }
            Kind::Log(low, high) => {
                let room = (*high / *low).powf(share);
                (*low, *high) = (*low / room, *high * room);
            }
            Kind::Words(_) => {}
        }
        self
    }

    pub fn is_log(&self) -> bool {
        matches!(self.kind, Kind::Log(..))
    }

    /// The place of a value; nothing for one that has none, such as NaN or 0 on a logarithmic axis.
    pub fn place(&self, value: f64) -> Option<f64> {
        let share = match &self.kind {
            Kind::Linear(low, high) => (value - low) / (high - low),
            Kind::Log(low, high) => (value / low).ln() / (high / low).ln(),
            Kind::Words(words) => (value + 0.5) / words.len().max(1) as f64,
        };
        let place = self.from + share * (self.to - self.from);
        place.is_finite().then_some(place)
    }

    /// The place of a word.
    pub fn place_of(&self, word: &str) -> Option<f64> {
        match &self.kind {
            Kind::Words(words) => self.place(words.iter().position(|known| known == word)? as f64),
            _ => self.place(word.parse().ok()?),
        }
    }

    /// At most about `most` round values.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        let values = match &self.kind {
            Kind::Linear(low, high) => linear_ticks(*low, *high, most),
            Kind::Log(low, high) => log_ticks(*low, *high, most),
            Kind::Words(words) => {
                let step = words.len().div_ceil(most.max(1)).max(1);
                let ticks = words.iter().enumerate().step_by(step);
                let tick = |(index, word): (usize, &String)| {
                    Some(Tick {
                        place: self.place(index as f64)?,
                        text: word.clone(),
                    })
                };
                return ticks.filter_map(tick).collect();
            }
        };
        self.ticks_at(&values)
    }

    /// Exactly these values.
    pub fn ticks_at(&self, values: &[f64]) -> Vec<Tick> {
        let tick = |value: &f64| {
            Some(Tick {
                place: self.place(*value)?,
                text: show(*value),
            })
        };
        values.iter().filter_map(tick).collect()
    }
}

fn linear_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let rough = (high - low) / most.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let step = steps
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    if !step.is_normal() {
        return Vec::new();
    }
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    let digits = (1.0 - step.log10().floor()).clamp(0.0, 300.0) as usize;
    let round = |value: f64| format!("{value:.digits$}").parse().unwrap_or(value);
    (0..=most * 2)
        .map(|index| first + index as f64)
        .take_while(|index| *index <= last)
        .map(|index| round(index * step) + 0.0)
        .collect()
}

fn log_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let decades = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let step = ((decades.1 - decades.0) as usize)
        .div_ceil(most.max(1))
        .max(1);
    let powers = (decades.0..=decades.1).step_by(step);
    let value = |power: i32, factor: f64| {
        // Through text, as 10^-3 computed is not 0.001.
        format!("{factor}e{power}")
            .parse::<f64>()
            .unwrap_or(f64::NAN)
    };
    let inside = |value: &f64| (low * 0.999..=high * 1.001).contains(value);
    let whole: Vec<f64> = powers
        .clone()
        .map(|power| value(power, 1.0))
        .filter(inside)
        .collect();
    if whole.len() > 2 {
        return whole;
    }
    let fine = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|factor| value(power, factor)));
    let fine: Vec<f64> = fine.filter(inside).collect();
    if fine.len() > 1 {
        fine
    } else {
        vec![low, high]
    }
}

/// Whether values are better seen on a logarithmic axis: positive, and over two decades or in equal ratios.
pub(super) fn wants_log(values: &[f64]) -> bool {
    let mut values: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let (Some(&low), Some(&high)) = (values.first(), values.last()) else {
        return false;
    };
    if low <= 0.0 || high / low < 4.0 {
        return false;
    }
    let ratios = || values.windows(2).map(|pair| pair[1] / pair[0]);
    let even = ratios().fold(1.0, f64::max) / ratios().fold(f64::INFINITY, f64::min) < 1.5;
    high / low >= 100.0 || (values.len() > 2 && even)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale, most: usize) -> Vec<String> {
        scale
            .ticks(most)
            .into_iter()
            .map(|tick| tick.text)
            .collect()
    }

    #[test]
    fn ticks_are_round() {
        let scale = |values: &[f64], log| Scale::of(values.iter().copied(), log);
        assert_eq!(
            texts(&scale(&[0.0, 1.0], false), 5),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
        assert_eq!(
            texts(&scale(&[1e-5, 0.2], true), 6),
            ["1e-5", "0.0001", "0.001", "0.01", "0.1"]
        );
        assert_eq!(texts(&scale(&[0.11, 0.9], true), 4), ["0.2", "0.5"]);
        assert_eq!(texts(&scale(&[7.0], false), 3), ["5", "7.5", "10"]);
        assert_eq!(texts(&scale(&[], true), 2), ["0", "0.5", "1"]);
        assert_eq!(texts(&scale(&[f64::NAN, -1e308, 1e308], false), 4).len(), 0);
    }

    #[test]
    fn designs_over_decades_are_logarithmic() {
        for (values, log) in [
            (&[0.1, 0.01, 0.001][..], true),
            (&[16.0, 32.0, 64.0], true),
            (&[1.0, 2.0, 3.0, 4.0], false),
            (&[0.0, 100.0], false),
            (&[0.1, 0.01], false),
            (&[1e-5, 0.3, 0.2], true),
            (&[], false),
        ] {
            assert_eq!(wants_log(values), log, "{values:?}");
        }
    }
}
