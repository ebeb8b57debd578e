//! Import name to distribution: what a person says, what is installed, what is declared, what a table knows.
//! Nothing is guessed, since a guessed name can be somebody's malicious package.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Settings;
use super::environment::{Environment, Installed};
use super::name::normal;
use super::tables::{self, Row};

/// What provides an import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Normal name to the URL from which the code itself installs it.
    hinted: BTreeMap<String, String>,
    /// Normal names of the project's own distribution.
    own: BTreeSet<String>,
    /// What the tables say of the names that were looked up: most of them are the beginnings of many imports.
    rows: RefCell<HashMap<String, Row>>,
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
            hinted: BTreeMap::new(),
            own: BTreeSet::new(),
            rows: RefCell::default(),
        }
    }

    /// The same, that knows the URLs from which notebooks install distributions, by normal name.
    #[must_use]
    pub fn hinted(self, hinted: BTreeMap<String, String>) -> Self {
        Resolver { hinted, ..self }
    }

    /// The same for a project whose own distribution has one of the normal names `own`: it never requires itself.
    #[must_use]
    pub fn owned(self, own: BTreeSet<String>) -> Self {
        Resolver { own, ..self }
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
        let sources = [Self::said, Self::installed, Self::listed];
        let found = sources.iter().find_map(|source| source(self, module));
        let top = module.split('.').next().unwrap_or(module);
        let (key, answer) = found.unwrap_or_else(|| {
            let unknown = || "no distribution of this name is known to provide it".into();
            (top, Answer::Nothing(self.hint(top).unwrap_or_else(unknown)))
        });
        let provider = match &answer {
            Answer::Distribution(name) => name.as_str(),
            _ => top,
        };
        match self.is_own(provider) {
            true => (key.into(), Answer::Nobody),
            false => (key.into(), answer),
        }
    }

    /// Whether `name` is the project's own distribution, whose modules may be built rather than tracked.
    fn is_own(&self, name: &str) -> bool {
        !self.own.is_empty() && self.own.contains(&normal(name))
    }

    /// What a notebook's own `pip install URL` says about an import that nothing else provides.
    fn hint(&self, module: &str) -> Option<String> {
        let url = self.hinted.get(&normal(module))?;
        Some(format!(
            "the code installs it from {url}; add the line `{module} @ {url}`"
        ))
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

    fn row(&self, module: &str) -> Row {
        if let Some(row) = self.rows.borrow().get(module) {
            return row.clone();
        }
        let row = tables::row(module);
        self.rows.borrow_mut().insert(module.into(), row.clone());
        row
    }

    /// Of several installed distributions with one module: the declared one, the one a table puts first, the one
    /// of the module's name, the first by name.
    fn choose<'i>(&self, module: &str, providers: &[&'i Installed]) -> Option<&'i Installed> {
        let known = self.row(module).providers.into_iter();
        let known: Vec<_> = known.map(|name| normal(&name)).collect();
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
        let name = &found.name;
        match (&found.editable, &found.url) {
            (Some(_), _) => Answer::Nobody,
            (None, Some(url)) => Answer::Nothing(match url.strip_prefix("file://") {
                Some(path) => format!(
                    "it was installed from {path}, which servers do not have; push it to a git host and add the line `{name} @ git+https://…`"
                ),
                None => format!("it was installed from {url}; add the line `{name} @ {url}`"),
            }),
            (None, None) => Answer::Distribution(self.spelling(name)),
        }
    }

    /// The name as the project declares it, else as given.
    fn spelling(&self, name: &str) -> String {
        self.declared
            .get(&normal(name))
            .cloned()
            .unwrap_or_else(|| name.into())
    }

    /// What is declared, or else what a table knows. That `Zope` is declared says nothing about `zope.component`,
    /// of which a table knows more than the first name.
    fn listed<'m>(&self, module: &'m str) -> Option<(&'m str, Answer)> {
        match (self.declared(module), self.known(module)) {
            (Some((top, _)), Some((part, answer)))
                if !top.contains('.')
                    && part.contains('.')
                    && matches!(answer, Answer::Distribution(_)) =>
            {
                Some((part, answer))
            }
            (declared, known) => declared.or(known),
        }
    }

    /// A distribution that the project declares: one that a table knows, or of the module's own name where no table
    /// knows one. Else it is a stranger: the index's `sklearn` is not what `import sklearn` means.
    fn declared<'m>(&self, module: &'m str) -> Option<(&'m str, Answer)> {
        prefixes(module).find_map(|prefix| {
            let own = normal(&prefix.replace('.', "-"));
            let row = self.row(prefix);
            let known = row.providers.iter().map(|name| normal(name));
            let candidates = known.map(|name| (name, true));
            let own = (own, row.trap.is_none() && row.providers.is_empty());
            let (name, _) = candidates.chain([own]).find(|(name, meant)| {
                self.direct.contains(name) || *meant && self.declared.contains_key(name)
            })?;
            let name = self.declared.get(&name).cloned().unwrap_or(name);
            Some((prefix, Answer::Distribution(name)))
        })
    }

    /// What the bundled tables know.
    fn known<'m>(&self, module: &'m str) -> Option<(&'m str, Answer)> {
        prefixes(module).find_map(|prefix| {
            let row = self.row(prefix);
            if let Some(reason) = row.trap {
                let reason = self.hint(prefix).unwrap_or_else(|| reason.into());
                return Some((prefix, Answer::Nothing(reason)));
            }
            let mut providers = row.providers;
            if providers.is_empty() {
                providers = self.row(without_version(prefix)?).providers;
            }
            let installed = providers
                .iter()
                .find(|name| self.environment.get(name).is_some());
            let name = installed.or(providers.first())?;
            let answer = match installed {
                None if row.ambiguous => Answer::Nothing(format!(
                    "it may be {}, which are different projects",
                    providers.join(" or ")
                )),
                _ => Answer::Distribution(name.clone().into_owned()),
            };
            Some((prefix, answer))
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
    fn a_namespace_is_not_its_namesake() {
        assert_eq!(
            answers("zope.component:getUtility", &["Zope"], &[], &[]),
            ["zope.component"]
        );
        assert_eq!(
            answers("mpl_toolkits.basemap", &["mpl_toolkits"], &[], &[]),
            ["basemap"]
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
    fn what_may_be_either_is_decided_by_what_is_there() {
        let either =
            "Nothing(\"it may be fireworks-ai or FireWorks, which are different projects\")";
        assert_eq!(answers("fireworks", &[], &[], &[]), [either]);
        assert_eq!(
            answers("fireworks:LaunchPad", &["FireWorks"], &[], &[]),
            ["FireWorks"]
        );
        let there = [("fireworks-ai", &["fireworks"][..])];
        assert_eq!(answers("fireworks", &[], &[], &there), ["fireworks-ai"]);
        assert_eq!(
            answers("acme:specs,wrappers", &[], &[], &[]),
            ["dm-acme"; 2]
        );
        assert_eq!(answers("acme:client", &[], &[], &[]), ["acme"]);
        assert!(answers("acme", &[], &[], &[])[0].starts_with("Nothing"));
        assert!(answers("maya.cmds", &[], &[], &[])[0].starts_with("Nothing"));
        assert_eq!(answers("maya", &[], &[], &[]), ["maya"]);
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
        for (module, stranger, right) in [
            ("sklearn", "sklearn", "scikit-learn"),
            ("PIL", "pil", "Pillow"),
            ("yaml", "YAML", "PyYAML"),
            ("cv2", "cv2", "opencv-python"),
            ("skimage.io", "skimage", "scikit-image"),
            ("serial", "serial", "pyserial"),
            ("dotenv", "dotenv", "python-dotenv"),
            ("fitz", "fitz", "PyMuPDF"),
        ] {
            assert_eq!(answers(module, &[stranger], &[], &[]), [right]);
            assert_eq!(answers(module, &[stranger, right], &[], &[]), [right]);
            let there = [(stranger, &[module][..])];
            assert_eq!(answers(module, &[stranger], &[], &there), [stranger]);
            let direct = answers(module, &[], &[stranger], &[]);
            assert_eq!(direct, [stranger.to_lowercase()]);
        }
        assert_eq!(
            answers("Levenshtein", &["python-Levenshtein"], &[], &[]),
            ["python-Levenshtein"]
        );
    }
}
