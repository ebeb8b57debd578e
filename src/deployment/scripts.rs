//! The texts that run on a server, embedded when the program is built, and the calls that may be made of them.

use std::sync::LazyLock;

use crate::development::contents::{LfsFile, Submodule};
use crate::development::credential::Credential;
use crate::model::config::{Launcher, Manager};
use crate::model::names::{RemotePath, RunId};
use crate::model::packed::unpacked;
use crate::model::run::DataKey;

use super::development::{Development, Metadata};
use super::environment::Recipe;
use super::protocol::Call;
use crate::terminal;

/// A script of the folder `scripts`, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Script(&'static str);

/// All of them, without their comments (`build.rs`): for each its name, a NUL, its text and a NUL.
static SCRIPTS: LazyLock<String> = LazyLock::new(|| {
    let packed = include_bytes!(concat!(env!("OUT_DIR"), "/scripts.packed"));
    unpacked(packed)
});

impl Script {
    /// Its text.
    pub fn text(self) -> &'static str {
        let mut parts = SCRIPTS.split('\0');
        while let (Some(name), Some(text)) = (parts.next(), parts.next()) {
            if name == self.0 {
                return text;
            }
        }
        // A test reads all of them.
        unreachable!("there is no script {}", self.0)
    }
}

pub(super) const LIB: Script = Script("lib.sh");
const COMMIT: Script = Script("commit.sh");
const ENVIRONMENT: Script = Script("environment.sh");
const PIP: Script = Script("pip.sh");
const PIPFILE: Script = Script("pipfile.py");
const CONDA: Script = Script("conda.sh");
const CONTAINER: Script = Script("container.sh");
const DEVELOPMENT: Script = Script("development.sh");
const DEPLOY: Script = Script("deploy.sh");
const RUNNER: Script = Script("runner.sh");
const STATUS: Script = Script("status.sh");
const STOP: Script = Script("stop.sh");
const LOGS: Script = Script("logs.sh");
const LAUNCH: Script = Script("launch.sh");
const QUEUE: Script = Script("queue.sh");
const DATA: Script = Script("data.sh");
const DOWNLOAD: Script = Script("download.py");
const UNPACK: Script = Script("unpack.py");
const SLURM: Script = Script("slurm.sh");
const JOBS: Script = Script("jobs.sh");
const PYTHON: Script = Script("python.sh");
const MACHINE: Script = Script("machine.sh");
const LINGER: Script = Script("linger.sh");
const DOCTOR: Script = Script("doctor.sh");
const CLEAN: Script = Script("clean.sh");
const SUM: Script = Script("sum.sh");
const LFS: Script = Script("lfs.sh");
const FORESEE: Script = Script("foresee.sh");
const MARK: Script = Script("mark.sh");
const WATCH: Script = Script("watch.py");

/// The runner as it lies in a run's folder.
fn runner(is_slurm: bool) -> String {
    let slurm: &[Script] = if is_slurm { &[SLURM] } else { &[] };
    let parts = [
        &[LIB, STATUS, STOP, LAUNCH, QUEUE],
        slurm,
        &[MACHINE, RUNNER],
    ]
    .concat();
    let text: String = parts.into_iter().map(Script::text).collect();
    format!("{text}agile_runner \"$0\" \"$@\"\n")
}

/// What stands before the runner of a run whose metric is watched.
fn watch_program() -> String {
    let text = WATCH.text();
    format!("metric_program() {{\ncat <<'END OF PROGRAM'\n{text}END OF PROGRAM\n}}\n")
}

/// One run as the deployment script takes it.
#[derive(Clone, Debug)]
pub struct RunFiles {
    /// The run's id.
    pub id: RunId,
    /// `run.json`.
    pub json: String,
    /// The command, shell text.
    pub command: String,
    /// Lines that export the run's variables, shell text.
    pub variables: String,
    /// The server's `setup`, shell text.
    pub setup: String,
    /// The longest it may take, in seconds.
    pub limit: Option<u64>,
    /// The rule of its metric and the files that have it, JSON on one line.
    pub watch: Option<String>,
    /// The data it needs.
    pub data: Vec<DataKey>,
}

