//! The options of sbatch that a person writes in `slurm = { … }`.

use std::collections::BTreeMap;

use crate::terminal::clean;

/// Options that decide how git-agile finds a job and its tasks again, or that would keep sbatch from submitting one.
const OWN: [(&str, &str); 24] = [
    ("array", "the runs decide it, and `slots` how many at once"),
    ("chdir", "git-agile sets it"),
    ("clusters", "git-agile asks the server's own cluster"),
    ("comment", "git-agile sets it"),
    ("container", "the environment is [environment]'s"),
    ("error", "`git agile logs` shows a run's output"),
    ("export", "use `env`"),
    ("export-file", "use `env`"),
    ("gid", "runs belong to who logs in"),
    ("help", "it submits nothing"),
    ("input", "git-agile sets it"),
    ("job-name", "git-agile sets it"),
    ("open-mode", "git-agile sets it"),
    ("output", "`git agile logs` shows a run's output"),
    ("parsable", "git-agile sets it"),
    (
        "quiet",
        "git-agile shows what sbatch says where it says something",
    ),
    ("signal", "use `stop` of the experiment"),
    ("test-only", "it submits nothing"),
    ("uid", "runs belong to who logs in"),
    ("usage", "it submits nothing"),
    ("verbose", "git-agile reads what sbatch says"),
    ("version", "it submits nothing"),
    ("wait", "`git agile wait` waits"),
    ("wrap", "use `command` of the experiment"),
];

/// Options of sbatch, checked: long names and values that cannot be taken for anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlurmOptions(BTreeMap<String, Option<String>>);

impl SlurmOptions {
    /// The options of the `table`: text and numbers as `--name=value`, `true` as `--name`, `false` as nothing.
    ///
    /// # Errors
    /// The key and what is wrong with it.
    pub fn new(table: &BTreeMap<String, toml::Value>) -> Result<Self, (String, String)> {
        let mut options = BTreeMap::new();
        for (name, value) in table {
            let bad = |message: String| (clean(name), message);
            check_name(name).map_err(bad)?;
            let value = match value {
                toml::Value::Boolean(false) => continue,
                toml::Value::Boolean(true) => None,
                toml::Value::Integer(number) => Some(number.to_string()),
                toml::Value::Float(number) => Some(number.to_string()),
                toml::Value::String(text) => {
                    check_value(text).map_err(bad)?;
                    Some(text.clone())
                }
                _ => return Err(bad("an option is text, a number or a boolean".to_string())),
            };
            options.insert(name.clone(), value);
        }
        Ok(SlurmOptions(options))
    }

    /// Each option as one argument of sbatch.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, value)| match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.contains('_') {
        return Err(format!(
            "sbatch spells it `{}`",
            clean(&name.replace('_', "-"))
        ));
    }
    if name.len() < 2 || name.len() > 40 {
        return Err("write the long name of the option of sbatch, such as `partition`".to_string());
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(legal) {
        return Err(
            "the name of an option of sbatch has small letters, digits and `-`".to_string(),
        );
    }
    // sbatch takes any unambiguous beginning of a name for the whole name.
    match OWN.iter().find(|(own, _)| own.starts_with(name)) {
        Some((own, why)) => Err(format!("the option `{own}` cannot be given: {why}")),
        None => Ok(()),
    }
}

fn check_value(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 1000 {
        Err("the value needs 1 to 1000 characters".to_string())
    } else if text.chars().any(char::is_control) {
        Err("the value has a control character".to_string())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Vec<String>, String> {
        let options = SlurmOptions::new(&toml::from_str(text).unwrap());
        options
            .map(|options| options.arguments().collect())
            .map_err(|(key, message)| format!("{key}: {message}"))
    }

    #[test]
    fn each_option_is_one_argument() {
        let text = "partition = \"gpu\"\ngres = \"gpu:1\"\ncpus-per-task = 4\nexclusive = true\nrequeue = false\n\
                    constraint = \"a&b $(id) 'x' -oops\"";
        assert_eq!(
            options(text).unwrap(),
            [
                "--constraint=a&b $(id) 'x' -oops",
                "--cpus-per-task=4",
                "--exclusive",
                "--gres=gpu:1",
                "--partition=gpu"
            ]
        );
    }

    #[test]
    fn what_would_break_a_job_is_refused() {
        for (own, _) in OWN {
            assert!(options(&format!("{own} = \"x\"")).is_err(), "{own}");
        }
        // Their abbreviations too, and whatever is no option.
        for text in [
            "arr = \"1-9\"",
            "job-na = \"x\"",
            "cluster = \"x\"",
            "p = \"gpu\"",
            "\"mem=1\" = 2",
            "\"-mem\" = 2",
            "\"a b\" = 2",
            "\"\" = 2",
            "\"a\\nb\" = 2",
            "mem = \"\"",
            "mem = \"1\\n2\"",
            "mem = \"1\\u0000\"",
            "mem = [1]",
            "mem = { a = 1 }",
        ] {
            assert!(options(text).is_err(), "{text}");
        }
        // These only begin like some of them.
        options("cluster-constraint = \"x\"\nwait-all-nodes = 1").unwrap();
        assert_eq!(
            options("cpus_per_task = 1").unwrap_err(),
            "cpus_per_task: sbatch spells it `cpus-per-task`"
        );
    }
}
