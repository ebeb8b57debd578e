//! The parts of the page.

use indexmap::IndexMap;
use rayon::prelude::*;

use super::{Failure, Report, escape, escape_clean, tables};
use crate::review::direction::Direction;
use crate::review::group;
use crate::review::number::show;
use crate::review::picture::{Chart, Numbers};
use crate::review::row;
use crate::review::table::{self, Spread};
use crate::terminal::{clean_lines, count};

/// The most metrics whose curves, and parameters whose effects, are drawn.
const MOST_CHARTS: usize = 12;
/// The most failed runs that are shown with their log.
const MOST_FAILURES: usize = 50;

impl Report<'_> {
    pub(super) fn in_short(&self) -> String {
        let mut states: IndexMap<&str, usize> = IndexMap::new();
        for row in self.rows {
            let word = row.state.split(" (").next().unwrap_or(&row.state);
            *states.entry(word).or_insert(0) += 1;
        }
        let states: Vec<String> = states
            .iter()
            .map(|(state, number)| format!("{number} {state}"))
            .collect();
        format!("{}: {}", count(self.rows.len(), "run"), states.join(", "))
    }

    pub(super) fn winner(&self) -> String {
        let (Some((metric, _)), Some(best)) = (&self.data.counting, self.data.best) else {
            return String::new();
        };
        let telling = row::telling_parameters(self.rows);
        let row = &self.rows[best];
        let value = row.metric(metric).map(show).unwrap_or_default();
        let setting = row.setting(&telling);
        let mut out = format!(
            "<p class=\"winner\"><strong>Best {}: {}</strong> in {} <span class=\"dim\">{}</span>{}",
            escape(metric),
            escape(&value),
            self.run_link(best),
            escape(&setting),
            match row.has_succeeded() {
                true => String::new(),
                false => format!(" <span class=\"bad\">{}</span>", escape(&row.state)),
            }
        );
        if let Some(group) = self.best_group() {
            let summary = self.data.groups[group].summary(self.rows, metric);
            if let Some(summary) = summary.filter(|summary| summary.n > 1) {
                let cell = table::Cell::Spread {
                    mean: summary.mean,
                    spread: self.data.spread.of(&summary),
                    n: None,
                };
                out += &format!(
                    "<br><strong>Best setting: {}</strong> over {} <span class=\"dim\">{}</span>",
                    escape(&cell.text()),
                    count(summary.n, "run"),
                    escape(&self.data.label(group))
                );
            }
        }
        out + "</p>\n"
    }

    fn best_group(&self) -> Option<usize> {
        let (metric, direction) = self.data.counting.as_ref()?;
        let means = self
            .data
            .groups
            .iter()
            .map(|group| Some(group.summary(self.rows, metric)?.mean));
        table::best(means, *direction)
    }

    /// What tables are sorted by at first.
    fn by(&self) -> Option<(&str, Direction)> {
        let (metric, direction) = self.data.counting.as_ref()?;
        Some((metric, *direction))
    }

    pub(super) fn what_was_run(&self) -> String {
        let heads = [
            "commit",
            "subject",
            "asked",
            "experiment",
            "runs",
            "servers",
            "environment",
        ];
        let rows = self.ran.iter().map(|ran| {
            let texts = [
                &ran.subject,
                &ran.date,
                &ran.experiment,
                &ran.runs,
                &ran.servers,
                &ran.environment,
            ];
            let cells: String = texts
                .iter()
                .enumerate()
                .map(|(index, text)| {
                    let class = if matches!(index, 0 | 2) {
                        " class=\"wrap\""
                    } else {
                        ""
                    };
                    format!("<td{class}>{}</td>", escape(text))
                })
                .collect();
            format!(
                "<tr><th scope=\"row\"><code title=\"{}\">{}</code></th>{cells}</tr>",
                escape(&ran.commit),
                escape(table::short(&ran.commit))
            )
        });
        let rows: String = rows.collect();
        let heads: String = heads
            .iter()
            .map(|head| format!("<th scope=\"col\">{head}</th>"))
            .collect();
        section(
            "ran",
            "What was run",
            &format!(
                "{}{}",
                scrolled(
                    "What was run",
                    &format!("<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")
                ),
                self.common()
            ),
        )
    }

    fn common(&self) -> String {
        let sheet = table::runs(self.rows, &table::usual_columns(self.rows));
        match sheet.common_line() {
            Some(line) => format!(
                "<p class=\"common\">All runs: <code>{}</code></p>",
                escape(&line)
            ),
            None => String::new(),
        }
    }

    pub(super) fn groups(&self) -> String {
        if self.data.groups.iter().all(|group| group.rows.len() < 2) || self.data.keys.is_empty() {
            return String::new();
        }
        let metrics = row::measured(self.rows);
        let sheet = table::groups(
            self.rows,
            &self.data.groups,
            &self.data.keys,
            &metrics,
            self.data.spread,
        );
        let best = self.best_group();
        let mut caption = format!("{}; n: runs of the group", self.data.spread.as_str());
        for (caution, _) in group::cautions(self.rows, &self.data.groups, &self.data.keys) {
            caption += &format!(". Note that {caution}");
        }
        let head = |group: usize, text: &str| format!("{}{}", self.swatch(group), escape(text));
        section(
            "groups",
            "Settings",
            &scrolled(
                "Settings",
                &tables::sortable("settings", &caption, &sheet, best, self.by(), head),
            ),
        )
    }

    pub(super) fn runs(&self) -> String {
        let columns = table::usual_columns(self.rows);
        let sheet = table::runs(self.rows, &columns);
        let mut of_run = vec![0; self.rows.len()];
        for (group, members) in self.data.groups.iter().enumerate() {
            let all = members.rows.iter().chain(&members.repeats);
            all.for_each(|&row| of_run[row] = group);
        }
        let head =
            |row: usize, _: &str| format!("{}{}", self.swatch(of_run[row]), self.run_link(row));
        let caption = "A metric is its last value. A head sorts.";
        let table = tables::sortable("runs", caption, &sheet, self.data.best, self.by(), head);
        let filter = format!(
            "<div class=\"filter\" hidden><label for=\"filter\">Filter</label>\
             <input id=\"filter\" type=\"search\" placeholder=\"words that a row must have\" autocomplete=\"off\">\
             <span id=\"count\" role=\"status\" class=\"dim\">{}</span></div>",
            count(self.rows.len(), "run")
        );
        section(
            "all",
            "Runs",
            &format!("{filter}{}", scrolled("Runs", &table)),
        )
    }

    /// The run's id as a link to its results, and one to its log.
    fn run_link(&self, row: usize) -> String {
        let run = escape(&self.rows[row].run);
        let links = self.links.get(row).cloned().unwrap_or_default();
        let name = match &links.results {
            Some(address) => format!("<a href=\"{}\">{run}</a>", escape(address)),
            None => run.clone(),
        };
        match &links.log {
            Some(address) => {
                format!(
                    "{name} <a class=\"log\" href=\"{}\" aria-label=\"log of {run}\">log</a>",
                    escape(address)
                )
            }
            None => name,
        }
    }

    fn swatch(&self, group: usize) -> String {
        let class = self.data.colours.class(group);
        match class.split_once(' ') {
            Some((colour, _)) => format!("<span class=\"swatch {colour}\"></span>"),
            None => String::new(),
        }
    }

    pub(super) fn curves(&self) -> String {
        let metrics = row::metrics(self.rows);
        // The metric that counts comes first.
        let mut order: Vec<&String> = metrics.iter().collect();
        order.sort_by_key(|name| Some(*name) != self.metric.as_ref());
        let charts: Vec<Option<Chart>> = order
            .par_iter()
            .map(|name| self.data.learning(name))
            .collect();
        let charts: Vec<Chart> = charts.into_iter().flatten().collect();
        if charts.is_empty() {
            return String::new();
        }
        let more = match charts.len().saturating_sub(MOST_CHARTS) {
            0 => String::new(),
            more => format!(
                "<p class=\"dim\">Not drawn: {}.</p>",
                count(more, "further metric")
            ),
        };
        let figures = figures("curve", &charts[..charts.len().min(MOST_CHARTS)]);
        let note = match self.data.spread {
            Spread::Deviation => {
                "Thick: mean of a setting, with its standard deviation. Thin: single runs."
            }
            Spread::Confidence => {
                "Thick: mean of a setting, with its 95 % confidence interval. Thin: single runs."
            }
        };
        section(
            "learning",
            "Learning curves",
            &format!(
                "<p class=\"dim\">{note}</p>{}<div id=\"curves\" class=\"charts\">{figures}</div>{more}",
                self.legend()
            ),
        )
    }

    fn legend(&self) -> String {
        let has_curve = |group: &usize| {
            let mut members = self.data.groups[*group].rows.iter();
            members.any(|&row| !self.rows[row].curves.is_empty())
        };
        let groups = (0..self.data.groups.len()).filter(has_curve);
        let items = groups.filter_map(|group| {
            let class = self.data.colours.class(group);
            let (colour, name) = class.split_once(' ')?;
            Some(format!(
                "<li><button type=\"button\" aria-pressed=\"false\" data-g=\"{name}\">\
                 <span class=\"swatch {colour}\"></span>{}</button></li>",
                escape(&self.data.label(group))
            ))
        });
        let items: String = items.collect();
        format!("<ul class=\"legend\" aria-label=\"Settings; press to bring forward\">{items}</ul>")
    }

    pub(super) fn effects(&self) -> String {
        let Some(metric) = &self.metric else {
            return String::new();
        };
        let columns = self.data.varying();
        let charts = columns
            .iter()
            .filter_map(|column| self.data.against(metric, column));
        let charts: Vec<Chart> = charts.take(MOST_CHARTS).collect();
        if charts.is_empty() {
            return String::new();
        }
        let title = format!("{metric} by parameter");
        section(
            "effects",
            &title,
            &format!("<div class=\"charts\">{}</div>", figures("effect", &charts)),
        )
    }

    pub(super) fn parallel(&self) -> String {
        let chart = self
            .metric
            .as_ref()
            .and_then(|metric| self.data.parallel(metric));
        let Some(chart) = chart else {
            return String::new();
        };
        section(
            "parallel",
            "All parameters together",
            &format!(
                "<figure><figcaption><h3>{}</h3><p class=\"dim\">{}</p></figcaption><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">{}</div>{}</figure>",
                escape(&chart.title),
                escape(&chart.description),
                chart.svg("parallel-1"),
                numbers(&chart.numbers)
            ),
        )
    }

    pub(super) fn failed(&self) -> String {
        if self.failures.is_empty() {
            return String::new();
        }
        let telling = row::telling_parameters(self.rows);
        let one = |failure: &Failure| {
            let row = &self.rows[failure.row];
            let setting = row.setting(&telling);
            let log = match failure.log.trim() {
                "" => String::new(),
                log => format!("<pre>{}</pre>", escape_clean(&clean_lines(log))),
            };
            format!(
                "<article><h3>{} <span class=\"bad\">{}</span></h3><p class=\"dim\">{}</p><p>{}</p>{log}</article>",
                self.run_link(failure.row),
                escape(&row.state),
                escape(&setting),
                escape(&failure.reason)
            )
        };
        let shown: String = self.failures.iter().take(MOST_FAILURES).map(one).collect();
        let more = match self.failures.len().saturating_sub(MOST_FAILURES) {
            0 => String::new(),
            more => format!("<p>And {}.</p>", count(more, "further run")),
        };
        section(
            "failed",
            "Runs that did not succeed",
            &format!("{shown}{more}"),
        )
    }
}

