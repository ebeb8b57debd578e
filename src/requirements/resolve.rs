//! Import name to distribution: what a person says, what is installed, what is declared, what a table knows.
//! Nothing is guessed, since a guessed name can be somebody's malicious package.

use std::collections::{BTreeMap, BTreeSet};

use super::environment::{Environment, Installed};
use super::name::normal;
use super::{Settings, tables};

/// What provides an import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// The distribution of that name.
    Distribution(String),
    /// Nothing has to be installed: `ignore` names it, or it is the project itself.
    Nobody,
    /// Nothing that is known provides it, for the reason said.
    Nothing(String),
}

/// The sources of answers, in the order in which they are asked.
pub struct Resolver<'r> {
    settings: &'r Settings,
    environment: &'r Environment,
    /// Normal name to name as declared.
    declared: BTreeMap<String, String>,
    /// Normal names of distributions that are declared by a URL or a path.
    direct: BTreeSet<String>,
}

/// `a.b.c`, `a.b`, `a`.
fn prefixes(module: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(module), |module| {
        module.rsplit_once('.').map(|(above, _)| above)
    })
}

impl<'r> Resolver<'r> {
    /// A resolver that knows the `declared` distributions, and those declared by a URL or a path (`direct`).
    pub fn new(
        settings: &'r Settings,
        environment: &'r Environment,
        declared: impl IntoIterator<Item = String>,
        direct: impl IntoIterator<Item = String>,
    ) -> Self {
        let declared = declared
            .into_iter()
            .map(|name| (normal(&name), name))
            .collect();
        let direct = direct.into_iter().map(|name| normal(&name)).collect();
        Resolver {
            settings,
            environment,
            declared,
            direct,
        }
    }

    /// What provides `import MODULE` (no `names`) or `from MODULE import NAMES`, by the part of the dotted name
    /// that decides: `from google.cloud import storage, bigquery` has two.
    pub fn resolve(&self, module: &str, names: &[String]) -> Vec<(String, Answer)> {
        if names.is_empty() {
            return vec![self.dotted(module)];
        }
        let mut found = BTreeSet::new();
        for name in names {
            found.insert(self.dotted(&format!("{module}.{name}")));
        }
        // `from google.cloud import storage, Something`: what one name cannot say, another may.
        if found.len() > 1
            && found
                .iter()
                .any(|(_, answer)| !matches!(answer, Answer::Nothing(_)))
        {
            found.retain(|(_, answer)| !matches!(answer, Answer::Nothing(_)));
        }
        found.into_iter().collect()
    }

    fn dotted(&self, module: &str) -> (String, Answer) {
        let sources = [Self::said, Self::installed, Self::declared, Self::known];
        for source in sources {
            if let Some((key, answer)) = source(self, module) {
                return (key.to_string(), answer);
            }
        }
        let top = module.split('.').next().unwrap_or(module);
        (
            top.into(),
            Answer::Nothing("no distribution of this name is known to provide it".into()),
        )
    }

