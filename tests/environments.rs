//! The environments of the runs: who makes them, from what, and what a run finds in them.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use git_agile::deployment::development::Development;
use git_agile::deployment::environment::Recipe;
use git_agile::deployment::scripts;
use git_agile::model::config::Manager;
use git_agile::model::names::{RelPath, RunId};
use support::script::{Script, has, one_run, through};
use support::{Lab, Server, wait_until};

/// A laboratory with the server `box` and a project whose experiment runs `sh work.sh`, with these lines in
/// `[environment]` and these files. Nothing is pushed.
fn bench(environment: &str, files: &[(&str, &str)]) -> (Lab, Arc<Server>) {
    let lab = Lab::new();
    let server = lab.server("box");
    lab.wheel("tiny", "1.2");
    lab.project_with(&configuration(environment));
    fs::remove_file(lab.project_folder().join("requirements.txt")).unwrap();
    lab.write(
        "work.sh",
        "python -c 'import sys, tiny; print(\"tiny\", tiny.__version__, \"in\", sys.prefix)'\n",
    );
    for (name, text) in files {
        lab.write(name, text);
    }
    commit(&lab, "Describe the environment");
    lab.agile(&["trust", "--all"]).succeeds();
    lab.git(&["push", "--quiet", "-u", "origin", "main"])
        .succeeds();
    (lab, server)
}

fn configuration(environment: &str) -> String {
    format!(
        "[requirements]\nhook = \"off\"\n[environment]\n{environment}\n[servers.box]\nhost = \"box\"\npath = \"~/agile/proj\"\n\
         [experiments.work]\ncommand = \"sh work.sh\"\n"
    )
}

fn commit(lab: &Lab, message: &str) -> String {
    lab.git(&["add", "--all"]).succeeds();
    lab.git(&[
        "commit",
        "--quiet",
        "--no-verify",
        "--allow-empty",
        "-m",
        message,
    ])
    .succeeds();
    lab.head()
}

/// Commits, pushes and waits; the log of the run.
#[track_caller]
fn run_of(lab: &Lab, message: &str) -> String {
    commit(lab, message);
    lab.agile(&["push"]).succeeds();
    log_of_newest(lab)
}

#[track_caller]
fn log_of_newest(lab: &Lab) -> String {
    let waited = lab.agile(&["wait", "--timeout", "300"]);
    let log = lab.agile(&["logs", "@"]);
    assert_eq!(waited.code, Some(0), "{waited}\n{log}");
    log.stdout.clone()
}

fn base(server: &Server) -> PathBuf {
    server.home().join("agile/proj")
}

/// The complete environments.
fn environments(server: &Server) -> Vec<PathBuf> {
    let folders = fs::read_dir(base(server).join("envs"))
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<_> = folders
        .map(|entry| entry.path())
        .filter(|path| path.join("ok").exists())
        .collect();
    found.sort();
    found
}

/// Where a program is that `script/bootstrap` installs for the tests, or the machine has.
fn tool(name: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/tools/bin")
        .join(name);
    let path = std::env::var("PATH").unwrap_or_default();
    let others = path.split(':').map(|folder| Path::new(folder).join(name));
    let found = [own].into_iter().chain(others).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: no {name}");
    }
    found
}

/// Puts a tool where its installer would, which no login without a terminal has on its `PATH`.
fn install(server: &Server, tool: &Path) {
    let folder = server.home().join(".local/bin");
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(tool, folder.join(tool.file_name().unwrap())).unwrap();
}

