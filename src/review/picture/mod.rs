//! Pictures of runs: learning curves, a metric against a parameter, parallel coordinates.
//!
//! A picture is SVG whose classes a style sheet gives colours to, so that it suits a dark page and a light one; with
//! `STYLE` in it, it stands alone.

mod curves;
mod learning;
mod parallel;
mod scale;
mod scatter;
mod svg;

use std::collections::HashSet;

use super::direction::Direction;
use super::group::{self, Group};
use super::html::escape;
use super::row::{self, Column, Row};
use super::table::{self, Spread};
use svg::{Svg, shorten};

/// The colours that groups get; further groups are grey.
const COLOURS: usize = 8;
/// The width and height of a picture beside others, of a wide one, and of one that stands alone.
const SMALL: (f64, f64) = (380.0, 250.0);
const WIDE: (f64, f64) = (760.0, 300.0);
const ALONE: (f64, f64) = (640.0, 400.0);

/// What a picture that stands alone looks like: on white, in colours that differ for everybody (after M. Okabe and
/// K. Ito, Color Universal Design).
const STYLE: &str = include_str!("alone.css");

/// A drawn picture.
pub struct Chart {
    /// What it shows, in a few words.
    pub title: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// Its numbers, for those who cannot see it.
    pub numbers: Numbers,
    /// Whether its colours are those of the groups.
    pub has_groups: bool,
    svg: Svg,
}

/// A small table.
pub struct Numbers {
    /// What it is a table of.
    pub caption: String,
    /// The heads of its columns.
    pub heads: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// What pictures are drawn from.
pub struct Data<'a> {
    /// The runs.
    pub rows: &'a [Row],
    /// The columns whose contents make a group.
    pub keys: Vec<Column>,
    /// The groups.
    pub groups: Vec<Group>,
    /// What bands and whiskers show.
    pub spread: Spread,
    /// The best run.
    pub best: Option<usize>,
    /// The metric that counts, and which end of it is the good one.
    pub counting: Option<(String, Direction)>,
    /// Parameters whose design is logarithmic.
    pub log: &'a HashSet<String>,
    /// The groups' colours.
    pub colours: Colours,
}

/// Which group has which colour.
pub struct Colours(Vec<Option<usize>>);

impl Colours {
    /// Colours for the groups that are best by `metric`, in the groups' order; without a metric, for the first.
    fn of(rows: &[Row], groups: &[Group], metric: Option<(&str, Direction)>) -> Self {
        let mut order: Vec<usize> = (0..groups.len()).collect();
        if let Some((metric, direction)) = metric.filter(|_| groups.len() > COLOURS) {
            let mean = |group: &usize| {
                groups[*group]
                    .summary(rows, metric)
                    .map(|summary| summary.mean)
            };
            order.sort_by(|a, b| direction.order(mean(a), mean(b)));
        }
        order.truncate(COLOURS);
        order.sort_unstable();
        let place = |group: usize| order.iter().position(|chosen| *chosen == group);
        Colours((0..groups.len()).map(place).collect())
    }

    fn is_grey(&self, group: usize) -> bool {
        self.0.get(group).copied().flatten().is_none()
    }

    /// The classes of a group's lines.
    pub fn class(&self, group: usize) -> String {
        match self.0.get(group).copied().flatten() {
            Some(colour) => format!("c{colour} g{group}"),
            None => "grey".into(),
        }
    }
}

impl<'a> Data<'a> {
    /// Groups the runs by `keys`, or by their settings when there are none.
    pub fn new(
        rows: &'a [Row],
        keys: Vec<Column>,
        spread: Spread,
        best: Option<(&str, Direction)>,
        log: &'a HashSet<String>,
    ) -> Self {
        let keys = if keys.is_empty() {
            group::settings(rows)
        } else {
            keys
        };
        let groups = group::group(rows, &keys);
        let colours = Colours::of(rows, &groups, best);
        let values = |metric: &str| {
            rows.iter()
                .map(|row| row.metric(metric))
                .collect::<Vec<_>>()
        };
        Data {
            best: best.and_then(|(metric, direction)| table::best(values(metric), direction)),
            counting: best.map(|(metric, direction)| (metric.to_string(), direction)),
            rows,
            keys,
            groups,
            spread,
            log,
            colours,
        }
    }

