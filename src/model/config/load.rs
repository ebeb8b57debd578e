//! From the text of the layers to one [`Config`].

use std::collections::BTreeMap;

use toml::Table;

use super::raw::{Launcher, Manager, RawConfig, RawExperiment, RawServer, Stop};
use super::text::{line_of, parse};
use super::{Config, Data, Experiment, Requirements, Server, Settings, suggest};
use crate::error::{Error, Result};
use crate::model::names::{
    ExperimentName, ParamName, RelPath, RemotePath, ServerName, wrong_class,
};
use crate::model::run::{Mode, Rule};
use crate::model::slurm::SlurmOptions;
use crate::model::value::Value;
use crate::terminal::clean;

/// The most runs that all experiments together make on all servers.
const MAX_RUNS: usize = 100_000;

/// What mends a mistake that says no better.
const MEND: &str = "correct it and commit; `git agile design` checks it without a server";
/// The same, in a file that is nobody else's.
const MEND_HERE: &str = "correct it; `git agile design` checks it without a server";

/// One file of the configuration.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The file as messages name it, such as `agile.toml`.
    pub file: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Whether it is the person's own file outside the repository, whose servers need no further trust.
    pub is_personal: bool,
}

/// The configuration that `layers` make together; a later one wins, key by key. `project` names the folder on a
/// server without `path`.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) with file, line and key: a syntax error, an unknown key, a value
/// that does not fit, a name that is used and not defined.
pub fn load(layers: &[Layer], project: &str) -> Result<Config> {
    merge_and_check(layers, project).map_err(|error| {
        let is_of = |layer: &&Layer| error.message.starts_with(&format!("{}:", layer.file));
        match layers.iter().find(is_of) {
            Some(layer) if layer.file != "agile.toml" => error.or_hint(MEND_HERE),
            _ => error.or_hint(MEND),
        }
    })
}

fn merge_and_check(layers: &[Layer], project: &str) -> Result<Config> {
    let mut merged = Table::new();
    let mut personal = BTreeMap::new();
    for layer in layers {
        let (raw, table) = parse(layer)?;
        for name in raw.servers.into_keys() {
            // What the repository adds to a person's server makes it the repository's.
            personal.insert(name, layer.is_personal);
        }
        merge(&mut merged, table);
    }
    let raw: RawConfig = merged.try_into().map_err(|error: toml::de::Error| {
        Error::config(format!(
            "the configuration files do not fit together: {}",
            clean(error.message())
        ))
    })?;
    let whole = Whole {
        layers,
        personal,
        project,
    };
    whole.config(raw)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// What the checks of the merged configuration need to know of where it came from.
struct Whole<'a> {
    layers: &'a [Layer],
    personal: BTreeMap<ServerName, bool>,
    project: &'a str,
}