fn hash_of_tiny(lab: &Lab) -> String {
    let wheel = fs::read(lab.root().join("wheels/tiny-1.2-py3-none-any.whl")).unwrap();
    Sha256::digest(wheel)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The failed build of a requirement that nobody has: nothing is launched, and the tool's words and the command to try are
/// there.
#[track_caller]
fn refuses_what_nobody_has(lab: &Lab, server: &Server, command: &str) {
    lab.write("requirements.txt", "no-such-thing==9.9\n");
    commit(lab, "Too much");
    lab.agile(&["push"])
        .ends_with(5)
        .complains("cannot build the Python environment from requirements.txt")
        .complains("no-such-thing")
        .complains(command);
    let runs = server.sh("ls agile/proj/runs").stdout;
    assert_eq!(runs.lines().count(), 1, "only the run before: {runs}");
}

#[test]
fn venv_installs_what_the_lock_lists_with_hashes() {
    let (lab, server) = bench("manager = \"venv\"", &[("requirements.txt", "tiny\n")]);
    let lock = format!("tiny==1.2 \\\n    --hash=sha256:{}\n", hash_of_tiny(&lab));
    lab.write("requirements.lock", &lock);
    lab.wheel("tiny", "1.3");
    let log = run_of(&lab, "Lock");
    assert!(log.contains("tiny 1.2 in"), "{log}");
    let built = environments(&server);
    assert_eq!(built.len(), 1);

    // The same files, another commit: the environment is ready, and nobody asks pip, which is gone.
    server
        .sh("rm -r agile/proj/envs/*/lib/python*/site-packages/pip")
        .succeeds();
    lab.write("notes.txt", "more\n");
    let log = run_of(&lab, "Take notes");
    assert!(log.contains("tiny 1.2 in"), "{log}");
    assert_eq!(environments(&server), built);

    lab.write(
        "requirements.lock",
        &lock.replace("sha256:", "sha256:00").replacen(
            &lock[lock.len() - 3..lock.len() - 1],
            "",
            1,
        ),
    );
    commit(&lab, "A wrong hash");
    lab.agile(&["push"])
        .ends_with(5)
        .complains("from requirements.lock")
        .complains("hash")
        .complains("-m pip --no-input --disable-pip-version-check install --require-hashes -r ");
    fs::remove_file(lab.project_folder().join("requirements.lock")).unwrap();
    lab.git(&["rm", "-q", "--cached", "requirements.lock"])
        .succeeds();
}

#[test]
fn uv_is_found_and_preferred_and_told_of_pips_index() {
    let Some(uv) = tool("uv") else { return };
    let (lab, server) = bench("", &[("requirements.txt", "tiny\n")]);
    install(&server, &uv);
    lab.write(
        "requirements.lock",
        &format!("tiny==1.2 --hash=sha256:{}\n", hash_of_tiny(&lab)),
    );
    let log = run_of(&lab, "Lock");
    assert!(log.contains("tiny 1.2 in"), "{log}");
    let cfg = fs::read_to_string(environments(&server)[0].join("pyvenv.cfg")).unwrap();
    assert!(cfg.contains("uv = "), "{cfg}");
    fs::remove_file(lab.project_folder().join("requirements.lock")).unwrap();
    refuses_what_nobody_has(
        &lab,
        &server,
        "uv pip install --no-progress --no-index --python ",
    );
}

#[test]
fn virtualenv_makes_the_environment() {
    let Some(virtualenv) = tool("virtualenv") else {
        return;
    };
    let (lab, server) = bench(
        "manager = \"virtualenv\"",
        &[("requirements.txt", "tiny==1.2\n")],
    );
    server.hide(&["virtualenv"]);
    lab.agile(&["deploy"]).ends_with(5).explains(
        "box: there is no virtualenv on the server",
        "pipx install virtualenv",
    );
    install(&server, &virtualenv);
    let log = run_of(&lab, "Now it is there");
    assert!(log.contains("tiny 1.2 in"), "{log}");
    let cfg = fs::read_to_string(environments(&server)[0].join("pyvenv.cfg")).unwrap();
    assert!(cfg.contains("virtualenv = "), "{cfg}");
    refuses_what_nobody_has(&lab, &server, "-m pip --no-input");
}

#[test]
fn pyenv_chooses_the_newest_interpreter_of_the_version() {
    let (lab, server) = bench("", &[("requirements.txt", "tiny==1.2\n")]);
    let version = server
        .sh("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
        .stdout;
    let version = version.trim();
    lab.write(
        "agile.toml",
        &configuration(&format!("manager = \"pyenv\"\npython = \"{version}\"")),
    );
    commit(&lab, "By pyenv");
    lab.agile(&["push"]).ends_with(5).explains(
        "box: there is no pyenv in ",
        &format!("pyenv install {version}"),
    );
    // A folder for each version is all there is to it.
    server
        .sh(&format!(
            "cd && for v in {version}.9 {version}.10 {version}-dev 2.7.1; do mkdir -p .pyenv/versions/$v/bin; \
             ln -s \"$(command -v python3)\" .pyenv/versions/$v/bin/python; done"
        ))
        .succeeds();
    lab.agile(&["deploy"]).succeeds();
    assert!(log_of_newest(&lab).contains("tiny 1.2 in"));
    let cfg = fs::read_to_string(environments(&server)[0].join("pyvenv.cfg")).unwrap();
    assert!(
        cfg.contains(&format!(".pyenv/versions/{version}.10/bin")),
        "{cfg}"
    );
    lab.write(
        "agile.toml",
        &configuration("manager = \"pyenv\"\npython = \"3.99\""),
    );
    commit(&lab, "Too new");
    lab.agile(&["push"]).ends_with(5).explains(
        "box: pyenv has no Python 3.99 on the server",
        "on the server: pyenv install 3.99",
    );
}

#[test]
fn pipfile_lock_is_installed_without_pipenv() {
    let (lab, server) = bench("", &[]);
    let lock = |hash: &str| {
        format!(
            r#"{{"_meta": {{"pipfile-spec": 6, "requires": {{}}, "sources": [{{"name": "pypi", "url": "https://index.example/simple", "verify_ssl": true}}]}},
            "default": {{"tiny": {{"hashes": ["sha256:{hash}"], "markers": "python_version >= '3'", "version": "==1.2"}},
                         "proj": {{"editable": true, "path": "."}}}},
            "develop": {{"no-such-thing": {{"version": "==9.9"}}}}}}"#
        )
    };
    lab.wheel("tiny", "1.3");
    lab.write("Pipfile.lock", &lock(&hash_of_tiny(&lab)));
    let log = run_of(&lab, "Lock");
    assert!(log.contains("tiny 1.2 in"), "{log}");
    lab.write("Pipfile.lock", &lock(&"0".repeat(64)));
    commit(&lab, "Another hash");
    lab.agile(&["push"])
        .ends_with(5)
        .complains("cannot build the Python environment from Pipfile.lock")
        .complains("locked.txt");
    assert_eq!(environments(&server).len(), 1);
}

