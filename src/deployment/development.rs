//! What makes a commit's own projects importable in its runs.

use super::project::{Project, normal};
use crate::model::names::RelPath;

/// What makes a project importable in a run as after `pip install --editable`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Development {
    /// Folders of the commit that belong on the import path.
    pub imports: Vec<RelPath>,
    /// The projects' metadata, where they say their name.
    pub metadata: Vec<Metadata>,
    /// Programs: name, module, and object in it.
    pub scripts: Vec<[String; 3]>,
}

/// What `importlib.metadata` finds of an installed project (PyPA, "Recording installed projects").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The name of the folder: `NAME-VERSION.dist-info`.
    pub folder: String,
    /// The file `METADATA`.
    pub metadata: String,
    /// The file `entry_points.txt`.
    pub entry_points: String,
}

impl Development {
    /// Makes `project` importable too.
    pub fn add(&mut self, project: &Project) {
        self.imports.extend(project.imports.clone());
        self.scripts.extend(scripts(project));
        self.metadata.extend(metadata(project));
    }
}

fn scripts(project: &Project) -> Vec<[String; 3]> {
    let points = ["console_scripts", "gui_scripts"].iter();
    let points = points
        .filter_map(|group| project.entry_points.get(*group))
        .flatten();
    points
        .filter_map(|(name, target)| {
            let (module, object) = target.split_once(':')?;
            Some([name.clone(), module.to_string(), object.to_string()])
        })
        .collect()
}

fn metadata(project: &Project) -> Option<Metadata> {
    let is_plain = |text: &&String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
    };
    let name = project.name.as_ref().filter(is_plain)?;
    let version = project
        .version
        .as_ref()
        .filter(is_plain)
        .map_or("0", String::as_str);
    let mut entry_points = String::new();
    for (group, points) in &project.entry_points {
        entry_points.push_str(&format!("[{group}]\n"));
        for (name, target) in points {
            entry_points.push_str(&format!("{name} = {target}\n"));
        }
    }
    Some(Metadata {
        folder: format!(
            "{}-{}.dist-info",
            normal(name).replace('-', "_"),
            version.replace('-', "_")
        ),
        metadata: format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
        entry_points,
    })
}
