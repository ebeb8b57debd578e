//! From an experiment to its settings.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};

use super::command::{BadCommand, fill};
use crate::error::{Error, Result};
use crate::model::config::{Distribution, Experiment, Random, Settings};
use crate::model::names::ParamName;
use crate::model::value::Value;

/// The most runs that one experiment makes without being asked twice.
const MAX_RUNS: usize = 10_000;

/// The most values that they have together.
const MAX_VALUES: usize = 1_000_000;

/// One point of the design.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// All parameters, those of `set` among them.
    pub parameters: BTreeMap<ParamName, Value>,
    /// The command with the parameters in it.
    pub command: String,
}

/// The different settings of `experiment` in the order of its design. A parameter in `overrides` (`--set k=v`) has that
/// value alone, wherever the design takes it from.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) for a design with more than 10,000 runs or 1,000,000 values, a parameter that is
/// defined twice, two that differ by case alone, or a command that uses an unknown one;
/// [`Kind::Usage`](crate::error::Kind::Usage) for an override that the design does not have.
pub fn expand(
    experiment: &Experiment,
    overrides: &BTreeMap<ParamName, Value>,
) -> Result<Vec<Setting>> {
    check_size(experiment, overrides)?;
    let mut points = match &experiment.settings {
        Settings::Grid(axes) => product(axes, overrides),
        Settings::List(list) => list.clone(),
        Settings::Random(random) => draw(experiment, random)?,
    };
    for point in &mut points {
        if let Some(name) = experiment.set.keys().find(|name| point.contains_key(*name)) {
            let error = wrong(
                experiment,
                format!("`{name}` is in `set` and in the design"),
            );
            return Err(error.hint("remove one of the two"));
        }
        point.extend(experiment.set.clone());
        for (name, value) in overrides {
            if !point.contains_key(name) {
                let known: Vec<_> = point.keys().map(ParamName::as_str).collect();
                return Err(Error::usage(format!(
                    "experiment `{}` has no parameter `{name}`",
                    experiment.name
                ))
                .hint(format!("its parameters are {}", known.join(", "))));
            }
            point.insert(name.clone(), value.clone());
        }
        check_case(experiment, point)?;
    }
    // A value that is written twice, drawn twice or overridden makes points equal; a run exists once.
    let mut seen = HashSet::new();
    points.retain(|point| seen.insert(format!("{point:?}")));
    points
        .into_iter()
        .map(|parameters| setting(experiment, parameters))
        .collect()
}

fn setting(experiment: &Experiment, parameters: BTreeMap<ParamName, Value>) -> Result<Setting> {
    let command = fill(&experiment.command, &parameters).map_err(|error| {
        let error_here = wrong(experiment, error.to_string());
        match error {
            BadCommand::Unknown(name) => error_here.hint(format!(
                "add `{name}` to `grid` or `set`, or write {{{{{name}}}}}"
            )),
            BadCommand::HasNul(_) => error_here,
        }
    })?;
    Ok(Setting {
        parameters,
        command,
    })
}

fn wrong(experiment: &Experiment, message: String) -> Error {
    Error::config(format!("{}: {message}", experiment.place))
}

/// Whether the design stays within its bounds, before any of it is made.
fn check_size(experiment: &Experiment, overrides: &BTreeMap<ParamName, Value>) -> Result<()> {
    let runs = match &experiment.settings {
        Settings::Grid(axes) => axes
            .iter()
            .filter(|(name, _)| !overrides.contains_key(name))
            .fold(1, |runs: usize, (_, values)| {
                runs.saturating_mul(values.len())
            }),
        settings => settings.written(),
    };
    if runs > MAX_RUNS {
        let said = format!("the design has more than {MAX_RUNS} runs");
        return Err(wrong(experiment, said).hint("take fewer values, or `random`"));
    }
    if runs.saturating_mul(experiment.settings.parameters() + experiment.set.len()) > MAX_VALUES {
        let said = format!("the design has more than {MAX_VALUES} values");
        return Err(wrong(experiment, said).hint("take fewer runs or parameters"));
    }
    Ok(())
}