/// pipenv's own lock of a project, made by pipenv itself, is what our reading of it installs.
#[test]
fn what_pipenv_locks_is_installed() {
    let Some(pipenv) = tool("pipenv") else { return };
    let (lab, _server) = bench("manager = \"pipenv\"", &[]);
    lab.agile(&["deploy"])
        .ends_with(3)
        .explains("the commit has no Pipfile.lock", "pipenv lock");
    // An index of its own, so that nobody is asked who is far away.
    let index = lab.root().join("simple");
    fs::create_dir_all(index.join("tiny")).unwrap();
    let wheel = "tiny-1.2-py3-none-any.whl";
    fs::copy(
        lab.root().join("wheels").join(wheel),
        index.join("tiny").join(wheel),
    )
    .unwrap();
    fs::write(
        index.join("tiny/index.html"),
        format!("<a href=\"{wheel}\">{wheel}</a>"),
    )
    .unwrap();
    let source = format!(
        "[[source]]\nname = \"lab\"\nurl = \"file://{}\"\nverify_ssl = false\n",
        index.display()
    );
    lab.write("Pipfile", &format!("{source}[packages]\ntiny = \"*\"\n"));
    let command = format!(
        "rm ~/.config/pip/pip.conf; PIPENV_YES=1 {} lock",
        pipenv.display()
    );
    lab.run("sh", &["-c", &command]).succeeds();
    let log = run_of(&lab, "Lock");
    assert!(log.contains("tiny 1.2 in"), "{log}");
}