impl Whole<'_> {
    fn config(&self, raw: RawConfig) -> Result<Config> {
        let mut servers = BTreeMap::new();
        for (name, server) in raw.servers {
            servers.insert(name.clone(), self.server(name, server)?);
        }
        let mut data = BTreeMap::new();
        for (name, set) in raw.data {
            let key = format!("data.{name}.sha256");
            if set
                .sha256
                .as_ref()
                .is_some_and(|sum| sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit()))
            {
                return Err(self.error(&key, "a SHA-256 has 64 hexadecimal digits"));
            }
            let is_safe = set.url.starts_with("https://")
                || (set.url.starts_with("http://") && set.sha256.is_some());
            if !is_safe || set.url.chars().any(|c| c.is_control() || c == ' ') {
                return Err(self.error(
                    &format!("data.{name}.url"),
                    "data comes by https, or by http with a `sha256`",
                ));
            }
            data.insert(
                name,
                Data {
                    url: set.url,
                    sha256: set.sha256,
                    path: set.path,
                    unpack: set.unpack,
                },
            );
        }
        let file = RelPath::new(raw.requirements.file)
            .map_err(|error| self.error("requirements.file", error))?;
        if raw.environment.image.is_some() && raw.environment.manager != Manager::Docker {
            let error = self.error("environment.image", "only a container has an image");
            return Err(error.hint("manager = \"docker\" in [environment]"));
        }
        let mut config = Config {
            requirements: Requirements { file },
            environment: raw.environment,
            servers,
            data,
            experiments: BTreeMap::new(),
            push: raw.push,
        };
        for (name, experiment) in raw.experiments {
            let experiment = self.experiment(&config, name, experiment)?;
            config
                .experiments
                .insert(experiment.name.clone(), experiment);
        }
        let runs = config.experiments.values().map(|experiment| {
            let settings = experiment.settings.written();
            settings.saturating_mul(experiment.servers.len())
        });
        if runs.fold(0, usize::saturating_add) > MAX_RUNS && config.experiments.len() > 1 {
            let said = format!("together they have more than {MAX_RUNS} runs");
            return Err(self.error("experiments", said));
        }
        Ok(config)
    }

    fn server(&self, name: ServerName, raw: RawServer) -> Result<Server> {
        let slurm = self.slurm(&name, &raw)?;
        let host = raw.host.ok_or_else(|| {
            self.error(&format!("servers.{name}"), "the server has no `host`")
                .hint("host = \"login@address\", an alias of ~/.ssh/config, or \"local\"")
        })?;
        let path = match raw.path {
            Some(path) => path,
            None => {
                let project: String = self
                    .project
                    .chars()
                    .map(|c| {
                        if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
                            c
                        } else {
                            '-'
                        }
                    })
                    .collect();
                RemotePath::new(format!("~/agile/{project}"))
                    .map_err(|error| self.error(&format!("servers.{name}"), error))?
            }
        };
        Ok(Server {
            host,
            path,
            source: raw.source.unwrap_or_default(),
            launcher: raw.launcher.unwrap_or_default(),
            slots: raw.slots.map(Into::into),
            gpus: raw.gpus,
            setup: raw.setup,
            env: raw.env,
            slurm,
            is_personal: self.personal.get(&name).copied().unwrap_or(false),
            name,
        })
    }

    fn slurm(&self, name: &ServerName, raw: &RawServer) -> Result<SlurmOptions> {
        let options = SlurmOptions::new(&raw.slurm).map_err(|(option, message)| {
            self.error(&format!("servers.{name}.slurm.{option}"), message)
                .hint("`man sbatch` on the server lists its options")
        })?;
        if raw.launcher.is_none() && !options.is_empty() {
            let key = format!("servers.{name}.slurm");
            let error = "these options are for the launcher \"slurm\"";
            return Err(self.error(&key, error).hint("launcher = \"slurm\""));
        }
        if raw.launcher == Some(Launcher::Slurm) && raw.gpus.is_some() {
            let key = format!("servers.{name}.gpus");
            let error = "Slurm deals out the GPUs itself";
            return Err(self.error(&key, error).hint("slurm = { gres = \"gpu:1\" }"));
        }
        Ok(options)
    }

    fn experiment(
        &self,
        config: &Config,
        name: ExperimentName,
        raw: RawExperiment,
    ) -> Result<Experiment> {
        let key = |key: &str| format!("experiments.{name}.{key}");
        let command = raw
            .command
            .filter(|command| !command.trim().is_empty())
            .ok_or_else(|| {
                self.error(
                    &format!("experiments.{name}"),
                    "the experiment has no `command`",
                )
                .hint("command = \"python train.py\"")
            })?;
        let servers = match raw.servers {
            Some(servers) => servers,
            None if config.servers.len() == 1 => config.servers.keys().cloned().collect(),
            None => {
                return Err(self
                    .error(
                        &format!("experiments.{name}"),
                        "the experiment does not say on which `servers` it runs",
                    )
                    .hint(format!("servers = [{}]", quoted(config.servers.keys()))));
            }
        };
        for server in &servers {
            if !config.servers.contains_key(server) {
                return Err(self.undefined(
                    &key("servers"),
                    "server",
                    server.as_str(),
                    config.servers.keys(),
                ));
            }
        }
        for set in &raw.data {
            if !config.data.contains_key(set) {
                return Err(self.undefined(&key("data"), "data", set.as_str(), config.data.keys()));
            }
        }
        let settings = match (raw.grid, raw.list, raw.random) {
            (grid, None, None) => {
                Settings::Grid(self.grid(&key("grid"), grid.unwrap_or_default())?)
            }
            (None, Some(list), None) => {
                let settings = list
                    .into_iter()
                    .map(|table| self.parameters(&key("list"), table));
                Settings::List(settings.collect::<Result<_>>()?)
            }
            (None, None, Some(random)) => Settings::Random(random),
            _ => {
                let error = self.error(
                    &format!("experiments.{name}"),
                    "`grid`, `list` and `random` exclude each other",
                );
                return Err(error.hint("keep one of them, or make two experiments"));
            }
        };
        for (list, patterns) in [("results", &raw.results), ("metrics", &raw.metrics)] {
            let wrong = |it: &RelPath| Some(format!("`{it}`: {}", wrong_class(it.as_str())?));
            if let Some(wrong) = patterns.iter().find_map(wrong) {
                return Err(self.error(&key(list), wrong));
            }
        }
        let rule = match &raw.stop {
            Some(stop) => self.rule(&key("stop"), stop, &raw.metrics)?,
            None => None,
        };
        Ok(Experiment {
            command,
            servers,
            data: raw.data,
            settings,
            set: self.parameters(&key("set"), raw.set)?,
            results: raw.results,
            metrics: raw.metrics,
            timeout: raw.stop.as_ref().and_then(|stop| stop.timeout),
            rule,
            on_push: raw.on_push.unwrap_or(true),
            place: self.place(&format!("experiments.{name}")),
            name,
        })
    }

    /// The rule of a metric, if `stop` has one.
    fn rule(&self, key: &str, stop: &Stop, metrics: &[RelPath]) -> Result<Option<Rule>> {
        let bounds = [("below", stop.below), ("above", stop.above)];
        if let Some((name, _)) = bounds
            .iter()
            .find(|(_, bound)| bound.is_some_and(|bound| !bound.is_finite()))
        {
            return Err(self.error(&format!("{key}.{name}"), "a bound is a plain number"));
        }
        let has_condition = stop.below.is_some() || stop.above.is_some() || stop.patience.is_some();
        let Some(metric) = stop.metric.clone() else {
            if !has_condition && stop.mode.is_none() {
                return Ok(None);
            }
            return Err(self
                .error(key, "there is no `metric` to watch")
                .hint("stop = { metric = \"loss\", below = 0.01 }"));
        };
        if metric.is_empty() || metric.chars().any(char::is_control) {
            return Err(self.error(&format!("{key}.metric"), "this is no metric's name"));
        }
        if !has_condition {
            return Err(self
                .error(key, format!("nothing says when `{metric}` ends a run"))
                .hint("add below = NUMBER, above = NUMBER or patience = COUNT"));
        }
        if stop.patience == Some(0) {
            return Err(self.error(
                &format!("{key}.patience"),
                "at least one value must be waited for",
            ));
        }
        if metrics.is_empty() {
            return Err(self
                .error(key, format!("no file is said to have `{metric}`"))
                .hint("metrics = [\"results/metrics.json\"]"));
        }
        // What a run is ended by is read while it is written, which these are not made for.
        let is_unwatched = |path: &RelPath| {
            let end = path.as_str().rsplit_once('.').map(|(_, end)| end);
            matches!(end, Some("yaml" | "yml" | "toml"))
        };
        if metrics.iter().all(is_unwatched) {
            let said = format!("`{metric}` is watched in JSON, JSON lines, CSV and TSV files only");
            return Err(self
                .error(key, said)
                .hint("have the experiment write one, and name it in `metrics`"));
        }
        let mode = match (stop.mode, stop.below, stop.above) {
            (Some(mode), _, _) => Some(mode),
            (None, Some(_), None) => Some(Mode::Min),
            (None, None, Some(_)) => Some(Mode::Max),
            (None, _, _) if stop.patience.is_none() => None,
            _ => {
                return Err(self
                    .error(
                        &format!("{key}.patience"),
                        format!("is a smaller or a larger `{metric}` better?"),
                    )
                    .hint("mode = \"min\", or mode = \"max\""));
            }
        };
        Ok(Some(Rule {
            metric,
            below: stop.below,
            above: stop.above,
            patience: stop.patience,
            mode: mode.filter(|_| stop.patience.is_some()),
        }))
    }

    fn grid(&self, key: &str, grid: Table) -> Result<Vec<(ParamName, Vec<Value>)>> {
        let mut axes = Vec::new();
        for (name, values) in grid {
            let param = ParamName::new(&*name).map_err(|error| self.error(key, error))?;
            let key = format!("{key}.{name}");
            let values = match values {
                toml::Value::Array(values) if !values.is_empty() => values,
                _ => {
                    return Err(self
                        .error(&key, "a grid parameter takes a list of values")
                        .hint(format!("{name} = [1, 2], or put a single value into `set`")));
                }
            };
            axes.push((param, values.iter().map(Value::from_toml).collect()));
        }
        Ok(axes)
    }

    fn parameters(&self, key: &str, table: Table) -> Result<BTreeMap<ParamName, Value>> {
        let named = table.into_iter().map(|(name, value)| {
            let name = ParamName::new(name).map_err(|error| self.error(key, error))?;
            Ok((name, Value::from_toml(&value)))
        });
        named.collect()
    }

    fn undefined<'a, N: std::fmt::Display + AsRef<str> + 'a>(
        &self,
        key: &str,
        noun: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a N>,
    ) -> Error {
        let error = self.error(key, format!("there is no {noun} `{name}`"));
        suggest(error, noun, name, known.into_iter().map(AsRef::as_ref))
    }

    fn error(&self, key: &str, message: impl std::fmt::Display) -> Error {
        Error::config(format!("{}: {message}", self.place(key)))
    }

    /// `key` with the file and line where the last layer that has it sets it.
    fn place(&self, key: &str) -> String {
        let place = self.layers.iter().rev().find_map(|layer| {
            let text = std::str::from_utf8(&layer.content).ok()?;
            Some(format!("{}:{}", layer.file, line_of(text, key)?))
        });
        let place = place
            .or_else(|| self.layers.last().map(|layer| layer.file.clone()))
            .unwrap_or_default();
        format!("{place}: {key}")
    }
}

