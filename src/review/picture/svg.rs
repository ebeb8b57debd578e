//! Pictures as SVG text.

use std::fmt::Write;

use super::super::html::escape;
use super::scale::{Scale, Tick};

/// A picture while it is drawn; classes say what a line is, and the style sheet what that looks like.
pub(super) struct Svg {
    pub text: String,
    pub width: f64,
    pub height: f64,
}

/// A coordinate with one digit, as fine as anybody sees.
pub(super) struct At(pub f64);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0.clamp(-1e5, 1e5) * 10.0).round() as i64;
        match tenths % 10 {
            0 => write!(f, "{}", tenths / 10),
            _ => write!(f, "{}", tenths as f64 / 10.0),
        }
    }
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Svg {
            text: String::new(),
            width,
            height,
        }
    }

    pub fn push(&mut self, part: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = self.text.write_fmt(part);
    }

    /// A line through the points that have a place; where one has none, it is broken.
    pub fn path(&mut self, class: &str, points: impl Iterator<Item = Option<(f64, f64)>>) {
        let (mut path, mut is_down) = (String::new(), false);
        for point in points {
            match point {
                Some((x, y)) => {
                    let letter = if is_down { 'L' } else { 'M' };
                    let _ = write!(path, "{letter}{} {}", At(x), At(y));
                    is_down = true;
                }
                None => is_down = false,
            }
        }
        if !path.is_empty() {
            self.push(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
        }
    }

    /// A text whose middle, beginning or end (`middle`, `start`, `end`) is at a place.
    pub fn label(&mut self, (x, y): (f64, f64), anchor: &str, class: &str, text: &str) {
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            At(x),
            At(y),
            escape(text)
        ));
    }
}

/// The part of a picture within its axes.
pub(super) struct Frame {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Frame {
    /// Leaves room for these labels beside the vertical axis, for those below, and for the name of the axis there.
    pub fn of(svg: &Svg, beside: &[Tick], below: usize) -> Self {
        let longest = beside
            .iter()
            .map(|tick| tick.text.chars().count().min(14))
            .max()
            .unwrap_or(0);
        Frame {
            left: 14.0 + 6.4 * longest as f64,
            right: svg.width - 20.0,
            top: 12.0,
            bottom: svg.height - if below > 0 { 40.0 } else { 12.0 },
        }
    }
}

/// The vertical axis with lines across the frame.
pub(super) fn draw_y(svg: &mut Svg, frame: &Frame, ticks: &[Tick]) {
    for tick in ticks {
        svg.push(format_args!(
            "<path class=\"grid\" d=\"M{} {1}H{2}\"/>",
            At(frame.left),
            At(tick.place),
            At(frame.right)
        ));
        svg.label(
            (frame.left - 6.0, tick.place + 4.0),
            "end",
            "tick",
            &shorten(&tick.text, 14),
        );
    }
}

/// The horizontal axis and its name; labels that would run into each other are left out.
pub(super) fn draw_x(svg: &mut Svg, frame: &Frame, ticks: &[Tick], name: &str) {
    svg.push(format_args!(
        "<path class=\"axis\" d=\"M{} {1}H{2}\"/>",
        At(frame.left),
        At(frame.bottom),
        At(frame.right)
    ));
    let mut free_from = f64::NEG_INFINITY;
    let room = (frame.right - frame.left) / ticks.len().max(1) as f64;
    for tick in ticks {
        let text = shorten(&tick.text, ((room / 6.4) as usize).max(6));
        let half = 3.5 * text.chars().count() as f64 + 3.0;
        svg.push(format_args!(
            "<path class=\"axis\" d=\"M{} {}v4\"/>",
            At(tick.place),
            At(frame.bottom)
        ));
        if tick.place - half >= free_from {
            let place = tick.place.min(svg.width - half + 2.0);
            svg.label((place, frame.bottom + 17.0), "middle", "tick", &text);
            free_from = tick.place + half;
        }
    }
    let middle = (frame.left + frame.right) / 2.0;
    svg.label(
        (middle, frame.bottom + 34.0),
        "middle",
        "name",
        &shorten(name, 50),
    );
}

/// At most `most` letters.
pub(super) fn shorten(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text
            .chars()
            .take(most.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => text.to_string(),
    }
}

/// The word for an axis that is not even.
pub(super) fn axis_name(name: &str, scale: &Scale) -> String {
    match scale.is_log() {
        true => format!("{name} (log)"),
        false => name.to_string(),
    }
}