const PYPROJECT: &str = "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
     [project]\nname = \"Lab-Tools\"\nversion = \"1.5\"\ndependencies = [\"tiny==1.2\"]\n[project.scripts]\nfit = \"labtools.cli:main.run\"\n";

#[test]
fn each_run_imports_its_own_commits_project() {
    let (lab, server) = bench(
        "manager = \"venv\"",
        &[
            ("pyproject.toml", PYPROJECT),
            ("requirements.txt", "# in development\n-e .\n"),
            (
                "src/labtools/__init__.py",
                "import importlib.metadata\n__version__ = importlib.metadata.version('lab-tools')\n",
            ),
            (
                "src/labtools/cli.py",
                "import sys, tiny, labtools\nclass main:\n  def run():\n    print('round ONE', sys.argv[1:], labtools.__version__, tiny.__version__)\n    return 3\n",
            ),
            (
                "work.sh",
                "while [ ! -e \"$HOME/gate\" ]; do sleep 0.02; done\nfit a 'b c'; echo \"status $?\"; cd /; python -c 'import labtools; print(labtools.__file__)'\n",
            ),
        ],
    );
    lab.agile(&["deploy"]).succeeds();
    let text = lab.read("src/labtools/cli.py").replace("ONE", "TWO");
    lab.write("src/labtools/cli.py", &text);
    commit(&lab, "Round two");
    lab.agile(&["push"])
        .succeeds()
        .never_says("environment built");
    fs::write(server.home().join("gate"), "").unwrap();
    lab.agile(&["wait", "--all", "--timeout", "300"]).succeeds();
    let logs = server.sh("cat agile/proj/runs/*/log").stdout;
    for round in ["ONE", "TWO"] {
        assert!(
            logs.contains(&format!("round {round} ['a', 'b c'] 1.5 1.2\nstatus 3\n")),
            "{logs}"
        );
    }
    let places: Vec<_> = logs
        .lines()
        .filter(|line| line.ends_with("/code/src/labtools/__init__.py"))
        .collect();
    assert_eq!(places.len(), 2, "{logs}");
    assert_ne!(places[0], places[1]);
    assert_eq!(environments(&server).len(), 1, "one environment for both");
    let left = server
        .sh("ls agile/proj/envs/*/lib/python*/site-packages | grep -i lab")
        .stdout;
    assert_eq!(left, "", "the environment has nothing of the project");
}