/// What a deployment asks of a server. Without `Debug`, as it may hold a secret.
#[derive(Clone)]
pub struct Deployment {
    /// The project's folder.
    pub path: RemotePath,
    /// Where the commit is fetched from; empty where it was sent.
    pub url: String,
    /// What the git host wants to see.
    pub credential: Option<Credential>,
    /// The commit, 40 or 64 hexadecimal digits.
    pub commit: String,
    /// Its submodules, outer ones first.
    pub submodules: Vec<Submodule>,
    /// What Git LFS keeps of it, and the address of the repository whose that is, empty where it was sent.
    pub lfs: Option<(Vec<LfsFile>, String)>,
    /// The branch it was pushed to, for messages; may be empty.
    pub branch: String,
    /// How the environment is made.
    pub recipe: Recipe,
    /// What starts the runs.
    pub launcher: Launcher,
    /// Options of sbatch.
    pub sbatch: Vec<String>,
    /// How many runs at once; without a number all of them.
    pub slots: Option<u16>,
    /// GPUs dealt out to the slots.
    pub gpus: Vec<u16>,
    /// The runs.
    pub runs: Vec<RunFiles>,
}

/// A deployment on a server with that launcher, without its arguments: for a shell that is to stand by for one.
pub fn deploying(launcher: Launcher) -> Call {
    let parts = [
        LIB,
        STATUS,
        LAUNCH,
        QUEUE,
        COMMIT,
        ENVIRONMENT,
        LINGER,
        MARK,
        DEPLOY,
    ];
    Call::new(&parts, "agile_deploy").preset("runner", runner(launcher == Launcher::Slurm))
}

/// The call that fetches the commit, builds the environment and launches the runs.
pub fn deploy(deployment: &Deployment) -> Call {
    let recipe = &deployment.recipe;
    let mut parts = vec![builder(recipe.manager)];
    let credential = deployment.credential.as_ref();
    let mut named = vec![
        ("url", deployment.url.clone()),
        ("commit", deployment.commit.clone()),
        ("branch", deployment.branch.clone()),
        (
            "credential",
            credential.map(Credential::lines).unwrap_or_default(),
        ),
        ("environment", recipe.key.clone()),
        ("manager", recipe.manager.as_str().to_string()),
        ("python", recipe.python.clone().unwrap_or_default()),
        ("dependencies", recipe.dependencies.clone()),
        ("image", recipe.image.clone()),
        ("launcher", deployment.launcher.as_str().to_string()),
        ("settings", settings(deployment)),
    ];
    if deployment.launcher == Launcher::Slurm {
        parts.extend([SLURM, JOBS]);
        let throttle = deployment.slots.map(|slots| slots.to_string());
        named.push(("throttle", throttle.unwrap_or_default()));
        named.extend(
            deployment
                .sbatch
                .iter()
                .map(|option| ("sbatch", option.clone())),
        );
    }
    if deployment.runs.iter().any(|run| run.watch.is_some()) {
        named.push(("watch", watch_program()));
    }
    let was_sent = deployment.url.is_empty();
    let submodules = deployment.submodules.iter();
    named.extend(submodules.map(|each| ("submodule", submodule(each, was_sent))));
    if let Some((files, url)) = &deployment.lfs {
        parts.push(LFS);
        named.push(("lfs", terminal::count(files.len(), "file")));
        named.push(("lfs-url", url.clone()));
        if url.is_empty() {
            named.extend(objects(files));
        }
    }
    named.extend(files(recipe));
    if recipe.manager == Manager::Pipenv {
        named.push(("pipfile", PIPFILE.text().to_string()));
    }
    if let Some(development) = &recipe.development {
        parts.push(DEVELOPMENT);
        named.extend(imports(development));
    }
    let sets = data_sets(&deployment.runs);
    if !sets.is_empty() {
        parts.push(DATA);
        named.push(("download", DOWNLOAD.text().to_string()));
    }
    if sets.iter().any(|set| set.unpack) {
        named.push(("unpack", UNPACK.text().to_string()));
    }
    if !sets.is_empty() || deployment.lfs.is_some() {
        parts.push(SUM);
    }
    let mut call = deploying(deployment.launcher)
        .with(&parts)
        .arg(deployment.path.as_str());
    for (name, value) in named {
        call = call.arg(name).arg(value);
    }
    call = call.arg("runs").arg(deployment.runs.len().to_string());
    for run in &deployment.runs {
        call = call
            .arg(run.id.as_str())
            .arg(&run.json)
            .arg(&run.command)
            .arg(&run.variables)
            .arg(&run.setup)
            .arg(limit(run))
            .arg(data(&run.data.iter().collect::<Vec<_>>()));
    }
    call
}

/// What builds the environments of `manager`.
fn builder(manager: Manager) -> Script {
    match manager {
        Manager::Docker => CONTAINER,
        Manager::Conda => CONDA,
        _ => PIP,
    }
}

