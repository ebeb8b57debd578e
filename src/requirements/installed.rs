//! Whether the installed distributions fit each other, as `pip check` asks.
//!
//! Sources: `Requires-Dist` and `Requires-Python` (core metadata), PEP 508 markers, PEP 440 versions.

use std::str::FromStr as _;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{
    MarkerEnvironment, MarkerEnvironmentBuilder, Requirement, VerbatimUrl, VersionOrUrl,
};

use super::environment::{Environment, Installed};

/// Two things that do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The distribution that asks for something.
    pub name: String,
    /// What it asks for and what there is.
    pub message: String,
    /// The command that mends it.
    pub mend: String,
}

/// A requirement longer than this is nobody's.
const LONG: usize = 4096;

/// Everything in `environment` that does not fit.
pub fn conflicts(environment: &Environment) -> Vec<Conflict> {
    let python = environment
        .python
        .as_deref()
        .and_then(|text| Version::from_str(text).ok());
    let markers = python.as_ref().and_then(markers);
    let mut found = Vec::new();
    for distribution in environment.all() {
        if let Some(python) = &python {
            found.extend(wrong_python(distribution, python));
        }
        let requires = distribution
            .requires
            .iter()
            .filter(|text| text.len() < LONG);
        found.extend(
            requires.filter_map(|text| wrong(distribution, text, environment, markers.as_ref())),
        );
    }
    found
}

/// Whether `python` is outside of the specifiers `wanted`; nothing when they cannot be read.
pub fn is_outside(python: &str, wanted: &str) -> Option<bool> {
    let python = Version::from_str(python).ok()?;
    Some(!VersionSpecifiers::from_str(wanted).ok()?.contains(&python))
}

fn wrong_python(distribution: &Installed, python: &Version) -> Option<Conflict> {
    let wanted = distribution.requires_python.as_deref()?;
    let specifiers = VersionSpecifiers::from_str(wanted).ok()?;
    (!specifiers.contains(python)).then(|| Conflict {
        name: distribution.name.clone(),
        message: format!(
            "{} {} needs Python {wanted}, and this is Python {python}",
            distribution.name, distribution.version
        ),
        mend: format!("pip install --upgrade {}", distribution.name),
    })
}

fn wrong(
    distribution: &Installed,
    text: &str,
    environment: &Environment,
    markers: Option<&MarkerEnvironment>,
) -> Option<Conflict> {
    let requirement = Requirement::<VerbatimUrl>::from_str(text).ok()?;
    let applies = match markers {
        Some(markers) => requirement.evaluate_markers(markers, &[]),
        None => requirement.marker.is_true(),
    };
    if !applies {
        return None;
    }
    let wanted = match &requirement.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.clone(),
        Some(VersionOrUrl::Url(_)) => return None,
        None => VersionSpecifiers::empty(),
    };
    let name = requirement.name.to_string();
    let asks = format!(
        "{} {} needs {name}{wanted}",
        distribution.name, distribution.version
    );
    let mend = format!("pip install '{name}{wanted}'");
    let conflict = |what: String| Conflict {
        name: distribution.name.clone(),
        message: format!("{asks}, and {what}"),
        mend: mend.clone(),
    };
    match environment.get(&name) {
        None => Some(conflict("it is not installed".into())),
        Some(other) => {
            let version = Version::from_str(&other.version).ok()?;
            // A pre-release that is installed counts, as for pip.
            let fits = wanted.contains(&version) || wanted.contains(&version.only_release());
            (!fits).then(|| conflict(format!("{} {} is installed", other.name, other.version)))
        }
    }
}

/// The values of the markers for a CPython of this version on this machine.
fn markers(python: &Version) -> Option<MarkerEnvironment> {
    let full = python.to_string();
    let release = python.release();
    let short = format!("{}.{}", release.first()?, release.get(1)?);
    let (os_name, system, platform) = match std::env::consts::OS {
        "macos" => ("posix", "Darwin", "darwin"),
        "windows" => ("nt", "Windows", "win32"),
        _ => ("posix", "Linux", "linux"),
    };
    let machine = match (std::env::consts::ARCH, platform) {
        ("aarch64", "darwin") => "arm64",
        (machine, _) => machine,
    };
    let builder = MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: &full,
        os_name,
        platform_machine: machine,
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: system,
        platform_version: "",
        python_full_version: &full,
        python_version: &short,
        sys_platform: platform,
    };
    builder.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(name: &str, version: &str, requires: &[&str]) -> Installed {
        Installed {
            name: name.into(),
            version: version.into(),
            requires: requires.iter().map(|text| (*text).into()).collect(),
            ..Installed::default()
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let requires = [
            "b (>=2)",
            "c>=1; extra == 'x'",
            "d; python_version < '3.8'",
            "e>=1,<3 ; python_version >= '3.8'",
            "f",
            "(((",
        ];
        let mut environment = Environment::new([
            installed("a", "1", &requires),
            installed("B", "1.5", &[]),
            installed("e", "2.0rc1", &[]),
        ]);
        environment.python = Some("3.11.7".into());
        let said: Vec<_> = conflicts(&environment)
            .into_iter()
            .map(|c| c.message)
            .collect();
        assert_eq!(
            said,
            [
                "a 1 needs b>=2, and B 1.5 is installed",
                "a 1 needs f, and it is not installed"
            ]
        );
    }
}
