//! The bundled tables against import names of real projects, whose distributions were looked up by hand.

use std::collections::BTreeMap;

use git_agile::requirements::Settings;
use git_agile::requirements::environment::Environment;
use git_agile::requirements::name::normal;
use git_agile::requirements::resolve::{Answer, Resolver};

#[test]
fn import_names_of_real_projects_are_known() {
    let text = include_str!("requirements-names/import-names.json");
    let names: BTreeMap<String, Vec<String>> = serde_json::from_str(text).unwrap();
    let (settings, environment) = (Settings::default(), Environment::default());
    let resolver = Resolver::new(&settings, &environment, [], []);
    let mut wrong = Vec::new();
    for (import, accepted) in &names {
        let (_, answer) = resolver.resolve(import, &[]).remove(0);
        let right = |name: &str| accepted.iter().any(|other| normal(other) == normal(name));
        if !matches!(&answer, Answer::Distribution(name) if right(name)) {
            wrong.push(format!("{import}: {answer:?}, not {accepted:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        names.len(),
        wrong.join("\n")
    );
}

#[test]
fn strangers_of_the_same_name_are_not_accepted() {
    let (settings, environment) = (Settings::default(), Environment::default());
    let resolver = Resolver::new(&settings, &environment, [], []);
    for import in [
        "clip",
        "gutenberg",
        "dataset",
        "audio_diffusion",
        "diffusion",
        "gmflow",
        "muse",
        "music_spectrogram_diffusion",
        "ram",
        "t5x",
        "vqgan",
        "panopticapi",
        "deeplearning",
        "vision",
        "imagenetv2_pytorch",
        "caffe",
        "hive_metastore",
        "utils",
        "model",
        "models",
        "data",
        "src",
        "google",
        "google.colab",
    ] {
        let (_, answer) = resolver.resolve(import, &[]).remove(0);
        assert!(matches!(answer, Answer::Nothing(_)), "{import}: {answer:?}");
    }
}