#[test]
fn a_build_that_was_killed_is_done_again() {
    let (lab, server) = bench("", &[("requirements.txt", "tiny==1.2\n")]);
    let here = lab.head();
    // The first attempt ends as at a loss of power, in the middle.
    server.shim(
        "python3",
        "#!/bin/sh\nPATH=${PATH#\"$LAB_SHIM:\"}\ncase \"$*\" in\n'-m venv'*) if [ ! -e ~/died ]; then mkdir -p \"$3/bin\"; : >~/died; kill -9 0; fi ;;\nesac\nexec python3 \"$@\"\n",
    );
    let mut deployment = one_run(
        "~/agile/proj",
        &lab.origin().url("proj.git"),
        &here,
        "work-1",
        "sh work.sh",
    );
    deployment.recipe = Recipe {
        key: "fedcba9876543210".into(),
        manager: Manager::Venv,
        files: vec![(RelPath::new("requirements.txt").unwrap(), Vec::new())],
        ..Recipe::default()
    };
    let call = scripts::deploy(&deployment);
    let (answer, _) = Script::start(&server, &["/bin/sh"], &call).finish();
    assert!(answer.is_none() && server.home().join("died").exists());
    let begun = server.sh("ls agile/proj/envs").stdout;
    assert_eq!((begun.lines().count(), environments(&server).len()), (1, 0));
    // Two who come at the same time: one builds, the other waits for it.
    let mut other = deployment.clone();
    other.runs[0].id = RunId::new("work-2").unwrap();
    let both =
        [&call, &scripts::deploy(&other)].map(|call| Script::start(&server, &["/bin/sh"], call));
    let answers = both.map(|script| script.finish().0.expect("a whole answer"));
    let mut built: Vec<_> = answers
        .iter()
        .flat_map(|answer| {
            answer
                .iter()
                .filter(|line| line[0] == "environment")
                .map(|line| line[2].clone())
        })
        .collect();
    built.sort();
    assert_eq!(built, ["built", "ready"]);
    assert!(
        has(&answers[0], &["run", "work-1", "started"]),
        "{answers:?}"
    );
    assert_eq!(environments(&server).len(), 1);
    wait_until(20, "its end", || {
        base(&server).join("runs/work-1/exit").exists()
    });
    let log = fs::read_to_string(base(&server).join("runs/work-1/log")).unwrap();
    assert!(log.contains("tiny 1.2 in"), "{log}");
}

/// What a deployment can do on a server, by each shell that may be its `sh`.
#[test]
fn every_shell_builds() {
    let (lab, server) = bench(
        "",
        &[
            ("requirements.txt", "# in development\n-e .\n"),
            ("pyproject.toml", PYPROJECT),
            ("src/labtools/__init__.py", ""),
            (
                "src/labtools/cli.py",
                "class main:\n  def run(): print('fitted')\n",
            ),
        ],
    );
    let here = lab.head();
    for (number, shell) in [&["dash"][..], &["bash"], &["busybox", "sh"]]
        .into_iter()
        .enumerate()
    {
        let id = format!("work-{number}");
        let command = "fit; python -c 'import labtools, tiny; print(labtools.__file__)'";
        let path = format!("~/agile/with {number}");
        let mut deployment = one_run(
            &path,
            &lab.origin().home().join("proj.git").to_string_lossy(),
            &here,
            &id,
            command,
        );
        deployment.recipe = Recipe {
            key: "fedcba9876543210".into(),
            manager: Manager::Venv,
            files: vec![(RelPath::new("requirements.txt").unwrap(), vec![2])],
            dependencies: "tiny==1.2\n".into(),
            development: Some(Development {
                imports: vec![RelPath::new("src").unwrap()],
                metadata: Vec::new(),
                scripts: vec![["fit".into(), "labtools.cli".into(), "main.run".into()]],
            }),
            ..Recipe::default()
        };
        let (answer, outcome) = through(&server, shell, &scripts::deploy(&deployment));
        assert!(
            has(&answer, &["run", &id, "started"]),
            "{shell:?}: {answer:?}\n{outcome}"
        );
        let run = server.home().join(&path[2..]).join("runs").join(&id);
        wait_until(20, "its end", || run.join("exit").exists());
        let log = fs::read_to_string(run.join("log")).unwrap();
        let file = run.join("code/src/labtools/__init__.py");
        assert_eq!(log, format!("fitted\n{}\n", file.display()), "{shell:?}");
    }
}

#[test]
fn an_environment_is_not_rebuilt_beneath_a_run() {
    let (lab, server) = bench(
        "",
        &[
            ("requirements.txt", "tiny==1.2\n"),
            (
                "work.sh",
                "while [ ! -e \"$HOME/gate\" ]; do sleep 0.02; done\n",
            ),
        ],
    );
    lab.agile(&["deploy"]).succeeds();
    server.sh("rm agile/proj/envs/*/bin/python").succeeds();
    commit(&lab, "The next");
    lab.agile(&["push"])
        .ends_with(5)
        .complains("is damaged, and run work-")
        .complains("git agile stop work-");
    assert!(
        environments(&server)[0].join("bin/python3").is_symlink(),
        "it was left as it is"
    );
    fs::write(server.home().join("gate"), "").unwrap();
    lab.agile(&["wait", "--all", "--timeout", "300"]);
    lab.agile(&["deploy"])
        .succeeds()
        .complains("environment built");
}