fn quoted<'a, N: std::fmt::Display + 'a>(names: impl IntoIterator<Item = &'a N>) -> String {
    let names: Vec<_> = names
        .into_iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::text::MAX_BYTES;
    use super::*;

    fn read(text: &str) -> Result<Config> {
        load(
            &[Layer {
                file: "agile.toml".into(),
                content: text.into(),
                is_personal: false,
            }],
            "proj",
        )
    }

    fn complaint(text: &str) -> String {
        let error = read(text).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Config);
        format!("{} | {}", error.message, error.hints.join("; "))
    }

    const SERVER: &str = "[servers.gpu1]\nhost = \"me@gpu1\"\n";

    #[test]
    fn a_whole_configuration() {
        let config = read(&format!(
            "{SERVER}[experiments.train]\ncommand = \"python t.py --lr {{lr}}\"\ngrid = {{ lr = [0.1, 0.01], a = [1] }}\nset = {{ epochs = 10 }}"
        ))
        .unwrap();
        let server = config.servers.values().next().unwrap();
        assert_eq!(server.path.as_str(), "~/agile/proj");
        let experiment = config.experiments.values().next().unwrap();
        assert_eq!(experiment.servers, std::slice::from_ref(&server.name));
        let Settings::Grid(axes) = &experiment.settings else {
            panic!()
        };
        assert_eq!(
            axes.iter()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>(),
            ["lr", "a"]
        );
    }

    #[test]
    fn mistakes_point_at_their_line() {
        assert_eq!(
            complaint("[server.gpu1]\nhost = \"x\"\n"),
            "agile.toml:1: unknown key `server`\n1 | [server.gpu1]\n  |  ^ | did you mean `servers`?"
        );
        assert_eq!(
            complaint(&format!("{SERVER}slot = 1\n")),
            "agile.toml:3: unknown key `slot`\n3 | slot = 1\n  | ^ | did you mean `slots`?"
        );
        let said = complaint("[servers.a]\nhost = \"-oProxyCommand=id\"\n");
        assert!(
            said.starts_with("agile.toml:2: \"-oProxyCommand=id\" is not a valid host name: "),
            "{said}"
        );
        let said = complaint("x = [\n");
        assert!(said.starts_with("agile.toml:"), "{said}");
        let said = complaint(&format!(
            "{SERVER}[experiments.t]\ncommand = \"x\"\nservers = [\"gpu2\"]\n"
        ));
        assert_eq!(
            said,
            "agile.toml:5: experiments.t.servers: there is no server `gpu2` | did you mean `gpu1`?"
        );
        let said = complaint(&format!("{SERVER}[experiments.t]\n"));
        assert_eq!(
            said,
            "agile.toml:3: experiments.t: the experiment has no `command` | command = \"python train.py\""
        );
        let said = complaint(&format!(
            "{SERVER}[experiments.t]\ncommand = \"x\"\nresults = [\"../../etc\"]\n"
        ));
        assert!(
            said.contains(
                "agile.toml:5: \"../../etc\" is not a valid path: it leaves the repository"
            ),
            "{said}"
        );
        let said = complaint(&format!(
            "{SERVER}[experiments.t]\ncommand = \"x\"\nresults = [\"out/[z-a]\"]\n"
        ));
        let why = "`out/[z-a]`: it has a range that ends before it begins";
        assert!(
            said.starts_with(&format!("agile.toml:5: experiments.t.results: {why}")),
            "{said}"
        );
        let said = complaint("a = \"\u{1b}[2J\"");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }

    #[test]
    fn options_of_slurm_are_checked() {
        let server = |more: &str| read(&format!("{SERVER}{more}\n"));
        let config = server("launcher = \"slurm\"\nslurm = { gres = \"gpu:1\" }").unwrap();
        let options = &config.servers.values().next().unwrap().slurm;
        assert_eq!(options.arguments().collect::<Vec<_>>(), ["--gres=gpu:1"]);
        for (text, said) in [
            (
                "launcher = \"slurm\"\nslurm = { mem = \"1G\",\n wrap = \"id\" }",
                "agile.toml:5: servers.gpu1.slurm.wrap: the option `wrap` cannot be given: use `command` of the \
                 experiment | `man sbatch` on the server lists its options",
            ),
            (
                "slurm = { mem = \"1G\" }",
                "agile.toml:3: servers.gpu1.slurm: these options are for the launcher \"slurm\" | launcher = \"slurm\"",
            ),
            (
                "launcher = \"slurm\"\ngpus = [0]",
                "agile.toml:4: servers.gpu1.gpus: Slurm deals out the GPUs itself | slurm = { gres = \"gpu:1\" }",
            ),
        ] {
            assert_eq!(complaint(&format!("{SERVER}{text}\n")), said);
        }
        // Somebody tries another launcher for a moment.
        server("launcher = \"tmux\"\nslurm = { mem = \"1G\" }").unwrap();
    }

    #[test]
    fn a_rule_is_whole_or_refused() {
        let stop = |keys: &str| {
            format!(
                "{SERVER}[experiments.t]\ncommand = \"x\"\nmetrics = [\"m.csv\"]\nstop = {{ {keys} }}\n"
            )
        };
        let rule = |keys: &str| {
            let config = read(&stop(keys)).unwrap();
            config.experiments.into_values().next().unwrap().rule
        };
        assert_eq!(rule("timeout = \"1h\""), None);
        let found = rule("metric = \"loss\", below = 1, patience = 5").unwrap();
        assert_eq!(
            (found.mode, found.to_string().as_str()),
            (Some(Mode::Min), "loss below 1 or not better in 5 values")
        );
        assert_eq!(
            rule("metric = \"a\", above = 1, patience = 5")
                .unwrap()
                .mode,
            Some(Mode::Max)
        );
        assert_eq!(
            rule("metric = \"a\", mode = \"max\", patience = 5")
                .unwrap()
                .mode,
            Some(Mode::Max)
        );
        assert_eq!(rule("metric = \"a\", below = 1").unwrap().mode, None);
        for (keys, said) in [
            (
                "below = 1",
                "agile.toml:6: experiments.t.stop: there is no `metric` to watch",
            ),
            ("metric = \"loss\"", "nothing says when `loss` ends a run"),
            (
                "metric = \"loss\", patience = 5",
                "is a smaller or a larger `loss` better?",
            ),
            (
                "metric = \"loss\", patience = 0, mode = \"min\"",
                "at least one value",
            ),
            (
                "metric = \"loss\", below = nan",
                "a bound is a plain number",
            ),
            ("metric = \"\", below = 1", "no metric's name"),
            (
                "metric = \"loss\", below = 1, mode = \"mix\"",
                "unknown value `mix`",
            ),
        ] {
            assert!(
                complaint(&stop(keys)).contains(said),
                "{}",
                complaint(&stop(keys))
            );
        }
        let written = stop("metric = \"loss\", below = 1").replace("m.csv", "m.yaml");
        assert!(complaint(&written).contains("JSON, JSON lines, CSV and TSV"));
        let without = stop("metric = \"loss\", below = 1").replace("metrics = [\"m.csv\"]", "");
        assert!(complaint(&without).contains("no file is said to have `loss`"));
    }

    #[test]
    fn a_later_layer_wins_key_by_key() {
        let layer = |file: &str, text: &str, is_personal| Layer {
            file: file.into(),
            content: text.into(),
            is_personal,
        };
        let layers = [
            layer("config.toml", "[servers.lab]\nhost = \"lab\"\n", true),
            layer(
                "agile.toml",
                "[servers.gpu1]\nhost = \"a\"\npath = \"~/a\"\n",
                false,
            ),
            layer(
                "agile.local.toml",
                "[servers.gpu1]\npath = \"~/b\"\n",
                false,
            ),
        ];
        let config = load(&layers, "proj").unwrap();
        let gpu1 = &config.servers[&ServerName::new("gpu1").unwrap()];
        assert_eq!((gpu1.path.as_str(), gpu1.is_personal), ("~/b", false));
        assert!(config.servers[&ServerName::new("lab").unwrap()].is_personal);
    }

    #[test]
    fn bombs_are_refused() {
        assert!(read(&"[".repeat(20_000)).is_err());
        assert!(
            read(&format!(
                "a = {}1{}",
                "[".repeat(20_000),
                "]".repeat(20_000)
            ))
            .is_err()
        );
        assert!(
            read(&" ".repeat(MAX_BYTES + 1))
                .unwrap_err()
                .message
                .contains("larger than 1 MiB")
        );
    }
}