/// The files that an environment is made from, each with the commands of sed that take lines out.
fn files(recipe: &Recipe) -> impl Iterator<Item = (&'static str, String)> {
    recipe.files.iter().map(|(path, without)| {
        let without: String = without.iter().map(|line| format!("{line}d;")).collect();
        ("file", format!("{path}\t{without}"))
    })
}

fn objects(files: &[LfsFile]) -> impl Iterator<Item = (&'static str, String)> {
    files.iter().map(|file| ("lfs-object", file.oid.clone()))
}

/// The call that looks at what [`deploy`] would find, and changes nothing.
pub fn foresee(deployment: &Deployment) -> Call {
    let recipe = &deployment.recipe;
    let mut parts = vec![LIB, STATUS, COMMIT, ENVIRONMENT, builder(recipe.manager)];
    parts.extend([SLURM, DATA, LFS, FORESEE]);
    let sets: Vec<&DataKey> = data_sets(&deployment.runs);
    let mut named = vec![
        ("commit", deployment.commit.clone()),
        ("environment", recipe.key.clone()),
        ("manager", recipe.manager.as_str().to_string()),
        ("python", recipe.python.clone().unwrap_or_default()),
        ("image", recipe.image.clone()),
        ("launcher", deployment.launcher.as_str().to_string()),
        ("data", data(&sets)),
    ];
    named.extend(files(recipe));
    let submodules = deployment.submodules.iter();
    named.extend(submodules.map(|each| ("submodule", submodule(each, true))));
    if let Some((files, _)) = &deployment.lfs {
        named.extend(objects(files));
    }
    let mut call = Call::new(&parts, "agile_foresee").arg(deployment.path.as_str());
    for (name, value) in named {
        call = call.arg(name).arg(value);
    }
    let ids = deployment.runs.iter().map(|run| run.id.as_str());
    ids.fold(call.arg("runs"), Call::arg)
}

/// The call that makes those of the `repositories` below `path` anew that are damaged, and says so.
pub fn mend(path: &RemotePath, repositories: &[String]) -> Call {
    let call = Call::new(&[LIB, COMMIT], "agile_mend").arg(path.as_str());
    repositories.iter().fold(call, Call::arg)
}

/// The call that does nothing but answer.
pub fn nothing() -> Call {
    Call::new(&[LIB], ":")
}

/// The call that says which of `files` the server lacks.
pub fn lacking(path: &RemotePath, files: &[LfsFile]) -> Call {
    let call = Call::new(&[LIB, LFS], "agile_lacking").arg(path.as_str());
    files.iter().fold(call, |call, file| call.arg(&file.oid))
}

/// The data sets of `runs`, each once.
fn data_sets(runs: &[RunFiles]) -> Vec<&DataKey> {
    let mut sets: Vec<&DataKey> = Vec::new();
    for set in runs.iter().flat_map(|run| &run.data) {
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    sets
}

/// A submodule's line: name, commit, path and address, which is empty where it was sent.
fn submodule(submodule: &Submodule, was_sent: bool) -> String {
    let Submodule { commit, path, .. } = submodule;
    let url = if was_sent { "" } else { &submodule.url };
    format!("{}\t{commit}\t{path}\t{url}", submodule.name())
}

/// The run's file `limit`: a line with its seconds, empty without a limit, and one with the rule of its metric.
fn limit(run: &RunFiles) -> String {
    let seconds = run.limit.map_or(String::new(), |limit| limit.to_string());
    match &run.watch {
        None => seconds,
        Some(watch) => format!("{seconds}\n{watch}"),
    }
}

/// What a server in the folder `path` does before a deployment that will fetch from `url`: it connects to the git host.
pub fn connect_to_git_host(path: &RemotePath, url: &str) -> Call {
    Call::new(&[], "connect_to_git_host")
        .arg(path.as_str())
        .arg(url)
}

/// What makes the commit's own projects importable, as the script takes it.
fn imports(development: &Development) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    for metadata in &development.metadata {
        let Metadata {
            folder,
            metadata,
            entry_points,
        } = metadata;
        files.push((format!("{folder}/METADATA"), metadata.clone()));
        files.push((format!("{folder}/entry_points.txt"), entry_points.clone()));
    }
    for [name, module, object] in &development.scripts {
        files.push((format!("bin/{name}"), program(module, object)));
    }
    let mut text = String::new();
    for (path, content) in files {
        text.push_str(&format!("file {path}\n"));
        content
            .lines()
            .for_each(|line| text.push_str(&format!(" {line}\n")));
    }
    let imports = development.imports.iter();
    let imports = imports.map(|path| ("import", path.to_string()));
    imports.chain([("project", text)]).collect()
}