/// conda is too large for a test, and cannot be had from the index. This stand-in makes the folder that conda would, so
/// that what stands around it is tested: the file that is chosen, the command, and that a run is in an activated environment.
const MICROMAMBA: &str = r#"#!/bin/sh
echo "$@" >>~/asked
while [ "$1" != -p ]; do shift; done
prefix=$2
grep -q no-such-thing "$4" && { echo "error    libmamba Could not solve for environment specs" >&2; exit 1; }
! grep -q -e '-e \.' "$4" || exit 1
python3 -m venv --without-pip "$prefix" || exit 1
mkdir -p "$prefix/conda-meta" "$prefix/etc/conda/activate.d"
echo '{"env_vars": {"FROM_STATE": "a $HOME"}}' >"$prefix/conda-meta/state"
cat >"$prefix/etc/conda/activate.d/x.sh" <<'END'
function bash_only { export ACTIVATED="by $CONDA_PREFIX"; }
[[ $CONDA_SHLVL == 1 ]] && bash_only
END
"#;

#[test]
fn a_run_is_in_an_activated_conda_environment() {
    let (lab, server) = bench(
        "",
        &[
            (
                "environment.yml",
                "name: lab\ndependencies:\n  - python\n  - pip:\n    - -e .\n",
            ),
            ("pyproject.toml", PYPROJECT),
            ("src/labtools/__init__.py", ""),
            (
                "work.sh",
                "python -c 'import sys, labtools; print(\"prefix\", sys.prefix)'; echo \"$CONDA_PREFIX|$ACTIVATED|$FROM_STATE|$AGILE_PARAM_N\"; exit 0\n",
            ),
        ],
    );
    server.hide(&["conda", "mamba", "micromamba"]);
    lab.agile(&["deploy"]).ends_with(5).explains(
        "box: there is no conda, mamba or micromamba on the server",
        "install miniforge or micromamba",
    );
    let folder = server.home().join("miniforge3/bin");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("micromamba"), MICROMAMBA).unwrap();
    server.sh("chmod +x miniforge3/bin/micromamba").succeeds();
    lab.agile(&["deploy"]).succeeds();
    let log = log_of_newest(&lab);
    let prefix = environments(&server)[0].join("conda");
    let prefix = prefix.display();
    assert!(
        log.contains(&format!("prefix {prefix}\n{prefix}|by {prefix}|a $HOME|\n")),
        "{log}"
    );
    let asked = server.sh("cat asked").stdout;
    assert!(asked.starts_with("create -y -q -p "), "{asked}");

    lab.write("environment.yml", "dependencies:\n  - no-such-thing\n");
    commit(&lab, "Too much");
    lab.agile(&["push"])
        .ends_with(5)
        .complains("cannot build the Python environment from environment.yml")
        .complains("Could not solve for environment specs")
        .complains("micromamba create -y -q -p ");
    assert_eq!(environments(&server).len(), 1);
}

/// A docker engine of its own, which ends with the test however that ends.
struct Docker {
    folder: tempfile::TempDir,
    daemon: std::process::Child,
}

