//! A command with parameters in it.

use std::collections::BTreeMap;

use crate::model::names::ParamName;
use crate::model::shell::{HasNul, quote};
use crate::model::value::Value;

/// What is wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// `{name}` names no parameter.
    #[error("the command uses {{{0}}}, which is no parameter of the experiment")]
    Unknown(String),
    /// A value cannot reach a program.
    #[error(transparent)]
    HasNul(#[from] HasNul),
}

/// `command` with each `{name}` replaced by that parameter's value as one word of the shell. `{{` and `}}` stand
/// for braces; braces that hold no name (`${HOME}`, `{print $1}`, `{a,b}`) stay as they are.
///
/// # Errors
/// [`BadCommand`] for a name that is no parameter, or a value with a NUL.
pub(super) fn fill(
    command: &str,
    parameters: &BTreeMap<ParamName, Value>,
) -> Result<String, BadCommand> {
    let mut out = String::with_capacity(command.len());
    let mut rest = command;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, braces) = rest.split_at(at);
        out.push_str(before);
        let is_variable = before.ends_with('$') || (before.is_empty() && out.ends_with('$'));
        if !is_variable && (braces.starts_with("{{") || braces.starts_with("}}")) {
            out.push_str(&braces[..1]);
            rest = &braces[2..];
        } else if let Some(name) = placeholder(braces).filter(|_| !is_variable) {
            let value = parameters
                .iter()
                .find(|(param, _)| param.as_str() == name)
                .map(|(_, value)| value);
            let value = value.ok_or_else(|| BadCommand::Unknown(name.to_string()))?;
            out.push_str(&quote(&value.to_string())?);
            rest = &braces[name.len() + 2..];
        } else {
            out.push_str(&braces[..1]);
            rest = &braces[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The name in `{name}…`, when the braces hold exactly a name.
fn placeholder(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('{')?.split_once('}')?;
    ParamName::new(name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(command: &str) -> Result<String, BadCommand> {
        let parameters = [("lr", "0.1"), ("note", "it's $HOME; rm -rf /")]
            .map(|(name, value)| (ParamName::new(name).unwrap(), Value::from_typed(value)));
        fill(command, &BTreeMap::from(parameters))
    }

    #[test]
    fn values_are_one_word_each() {
        assert_eq!(filled("t.py --lr {lr}").unwrap(), "t.py --lr 0.1");
        assert_eq!(
            filled("t.py {note}").unwrap(),
            "t.py 'it'\\''s $HOME; rm -rf /'"
        );
    }

    #[test]
    fn other_braces_stay() {
        for same in [
            "echo ${HOME} ${lr}",
            "awk '{print $1}'",
            "ls {a,b}",
            "{ a; }",
            "echo }",
            "x {",
        ] {
            assert_eq!(filled(same).unwrap(), same);
        }
        assert_eq!(filled("echo {{lr}} {{}}").unwrap(), "echo {lr} {}");
        assert_eq!(filled("t.py {lrr}"), Err(BadCommand::Unknown("lrr".into())));
    }
}