/// The variables `AGILE_PARAM_NAME` are in capitals, so two names must differ by more than their case.
fn check_case(experiment: &Experiment, point: &BTreeMap<ParamName, Value>) -> Result<()> {
    let mut seen = BTreeMap::new();
    for name in point.keys() {
        if let Some(twin) = seen.insert(name.as_str().to_ascii_uppercase(), name) {
            return Err(wrong(
                experiment,
                format!("the parameters `{twin}` and `{name}` differ by case alone"),
            )
            .hint("rename one of the two"));
        }
    }
    Ok(())
}

fn product(
    axes: &[(ParamName, Vec<Value>)],
    overrides: &BTreeMap<ParamName, Value>,
) -> Vec<BTreeMap<ParamName, Value>> {
    let axes: Vec<(&ParamName, &[Value])> = axes
        .iter()
        .map(|(name, values)| {
            (
                name,
                overrides
                    .get(name)
                    .map_or(values.as_slice(), std::slice::from_ref),
            )
        })
        .collect();
    let mut points = vec![BTreeMap::new()];
    for (name, values) in axes {
        points = points
            .iter()
            .flat_map(|point| {
                values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.insert(name.clone(), value.clone());
                    point
                })
            })
            .collect();
    }
    points
}

fn draw(experiment: &Experiment, random: &Random) -> Result<Vec<BTreeMap<ParamName, Value>>> {
    let point = |index: usize| {
        let values = random.parameters.iter().map(|(name, distribution)| {
            let unit = unit_interval(experiment, random.draw, name, index);
            let value = sample(distribution, unit).ok_or_else(|| {
                wrong(
                    experiment,
                    format!("the bounds or choices of `{name}` are empty"),
                )
            })?;
            Ok((name.clone(), value))
        });
        values.collect()
    };
    (0..random.n).map(point).collect()
}