impl Docker {
    /// Nothing where the machine has no engine, or does not let it run.
    fn start() -> Option<Self> {
        let dockerd = [
            "/usr/sbin/dockerd",
            "/usr/bin/dockerd",
            "/usr/local/bin/dockerd",
        ]
        .into_iter()
        .find(|path| Path::new(path).exists());
        let folder = tempfile::Builder::new()
            .prefix("gad-")
            .tempdir_in("/tmp")
            .unwrap();
        let Some(dockerd) = dockerd else {
            eprintln!("skipped: no docker engine");
            return None;
        };
        let script = "cd \"$0\" && \"$1\" --iptables=false --bridge=none --data-root \"$0/data\" --exec-root \"$0/exec\" -H \"unix://$0/docker.sock\" \
                      --pidfile \"$0/pid\" >log 2>&1 & pid=$!; cat >/dev/null; kill $pid; wait $pid; umount \"$0/exec/netns/default\"; rm -rf \"$0\"";
        let daemon = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .arg(folder.path())
            .arg(dockerd)
            .env(
                "PATH",
                "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            )
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let docker = Docker { folder, daemon };
        if !support::holds_within(std::time::Duration::from_secs(20), || {
            docker.run(&["version"]).is_some()
        }) {
            eprintln!(
                "skipped: no docker engine runs here: {}",
                fs::read_to_string(docker.folder.path().join("log")).unwrap_or_default()
            );
            return None;
        }
        Some(docker)
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.path().display())
    }

    /// `docker ARGUMENTS…`; what it printed, if it could do it.
    fn run(&self, arguments: &[&str]) -> Option<String> {
        let output = std::process::Command::new("docker")
            .arg("-H")
            .arg(self.host())
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// An image that holds busybox, with the libraries of one that is not static, and a mark.
    fn image(&self, name: &str) {
        let root = self.folder.path().join("root");
        let make = format!(
            "mkdir -p {0}/bin {0}/tmp {0}/etc && cp /bin/busybox {0}/bin && \
             for n in $(ldd /bin/busybox 2>&1 | grep -o '/[^ ]*'); do mkdir -p {0}${{n%/*}} && cp $n {0}$n; done; \
             for n in sh cat echo env id sleep stat touch mkdir ls; do ln -sf busybox {0}/bin/$n; done \
             && chmod 1777 {0}/tmp && echo 'of busybox' >{0}/etc/mark && tar -C {0} -c . | docker -H {1} import - {name}",
            root.display(),
            self.host()
        );
        let made = std::process::Command::new("/bin/sh")
            .args(["-c", &make])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(self.daemon.stdin.take());
        let _ = self.daemon.wait();
    }
}

#[test]
fn runs_in_containers() {
    let Some(docker) = Docker::start() else {
        return;
    };
    docker.image("lab/busybox:1");
    let (lab, server) = bench(
        "manager = \"docker\"\nimage = \"lab/busybox:1\"",
        &[(
            "work.sh",
            "cat /etc/mark; echo \"n=$AGILE_PARAM_N run=$AGILE_RUN secret=$SECRET in $(pwd)\"; touch made; mkdir -p results; echo 1 >results/x\n\
         echo \"$AGILE_RUN\" >>\"$AGILE_RUN_DIR/inside\"; exit 7\n",
        )],
    );
    server.hide(&["podman"]);
    server.set_rc("export DOCKER_HOST=unix:///nowhere\n");
    lab.agile(&["deploy"])
        .ends_with(5)
        .complains("no container engine");
    server.set_rc(&format!("export DOCKER_HOST={}\n", docker.host()));
    let text = configuration("manager = \"docker\"\nimage = \"lab/busybox:1\"").replace(
        "path = \"~/agile/proj\"\n",
        "path = \"~/agile/proj\"\nenv = { SECRET = \"hush hush\" }\n",
    );
    lab.write("agile.toml", &format!("{text}set = {{ n = \"a 'b'\" }}\n"));
    commit(&lab, "With a parameter");
    lab.agile(&["push"])
        .succeeds()
        .complains("environment built");
    lab.agile(&["wait", "--timeout", "300"]).ends_with(1);
    let log = lab.agile(&["logs", "@"]).stdout.clone();
    let run = server
        .sh("ls -t agile/proj/runs | head -n 1")
        .stdout
        .trim()
        .to_string();
    let folder = base(&server).join("runs").join(&run);
    assert_eq!(
        log,
        format!(
            "of busybox\nn=a 'b' run={run} secret=hush hush in {}/code\n",
            folder.display()
        )
    );
    assert_eq!(fs::read_to_string(folder.join("exit")).unwrap(), "7\n");
    let image = docker.run(&["image", "inspect", "--format", "{{.Id}}", "lab/busybox:1"]);
    let record = lab.agile(&["show", "--json", "@"]).json();
    assert_eq!(record["report"]["image"], image.unwrap().trim());
    assert_eq!(record["report"]["python"], serde_json::Value::Null);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        fs::metadata(folder.join("code/results/x")).unwrap().uid(),
        fs::metadata(server.home()).unwrap().uid()
    );