/// A program that calls `object` of `module`. It begins as shell, since the first line of one for Python may be too long,
/// and the shell's words are a string to Python.
fn program(module: &str, object: &str) -> String {
    format!(
        "#!/bin/sh\n'''exec' python \"$0\" \"$@\"\n' '''\nimport sys\nfrom importlib import import_module\n\
         if __name__ == \"__main__\":\n    program = import_module(\"{module}\")\n    \
         for name in \"{object}\".split(\".\"):\n        program = getattr(program, name)\n    sys.exit(program())\n"
    )
}

/// The lines of `queue/settings`: each slot gets its share of the GPUs, or they share one.
fn settings(deployment: &Deployment) -> String {
    let Deployment { gpus, launcher, .. } = deployment;
    if *launcher == Launcher::Slurm {
        return String::new();
    }
    let count = |gpus: &[u16]| u16::try_from(gpus.len()).ok().filter(|&count| count > 0);
    let Some(slots) = deployment.slots.or_else(|| count(gpus)) else {
        return String::new();
    };
    let mut lines = format!("launcher {}\nslots {slots}\n", launcher.as_str());
    for slot in 0..usize::from(slots).min(if gpus.is_empty() { 0 } else { usize::MAX }) {
        let share: Vec<String> = match gpus.len() / usize::from(slots) {
            0 => vec![gpus[slot % gpus.len()].to_string()],
            each => gpus[slot * each..(slot + 1) * each]
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        lines.push_str(&format!("gpus {} {}\n", slot + 1, share.join(",")));
    }
    lines
}

/// A line for each data set: sum, kind, path, address.
fn data(data: &[&DataKey]) -> String {
    let line = |set: &&DataKey| {
        format!(
            "{}\t{}\t{}\t{}\n",
            set.sha256.as_deref().unwrap_or("-").to_ascii_lowercase(),
            if set.unpack { "folder" } else { "file" },
            set.path,
            set.url
        )
    };
    data.iter().map(line).collect()
}

/// The call that looks at runs; without `slurm` the answer may say that it takes that to look at some
/// ([`is_unasked`](super::slurm::is_unasked)).
pub fn status<'a>(
    path: &RemotePath,
    slurm: bool,
    runs: impl IntoIterator<Item = &'a RunId>,
) -> Call {
    let mut parts = vec![LIB, STATUS, LAUNCH, QUEUE];
    parts.extend(slurm.then_some(SLURM));
    let call = Call::new(&parts, "agile_status").arg(path.as_str());
    runs.into_iter()
        .fold(call, |call, run| call.arg(run.as_str()))
}

/// The call that ends runs, `grace` seconds after the first signal by force. With `gone`, those on other machines count as
/// ended.
pub fn stop<'a>(
    path: &RemotePath,
    grace: u32,
    gone: bool,
    runs: impl IntoIterator<Item = &'a RunId>,
) -> Call {
    let call = Call::new(&[LIB, STATUS, QUEUE, SLURM, JOBS, STOP], "agile_stop")
        .arg(path.as_str())
        .arg(grace.to_string())
        .arg(if gone { "gone" } else { "there" });
    runs.into_iter()
        .fold(call, |call, run| call.arg(run.as_str()))
}

/// The call that gives the last `lines` lines of a run's log (all of them without a number), and more as it comes
/// with `follow`. Its answer is raw.
pub fn logs(path: &RemotePath, run: &RunId, lines: Option<u32>, follow: bool) -> Call {
    let lines = lines.map_or("all".to_string(), |lines| lines.to_string());
    Call::new(&[LIB, STATUS, SLURM, LOGS], "agile_logs")
        .arg(path.as_str())
        .arg(run.as_str())
        .arg(lines)
        .arg(if follow { "follow" } else { "once" })
}

/// The call that becomes the Python `program` with the folder of the runs as its current folder. Its answer is raw.
pub fn python<A: AsRef<[u8]>>(
    path: &RemotePath,
    program: &str,
    args: impl IntoIterator<Item = A>,
) -> Call {
    let call = Call::new(&[LIB, PYTHON], "agile_python")
        .arg(path.as_str())
        .arg(program);
    args.into_iter().fold(call, |call, arg| call.arg(arg))
}