    /// `ignore` and `map`.
    fn said<'m>(&self, module: &'m str) -> Option<(&'m str, Answer)> {
        prefixes(module).find_map(|prefix| {
            if self.settings.ignore.iter().any(|name| name == prefix) {
                return Some((prefix, Answer::Nobody));
            }
            let name = self.settings.map.get(prefix)?;
            Some((prefix, Answer::Distribution(name.clone())))
        })
    }

    /// What the environment's metadata says.
    fn installed<'m>(&self, module: &'m str) -> Option<(&'m str, Answer)> {
        prefixes(module).find_map(|prefix| {
            let providers: Vec<_> = self.environment.providers(prefix).collect();
            let best = self.choose(prefix, &providers)?;
            Some((prefix, self.origin(best)))
        })
    }

    /// Of several installed distributions with one module: the declared one, the one a table puts first, the one
    /// of the module's name, the first by name.
    fn choose<'i>(&self, module: &str, providers: &[&'i Installed]) -> Option<&'i Installed> {
        let known: Vec<_> = tables::providers(module).into_iter().map(normal).collect();
        let rank = |found: &Installed| {
            let name = normal(&found.name);
            let place = known
                .iter()
                .position(|other| *other == name)
                .unwrap_or(usize::MAX);
            (
                !self.declared.contains_key(&name),
                place,
                name != normal(module),
                name,
            )
        };
        providers.iter().copied().min_by_key(|found| rank(found))
    }

    /// A distribution that did not come from an index cannot be named: the index's may be a stranger.
    fn origin(&self, found: &Installed) -> Answer {
        let name = normal(&found.name);
        if self.direct.contains(&name) || self.declared.contains_key(&name) {
            return Answer::Distribution(self.spelling(&found.name));
        }
        match (&found.editable, &found.url) {
            (Some(_), _) => Answer::Nobody,
            (None, Some(url)) => Answer::Nothing(format!(
                "it was installed from {url}; add the line `{} @ {url}`",
                found.name
            )),
            (None, None) => Answer::Distribution(self.spelling(&found.name)),
        }
    }

    /// The name as the project declares it, else as given.
    fn spelling(&self, name: &str) -> String {
        self.declared
            .get(&normal(name))
            .cloned()
            .unwrap_or_else(|| name.into())
    }

    /// A distribution that the project declares: of the module's own name, or one that a table knows.
    fn declared<'m>(&self, module: &'m str) -> Option<(&'m str, Answer)> {
        prefixes(module).find_map(|prefix| {
            let own = normal(&prefix.replace('.', "-"));
            let known = tables::providers(prefix).into_iter().map(normal);
            let trapped = tables::trap(prefix).is_some();
            let name = known.chain([own]).find(|name| {
                self.direct.contains(name) || !trapped && self.declared.contains_key(name)
            })?;
            let name = self.declared.get(&name).cloned().unwrap_or(name);
            Some((prefix, Answer::Distribution(name)))
        })
    }

    /// What the bundled tables know.
    fn known<'m>(&self, module: &'m str) -> Option<(&'m str, Answer)> {
        prefixes(module).find_map(|prefix| {
            if let Some(reason) = tables::trap(prefix) {
                return Some((prefix, Answer::Nothing(reason.into())));
            }
            let mut providers = tables::providers(prefix);
            if providers.is_empty() {
                providers = tables::providers(without_version(prefix)?);
            }
            let installed = providers
                .iter()
                .find(|name| self.environment.get(name).is_some());
            let name = installed.or(providers.first())?;
            Some((prefix, Answer::Distribution((*name).into())))
        })
    }
}

/// `google.cloud.pubsub` of `google.cloud.pubsub_v1`.
fn without_version(module: &str) -> Option<&str> {
    let (stem, version) = module.rsplit_once("_v")?;
    let numbered = version.starts_with(|c: char| c.is_ascii_digit());
    (numbered && module.contains('.')).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(
        module: &str,
        declared: &[&str],
        direct: &[&str],
        installed: &[(&str, &[&str])],
    ) -> Vec<String> {
        let (module, names) = module.split_once(':').unwrap_or((module, ""));
        let names: Vec<_> = names
            .split(',')
            .filter(|n| !n.is_empty())
            .map(String::from)
            .collect();
        let environment = Environment::new(installed.iter().map(|(name, modules)| Installed {
            name: (*name).into(),
            version: "1".into(),
            modules: modules.iter().map(|m| (*m).into()).collect(),
            ..Installed::default()
        }));
        let settings = Settings::default();
        let strings = |names: &[&str]| names.iter().map(|n| (*n).to_string()).collect::<Vec<_>>();
        let resolver = Resolver::new(&settings, &environment, strings(declared), strings(direct));
        let found = resolver.resolve(module, &names).into_iter();
        found
            .map(|(_, answer)| match answer {
                Answer::Distribution(name) => name,
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn dotted_names_decide_below_a_namespace() {
        assert_eq!(
            answers("google.cloud:storage,bigquery", &[], &[], &[]),
            ["google-cloud-bigquery", "google-cloud-storage"]
        );
        assert_eq!(
            answers("google.cloud.pubsub_v1", &[], &[], &[]),
            ["google-cloud-pubsub"]
        );
        assert_eq!(
            answers("google.protobuf:message", &[], &[], &[]),
            ["protobuf"]
        );
        assert_eq!(
            answers("mpl_toolkits.mplot3d:Axes3D", &[], &[], &[]),
            ["matplotlib"]
        );
    }

    #[test]
    fn variants_follow_what_is_there() {
        assert_eq!(answers("cv2", &[], &[], &[]), ["opencv-python"]);
        assert_eq!(
            answers("cv2", &["opencv_contrib_python"], &[], &[]),
            ["opencv_contrib_python"]
        );
        assert_eq!(
            answers("cv2", &[], &[], &[("opencv-python-headless", &["cv2"])]),
            ["opencv-python-headless"]
        );
    }

    #[test]
    fn strangers_are_not_named() {
        assert!(answers("clip", &[], &[], &[])[0].starts_with("Nothing"));
        assert!(answers("zq_unknown", &[], &[], &[])[0].starts_with("Nothing"));
        assert_eq!(answers("clip", &[], &["CLIP"], &[]), ["clip"]);
        assert_eq!(
            answers("zq_unknown", &["zq-unknown"], &[], &[]),
            ["zq-unknown"]
        );
    }
}