    // The Dockerfile of a commit, whose runs are stopped with everything in them.
    lab.write(
        "Dockerfile",
        "FROM lab/busybox:1\nCOPY wanted.txt /etc/mark\n",
    );
    lab.write("wanted.txt", "of the commit\n");
    lab.write("agile.toml", &configuration("manager = \"docker\""));
    lab.write(
        "work.sh",
        "cat /etc/mark; (trap '' TERM; sleep 1000) & sleep 1000; echo never\n",
    );
    commit(&lab, "A Dockerfile");
    lab.agile(&["push"])
        .succeeds()
        .complains("environment built");
    // The run's id, and what tells it from the same run in another folder.
    let container = || docker.run(&["ps", "--format", "{{.Names}}"]).unwrap();
    let running = || {
        container()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_string()
    };
    let newest = server
        .sh("ls -t agile/proj/runs | head -n 1")
        .stdout
        .trim()
        .to_string();
    wait_until(20, "the container", || running() == newest);
    wait_until(20, "its words", || {
        lab.agile(&["logs", "@"]).stdout == "of the commit\n"
    });
    let arguments = docker
        .run(&["inspect", "--format", "{{json .Config}}", &container()])
        .unwrap();
    assert!(!arguments.contains("hush"), "{arguments}");
    lab.agile(&["stop", "--yes", "--grace", "1", "@"])
        .succeeds();
    lab.agile(&["wait", "--timeout", "300"]).ends_with(1);
    lab.agile(&["status"]).succeeds().says("stopped");
    assert_eq!(running(), "");

    // Nothing that the image copies has changed: it is there.
    lab.write("work.sh", "cat /etc/mark\n");
    assert!(run_of(&lab, "Another command").contains("of the commit"));
    assert_eq!(environments(&server).len(), 2);

    // A container whose client is killed does not outlive its run.
    lab.write("work.sh", "echo begun; sleep 1000\n");
    commit(&lab, "Long");
    lab.agile(&["push"]).succeeds();
    let newest = server
        .sh("ls -t agile/proj/runs | head -n 1")
        .stdout
        .trim()
        .to_string();
    wait_until(20, "the container", || running() == newest);
    let program =
        fs::read_to_string(base(&server).join("runs").join(&newest).join("program")).unwrap();
    server
        .sh(&format!("kill -9 {}", program.split(' ').nth(1).unwrap()))
        .succeeds();
    lab.agile(&["wait", "--timeout", "300"]).ends_with(1);
    assert_eq!(running(), "");

    lab.write("Dockerfile", "FROM lab/busybox:1\nRUN exit 3\n");
    commit(&lab, "A build that fails");
    lab.agile(&["push"])
        .ends_with(5)
        .complains("box: cannot build the image from Dockerfile")
        .complains("docker build -t git-agile:");
    lab.write(
        "agile.toml",
        &configuration("manager = \"docker\"\nimage = \"lab/none:2\""),
    );
    commit(&lab, "No such image");
    lab.agile(&["push"])
        .ends_with(5)
        .explains(
            "box: cannot use the image lab/none:2",
            "correct `image` in agile.toml",
        )
        .complains("pull lab/none:2");
}