    /// What a group is called.
    pub fn label(&self, group: usize) -> String {
        match self.groups[group].label(&self.keys) {
            label if label.is_empty() => "all runs".into(),
            label => shorten(&label, 80),
        }
    }

    /// Which end of `metric` is the good one, as far as it is known.
    fn direction(&self, metric: &str) -> Option<Direction> {
        let counting = self.counting.as_ref().filter(|(name, _)| name == metric);
        counting.map_or_else(|| Direction::of(metric), |(_, direction)| Some(*direction))
    }

    fn is_log(&self, column: &Column) -> bool {
        matches!(column, Column::Parameter(name) if self.log.contains(name))
    }

    /// The learning curves of a metric; nothing when no run has more than one point of it.
    pub fn learning(&self, metric: &str) -> Option<Chart> {
        learning::draw(self, metric, SMALL)
    }

    /// A metric against a column; nothing when there are fewer than two values with numbers.
    pub fn against(&self, metric: &str, column: &Column) -> Option<Chart> {
        scatter::draw(self, metric, column, SMALL)
    }

    /// All parameters that vary, and a metric; nothing for fewer than two of them.
    pub fn parallel(&self, metric: &str) -> Option<Chart> {
        parallel::draw(self, metric, &self.varying(), WIDE)
    }

    /// The parameters that vary and do not only repeat the experiment.
    pub fn varying(&self) -> Vec<Column> {
        let all = row::parameters(self.rows)
            .into_iter()
            .map(Column::Parameter);
        all.filter(|column| row::varies(self.rows, column) && !group::is_repetition(column))
            .collect()
    }

    /// One picture that stands alone, as an SVG document: of `metric` against `column`, or its curves, or what there is
    /// instead. Nothing when there is nothing to draw.
    pub fn alone(&self, metric: &str, column: Option<&Column>) -> Option<String> {
        let chart = match column {
            Some(column) => scatter::draw(self, metric, column, ALONE),
            None => learning::draw(self, metric, ALONE).or_else(|| {
                let columns = self.varying();
                columns
                    .iter()
                    .find_map(|column| scatter::draw(self, metric, column, ALONE))
            }),
        }?;
        Some(self.document(chart, metric))
    }

    fn document(&self, chart: Chart, metric: &str) -> String {
        let is_drawn = |group: &usize| {
            !self.colours.is_grey(*group)
                && self.groups[*group].summary(self.rows, metric).is_some()
        };
        let drawn: Vec<usize> = (0..self.groups.len()).filter(is_drawn).collect();
        let shown = if chart.has_groups && drawn.len() > 1 {
            drawn
        } else {
            Vec::new()
        };
        let (mut svg, head) = (chart.svg, 26.0);
        let (width, height) = (
            svg.width,
            svg.height + head + 18.0 * shown.len() as f64 + 8.0,
        );
        let below = svg.height + 8.0;
        for (place, group) in shown.into_iter().enumerate() {
            let y = below + 18.0 * place as f64;
            svg.push(format_args!(
                "<path class=\"mean {}\" d=\"M16 {y}h22\"/>",
                self.colours.class(group)
            ));
            svg.label((46.0, y + 4.0), "start", "tick", &self.label(group));
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\"><title>{}</title><desc>{}</desc><style>{STYLE}</style>\
             <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\
             <text class=\"title\" x=\"16\" y=\"20\">{}</text><g transform=\"translate(0 {head})\">{}</g></svg>\n",
            escape(&chart.title),
            escape(&chart.description),
            escape(&shorten(&chart.title, 80)),
            svg.text
        )
    }
}

impl Chart {
    /// The picture for a page whose style sheet knows the classes; `id` is unique on it.
    pub fn svg(&self, id: &str) -> String {
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>{}</svg>",
            self.svg.width,
            self.svg.height,
            escape(&self.title),
            escape(&self.description),
            self.svg.text
        )
    }
}