/// The call that says what the server has and lacks: `programs` are looked for, `python` is the version that is wanted,
/// and `url` is asked whether it lets the server read; both may be empty.
pub fn doctor(path: &RemotePath, url: &str, python: &str, programs: &[&str]) -> Call {
    let call = Call::new(
        &[LIB, MACHINE, LINGER, ENVIRONMENT, CONDA, PIP, DOCTOR],
        "agile_doctor",
    )
    .arg(path.as_str())
    .arg("url")
    .arg(url)
    .arg("python")
    .arg(python);
    programs
        .iter()
        .fold(call, |call, name| call.arg("program").arg(name))
}

/// The call that lists what lies on the server, and whether it is at least `days` old.
pub fn list_things(path: &RemotePath, days: u64) -> Call {
    Call::new(&CLEANING, "agile_clean")
        .arg(path.as_str())
        .arg("list")
        .arg(days.to_string())
}

/// The call that removes `things`: `runs/ID`, `envs/NAME`, `data/SHA256` or `left/NAME`, as the list has them.
pub fn remove_things(path: &RemotePath, things: &[String]) -> Call {
    let call = Call::new(&CLEANING, "agile_clean")
        .arg(path.as_str())
        .arg("remove");
    things.iter().fold(call, |call, thing| call.arg(thing))
}

const CLEANING: [Script; 6] = [LIB, STATUS, SLURM, COMMIT, MARK, CLEAN];

/// The command for `ssh -t` that brings a run's session to the terminal. Its text holds no single quote, `!` or line
/// break, so that every login shell passes it on unchanged.
pub fn attach(path: &RemotePath, run: &RunId) -> String {
    const TEXT: &str = concat!(
        "follow() { trap : INT; tail -n 100 -f \"$r/log\"; exit 0; }; ",
        "case $1 in \"~/\"*) b=$HOME/${1#??} ;; /*) b=$1 ;; *) b=$HOME/$1 ;; esac; r=$b/runs/$2; ",
        "if [ -s \"$r/exit\" ]; then echo \"run $2 has ended; git agile logs $2 shows its output\"; exit 5; fi; ",
        "if [ -e \"$r/process\" ]; then :; elif [ -e \"$r/job\" ]; then echo \"run $2 has not begun: it waits for Slurm\"; exit 5; else echo \"run $2 has not begun\"; exit 5; fi; ",
        "l=$(sed -n \"s/^launcher //p\" \"$r/process\"); s=$(sed -n \"s/^session //p\" \"$r/process\"); ",
        "case $l in screen) exec screen -d -r \"$s\" ;; ",
        "tmux) exec tmux -L \"agile-$2\" attach-session -d -t \"=$2\" ;; ",
        "slurm) echo \"a Slurm job has no window: following the log, ^C ends that; a shell beside the run: srun --jobid=$s --overlap --pty sh\"; follow ;; ",
        "nohup) echo \"no screen or tmux there: following the log, ^C ends that\"; follow ;; ",
        "*) echo \"run $2 has no session\"; exit 5 ;; esac"
    );
    format!("exec /bin/sh -c '{TEXT}' attach '{path}' '{run}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_there() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deployment/scripts");
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(
                SCRIPTS.split('\0').step_by(2).any(|it| it == name),
                "{name}"
            );
        }
        let source = include_str!("scripts.rs");
        for rest in source.split("= Script(\"").skip(1) {
            let name: &'static str = rest.split('"').next().unwrap_or_default();
            assert!(name.is_empty() || !Script(name).text().is_empty());
        }
    }

    #[test]
    fn scripts_are_functions_only() {
        // A statement outside a function would run when the script is cut after it.
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deployment/scripts");
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|file| file.unwrap().path());
        for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "sh")) {
            let text = std::fs::read_to_string(&file).unwrap();
            let mut inside = false;
            for line in text.lines() {
                let opens = line.ends_with("() {") || line.ends_with("() (");
                let one_line = line.contains("() {") && line.ends_with('}');
                if line.starts_with(['\t', '#']) || line.is_empty() || one_line {
                    continue;
                }
                match line {
                    _ if opens => inside = true,
                    "}" | ")" => inside = false,
                    // Continuation lines of strings and of awk programs lie inside functions.
                    _ => assert!(inside, "outside a function of {}: {line}", file.display()),
                }
            }
        }
    }

    #[test]
    fn the_attach_command_passes_every_login_shell() {
        let command = attach(
            &RemotePath::new("~/a b").unwrap(),
            &RunId::new("r-1").unwrap(),
        );
        assert_eq!(command.matches('\'').count(), 6);
        assert!(!command.contains(['!', '\n', '\\']));
    }
}