fn section(id: &str, title: &str, body: &str) -> String {
    format!(
        "<section aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{}</h2>\n{body}\n</section>\n",
        escape(title)
    )
}

/// A table that is wider or longer than the page scrolls by itself, by keyboard too.
fn scrolled(label: &str, table: &str) -> String {
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">{table}</div>",
        escape(label)
    )
}

fn figures(id: &str, charts: &[Chart]) -> String {
    let one = |(index, chart): (usize, &Chart)| {
        format!(
            "<figure><figcaption><h3>{}</h3></figcaption>{}{}</figure>\n",
            escape(&chart.title),
            chart.svg(&format!("{id}-{index}")),
            numbers(&chart.numbers)
        )
    };
    charts.iter().enumerate().map(one).collect()
}

/// A picture's numbers as a table.
fn numbers(numbers: &Numbers) -> String {
    let heads: String = numbers
        .heads
        .iter()
        .map(|head| format!("<th scope=\"col\">{}</th>", escape(head)))
        .collect();
    let row = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(index, cell)| match index {
            0 => format!("<th scope=\"row\">{}</th>", escape(cell)),
            _ => format!("<td>{}</td>", escape(cell)),
        });
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let rows: String = numbers.rows.iter().map(row).collect();
    format!(
        "<details><summary>Numbers</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">\
         <table><caption>{0}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>",
        escape(&numbers.caption)
    )
}