/// A number in [0, 1) that depends on nothing but its arguments, so that a design is the same on every machine.
fn unit_interval(experiment: &Experiment, draw: u64, name: &ParamName, index: usize) -> f64 {
    let digest = Sha256::digest(format!("{}\0{draw}\0{name}\0{index}", experiment.name));
    let bits = digest[..8]
        .iter()
        .fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
    // 53 bits are what a double holds exactly.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn sample(distribution: &Distribution, unit: f64) -> Option<Value> {
    let value = match distribution {
        Distribution::Uniform([low, high]) if low <= high => {
            toml::Value::Float(low + unit * (high - low))
        }
        Distribution::LogUniform([low, high]) if 0.0 < *low && low <= high => {
            toml::Value::Float((low.ln() + unit * (high.ln() - low.ln())).exp())
        }
        Distribution::Int([low, high]) if low <= high => {
            let span = (high - low) as f64 + 1.0;
            toml::Value::Integer(low.saturating_add((unit * span) as i64).min(*high))
        }
        Distribution::Choice(values) if !values.is_empty() => {
            values[((unit * values.len() as f64) as usize).min(values.len() - 1)].clone()
        }
        _ => return None,
    };
    Some(Value::from_toml(&value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::{Layer, load};
    use proptest::prelude::*;

    fn experiment(text: &str) -> Experiment {
        let text = format!("[servers.a]\nhost = \"a\"\n[experiments.t]\n{text}");
        let layer = Layer {
            file: "agile.toml".into(),
            content: text.into(),
            is_personal: false,
        };
        load(&[layer], "p")
            .unwrap()
            .experiments
            .into_values()
            .next()
            .unwrap()
    }

    fn commands(text: &str) -> Vec<String> {
        let settings = expand(&experiment(text), &BTreeMap::new()).unwrap();
        settings
            .into_iter()
            .map(|setting| setting.command)
            .collect()
    }

    #[test]
    fn a_grid_is_a_product_in_written_order() {
        let text =
            "command = 'x {b} {a} {e}'\ngrid = { b = [1, 2], a = ['p', 'q'] }\nset = { e = 10 }";
        assert_eq!(
            commands(text),
            ["x 1 p 10", "x 1 q 10", "x 2 p 10", "x 2 q 10"]
        );
        assert_eq!(commands("command = 'x'"), ["x"]);
        // A run exists once, however often it is written.
        assert_eq!(
            commands("command = 'x {a}'\ngrid = { a = [1, 2, 1] }"),
            ["x 1", "x 2"]
        );
        assert_eq!(
            commands("command = 'x {a}'\nlist = [{a = 1}, {a = 'b c'}]"),
            ["x 1", "x 'b c'"]
        );
    }

    #[test]
    fn overrides_reduce_the_design() {
        let experiment = experiment("command = 'x {a} {b}'\ngrid = { a = [1, 2], b = [3, 4] }");
        let set = |name: &str, value: &str| {
            BTreeMap::from([(ParamName::new(name).unwrap(), Value::from_typed(value))])
        };
        let settings = expand(&experiment, &set("a", "9")).unwrap();
        assert_eq!(
            settings
                .iter()
                .map(|s| s.command.as_str())
                .collect::<Vec<_>>(),
            ["x 9 3", "x 9 4"]
        );
        assert_eq!(
            expand(&experiment, &set("c", "9")).unwrap_err().kind,
            crate::error::Kind::Usage
        );
    }

    #[test]
    fn contradictions_and_bombs_are_refused() {
        let said = |text: &str| {
            expand(&experiment(text), &BTreeMap::new())
                .unwrap_err()
                .message
        };
        assert!(
            said("command = 'x'\ngrid = { a = [1] }\nset = { a = 2 }").contains("`a` is in `set`")
        );
        assert!(said("command = 'x'\ngrid = { a = [1], A = [2] }").contains("differ by case"));
        assert_eq!(
            said("command = 'x {y}'"),
            "agile.toml:3: experiments.t: the command uses {y}, which is no parameter of the experiment"
        );
        let axes: String = (0..20)
            .map(|i| format!("a{i} = [0,1,2,3,4,5,6,7,8,9], "))
            .collect();
        assert!(said(&format!("command = 'x'\ngrid = {{ {axes} }}")).contains("more than 10000"));
        let axes: String = (0..2000)
            .map(|i| format!("a{i} = {{ int = [0, 0] }}, "))
            .collect();
        let random = format!("command = 'x'\nrandom = {{ n = 1000, {axes} }}");
        assert!(said(&random).contains("more than 1000000 values"));
    }

    #[test]
    fn random_settings_never_change() {
        let text = "command = 'x'\nrandom = { n = 3, lr = { log_uniform = [1e-5, 1e-1] }, k = { int = [1, 3] } }";
        let first = expand(&experiment(text), &BTreeMap::new()).unwrap();
        assert_eq!(first, expand(&experiment(text), &BTreeMap::new()).unwrap());
        assert_eq!(first.len(), 3);
        for setting in first {
            let lr: f64 = setting.parameters[&ParamName::new("lr").unwrap()]
                .to_string()
                .parse()
                .unwrap();
            assert!((1e-5..=1e-1).contains(&lr));
        }
    }

    proptest! {
        #[test]
        fn a_grid_has_as_many_runs_as_its_product(sizes in proptest::collection::vec(1usize..5, 0..5)) {
            let axes: Vec<String> = sizes.iter().enumerate()
                .map(|(i, n)| format!("p{i} = {:?}", (0..*n).collect::<Vec<_>>())).collect();
            let text = format!("command = 'x'\ngrid = {{ {} }}", axes.join(", "));
            let settings = expand(&experiment(&text), &BTreeMap::new()).unwrap();
            prop_assert_eq!(settings.len(), sizes.iter().product::<usize>());
        }
    }
}
