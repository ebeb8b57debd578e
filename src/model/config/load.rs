//! From the text of the layers to one [`Config`].

use std::collections::BTreeMap;

use toml::Table;

use super::raw::{RawConfig, RawExperiment, RawServer};
use super::{Config, Data, Experiment, Requirements, Server, Settings, suggest};
use crate::error::{Error, Result};
use crate::model::names::{ExperimentName, ParamName, RelPath, RemotePath, ServerName};
use crate::model::value::Value;
use crate::terminal::clean;

/// What mends a mistake that says no better.
const MEND: &str = "correct it and commit; `git agile design` checks it without a server";

/// The largest configuration file, in bytes.
const MAX_BYTES: usize = 1 << 20;

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
    merge_and_check(layers, project).map_err(|error| error.or_hint(MEND))
}

fn merge_and_check(layers: &[Layer], project: &str) -> Result<Config> {
    let mut merged = Table::new();
    let mut personal = BTreeMap::new();
    for layer in layers {
        let (raw, table) = parse(layer)?;
        for (name, server) in raw.servers {
            if server.host.is_some() {
                personal.insert(name, layer.is_personal);
            }
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

fn parse(layer: &Layer) -> Result<(RawConfig, Table)> {
    let file = &layer.file;
    if layer.content.len() > MAX_BYTES {
        return Err(Error::config(format!("{file} is larger than 1 MiB"))
            .hint("split the experiments, or use `random`"));
    }
    let text = std::str::from_utf8(&layer.content).map_err(|error| {
        let line = 1 + layer.content[..error.valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        Error::config(format!("{file}:{line}: not UTF-8 text"))
            .hint(format!("save {file} as UTF-8, and commit"))
    })?;
    let raw = toml::from_str(text).map_err(|error| syntax_error(file, text, &error))?;
    let table = toml::from_str(text).map_err(|error| syntax_error(file, text, &error))?;
    Ok((raw, table))
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

/// `error` as `FILE:LINE: what`, the line with a caret below, and the nearest known key.
fn syntax_error(file: &str, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().trim();
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = &text.as_bytes()[..start];
    let number = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let line_start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let line: String = text[line_start..]
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(160)
        .collect();
    let column = String::from_utf8_lossy(&before[line_start..])
        .chars()
        .count()
        .min(160);

    let (what, hint) = explain(message);
    let gutter = " ".repeat(number.to_string().len());
    let excerpt = format!(
        "{number} | {}\n{gutter} | {}^",
        clean(&line.replace('\t', " ")),
        " ".repeat(column)
    );
    let error = Error::config(format!("{file}:{number}: {}\n{excerpt}", first_line(&what)));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn first_line(text: &str) -> String {
    clean(
        &text
            .lines()
            .next()
            .unwrap_or("")
            .chars()
            .take(500)
            .collect::<String>(),
    )
}

/// serde's "unknown field `sever`, expected one of `a`, `b`" as a plain sentence and a suggestion.
fn explain(message: &str) -> (String, Option<String>) {
    let unknown = [("field", "key"), ("variant", "value")];
    let found = unknown.iter().find_map(|(serdes, ours)| {
        let rest = message.strip_prefix(&format!("unknown {serdes} `"))?;
        Some((rest, *ours))
    });
    let Some((rest, noun)) = found else {
        return (message.to_string(), None);
    };
    let mut quoted = rest.split('`');
    let word = quoted.next().unwrap_or("");
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let hint = match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the {noun}s here are {}", known.join(", ")),
    };
    (format!("unknown {noun} `{word}`"), Some(hint))
}

/// The candidate that `word` most likely means, if one is near enough.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + word.len() / 4).then_some(candidate)
}

/// What the checks of the merged configuration need to know of where it came from.
struct Whole<'a> {
    layers: &'a [Layer],
    personal: BTreeMap<ServerName, bool>,
    project: &'a str,
}

impl Whole<'_> {
    fn config(&self, raw: RawConfig) -> Result<Config> {
        let unsupported = unsupported(&raw);
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
            data.insert(
                name,
                Data {
                    url: set.url,
                    sha256: set.sha256,
                    path: set.path,
                },
            );
        }
        let file = RelPath::new(raw.requirements.file)
            .map_err(|error| self.error("requirements.file", error))?;
        let mut config = Config {
            requirements: Requirements { file },
            environment: raw.environment,
            servers,
            data,
            experiments: BTreeMap::new(),
            push: raw.push,
            unsupported,
        };
        for (name, experiment) in raw.experiments {
            let experiment = self.experiment(&config, name, experiment)?;
            config
                .experiments
                .insert(experiment.name.clone(), experiment);
        }
        Ok(config)
    }

    fn server(&self, name: ServerName, raw: RawServer) -> Result<Server> {
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
            setup: raw.setup,
            env: raw.env,
            is_personal: self.personal.get(&name).copied().unwrap_or(false),
            name,
        })
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
        Ok(Experiment {
            command,
            servers,
            data: raw.data,
            settings,
            set: self.parameters(&key("set"), raw.set)?,
            results: raw.results,
            metrics: raw.metrics,
            on_push: raw.on_push.unwrap_or(true),
            name,
        })
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

    /// An error about `key`, with the file and line where the last layer that has it sets it.
    fn error(&self, key: &str, message: impl std::fmt::Display) -> Error {
        let place = self.layers.iter().rev().find_map(|layer| {
            let text = std::str::from_utf8(&layer.content).ok()?;
            Some(format!("{}:{}", layer.file, line_of(text, key)?))
        });
        let place = place
            .or_else(|| self.layers.last().map(|layer| layer.file.clone()))
            .unwrap_or_default();
        Error::config(format!("{place}: {key}: {message}"))
    }
}

/// The keys that nothing honours yet: better refused than passed over.
fn unsupported(raw: &RawConfig) -> Vec<String> {
    let servers = raw.servers.iter().flat_map(|(name, server)| {
        let keys = [
            ("slots", server.slots.is_some()),
            ("gpus", server.gpus.is_some()),
        ];
        keys.map(|(key, is_set)| is_set.then(|| format!("servers.{name}.{key}")))
    });
    let experiments = raw.experiments.iter().map(|(name, experiment)| {
        let is_set = experiment.stop.is_some();
        is_set.then(|| format!("experiments.{name}.stop"))
    });
    servers.chain(experiments).flatten().collect()
}

fn quoted<'a, N: std::fmt::Display + 'a>(names: impl IntoIterator<Item = &'a N>) -> String {
    let names: Vec<_> = names
        .into_iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    names.join(", ")
}

/// The line, counted from 1, on which `text` sets the dotted `key` or its innermost parent that it has.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = text.parse::<toml_edit::Document<String>>().ok()?;
    let mut item = document.as_item();
    let mut span = None;
    for part in key.split('.') {
        let Some(table) = item.as_table_like() else {
            break;
        };
        let Some((key, next)) = table.get_key_value(part) else {
            break;
        };
        span = key.span().or(next.span()).or(span);
        item = next;
    }
    let start = span?.start;
    Some(
        1 + text.as_bytes()[..start]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count(),
    )
}

#[cfg(test)]
mod tests {
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
        let said = complaint("a = \"\u{1b}[2J\"");
        assert!(!said.contains('\u{1b}'), "{said:?}");
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
