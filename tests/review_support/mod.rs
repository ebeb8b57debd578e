//! A server's run folder and a work tree, both temporary, with the real Python program between them.
#![allow(dead_code)] // each test file uses a part

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use git_agile::error::Result;
use git_agile::review::{
    self, Ask, Destination, Limits, Manifest, Nonce, Offer, PROGRAM, Plan, Reason, Report, Source,
    Standing,
};
use tempfile::TempDir;

/// A run on a "server", and the work tree its results come home to.
pub struct Lab {
    pub temp: TempDir,
    pub patterns: Vec<String>,
    pub only: Vec<String>,
    pub is_moving: bool,
    pub limits: Limits,
}

pub const RUN: &str = "train-1a2b3c4-0f";

impl Lab {
    /// A run with one file in its checkout, before the launch.
    pub fn new() -> Self {
        let lab = Lab {
            temp: tempfile::tempdir().unwrap(),
            patterns: Vec::new(),
            only: Vec::new(),
            is_moving: false,
            limits: Limits::default(),
        };
        fs::create_dir_all(lab.code()).unwrap();
        fs::create_dir_all(lab.root()).unwrap();
        fs::write(lab.temp.path().join("decoy"), "untouched").unwrap();
        fs::write(lab.root().join("decoy"), "untouched").unwrap();
        lab.write("train.py", "print('hello')\n");
        lab
    }

    /// The same, launched, with these results.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let lab = Lab::new();
        lab.launch();
        files.iter().for_each(|(path, text)| lab.write(path, text));
        lab
    }

    pub fn run_folder(&self) -> PathBuf {
        self.temp.path().join("server/runs").join(RUN)
    }

    pub fn code(&self) -> PathBuf {
        self.run_folder().join("code")
    }

    pub fn root(&self) -> PathBuf {
        self.temp.path().join("work")
    }

    pub fn home(&self) -> PathBuf {
        self.root().join("results").join(RUN)
    }

    pub fn index(&self) -> PathBuf {
        self.root().join(format!(".git/agile/fetched/{RUN}.index"))
    }

    pub fn write(&self, path: impl AsRef<[u8]>, text: impl AsRef<[u8]>) {
        write(&self.code(), path.as_ref(), text.as_ref());
    }

    pub fn write_home(&self, path: impl AsRef<[u8]>, text: impl AsRef<[u8]>) {
        write(&self.home(), path.as_ref(), text.as_ref());
    }

    /// More levels than the temporary folder's own removal may have open files at a time.
    pub fn remove_deep_folders(&self) {
        let mut rm = Command::new("rm");
        let status = rm.arg("-rf").arg(self.code()).arg(self.home()).status();
        assert!(status.unwrap().success());
    }

    /// What the runner does before it starts the experiment.
    pub fn launch(&self) {
        // A file system's clock ticks every few milliseconds; on a server the checkout takes longer than that.
        let probe = self.run_folder().join("probe");
        let tick = |name: &PathBuf| {
            fs::write(name, "").unwrap();
            let meta = fs::metadata(name).unwrap();
            (meta.ctime(), meta.ctime_nsec())
        };
        let before = tick(&probe);
        while tick(&probe) == before {}
        fs::remove_file(probe).unwrap();
        fs::create_dir(self.run_folder().join("started")).unwrap();
    }

    pub fn sources(&self) -> Vec<Source> {
        vec![Source {
            folder: self.run_folder().into(),
            patterns: self.patterns.clone(),
            only: self.only.clone(),
            is_moving: self.is_moving,
        }]
    }

    pub fn manifest_bytes(&self, nonce: &Nonce) -> Vec<u8> {
        ask(&review::manifest_arguments(
            nonce,
            &self.sources(),
            &self.limits,
        ))
    }

    pub fn manifest(&self) -> Result<Manifest> {
        let nonce = Nonce::fresh()?;
        let bytes = self.manifest_bytes(&nonce);
        block_on(review::read_manifest(
            bytes.as_slice(),
            &nonce,
            1,
            &self.limits,
        ))
    }

    pub fn open(&self) -> Result<Destination> {
        Destination::open(&self.root(), RUN, &self.index())
    }

    pub fn prepare(&self, manifest: Manifest) -> Result<(Plan, Vec<Destination>)> {
        block_on(review::prepare(manifest, vec![self.open()?], self.limits))
    }

    pub fn send_bytes(&self, nonce: &Nonce, plan: &Plan) -> Vec<u8> {
        ask(&review::send_arguments(nonce, &self.sources(), plan))
    }

    /// The whole fetch, as the command does it.
    pub fn fetch(&self) -> Result<Report> {
        let ask = self.ask();
        let (bytes, nonce) = self.asked(ask);
        self.take(&bytes, &nonce, ask)
    }

    /// What the command would ask for.
    pub fn ask(&self) -> Ask {
        match Standing::of(&self.root(), RUN, &self.index()) {
            Standing::Nothing => Ask::Contents,
            Standing::Fetched(state) if self.untouched().is_some() => Ask::Unless(state),
            _ => Ask::List,
        }
    }

    pub fn untouched(&self) -> Option<u64> {
        review::untouched(&self.root(), RUN, &self.index())
    }

    /// What the server answers.
    pub fn asked(&self, ask: Ask) -> (Vec<u8>, Nonce) {
        let nonce = Nonce::fresh().unwrap();
        let arguments = review::fetch_arguments(&nonce, &self.sources(), &[ask], &self.limits);
        (self::ask(&arguments), nonce)
    }

    /// What is made of the answer, and of the next one where that is needed.
    pub fn take(&self, bytes: &[u8], nonce: &Nonce, ask: Ask) -> Result<Report> {
        let offer = block_on(Offer::read(bytes, nonce, &[ask], &self.limits))?;
        let (manifest, contents) = offer.split();
        if manifest.runs[0].is_same {
            return Ok(Report {
                up_to_date: self.untouched().unwrap_or_default(),
                ..Report::default()
            });
        }
        let (mut plan, mut there) = self.prepare(manifest)?;
        if let Some(contents) = contents {
            let received = contents.receive(plan, there, &self.limits, |_| ());
            (plan, there) = block_on(received)?;
        }
        self.rest(plan, there)
    }

    /// The whole fetch in two questions; `between` happens after the manifest is read.
    pub fn fetch_with(&self, between: impl FnOnce()) -> Result<Report> {
        let (plan, there) = self.prepare(self.manifest()?)?;
        between();
        self.rest(plan, there)
    }

    fn rest(&self, plan: Plan, there: Vec<Destination>) -> Result<Report> {
        if plan.is_empty() {
            return block_on(review::settle(plan, there));
        }
        let nonce = Nonce::fresh()?;
        let bytes = self.send_bytes(&nonce, &plan);
        self.receive(&bytes, &nonce, plan, there)
    }

    pub fn receive(
        &self,
        bytes: &[u8],
        nonce: &Nonce,
        plan: Plan,
        there: Vec<Destination>,
    ) -> Result<Report> {
        block_on(review::receive(bytes, nonce, plan, there, |_| ()))
    }

    /// Everything outside the run's results, to compare before and after: path → what it is.
    pub fn outside(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = tree(self.temp.path());
        all.retain(|path, _| {
            !path.starts_with(Path::new("work/results").join(RUN))
                && path != Path::new("work/results")
                && !path.starts_with("work/.git")
                && !path.starts_with(Path::new("server/runs").join(RUN).join("fetch"))
        });
        all
    }

    /// What came home: path → content (`/` for a folder).
    pub fn came(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        tree(&self.home())
    }

    /// The files that came home, as text.
    pub fn files(&self) -> Vec<String> {
        let came = self.came().into_iter();
        let files = came.filter(|(_, content)| content != b"/");
        files
            .map(|(path, _)| path.to_string_lossy().into_owned())
            .collect()
    }

    pub fn read(&self, path: impl AsRef<[u8]>) -> Vec<u8> {
        fs::read(self.home().join(OsStr::from_bytes(path.as_ref()))).unwrap_or_default()
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

/// Runs the program as a server does, and gives its standard output.
pub fn ask(arguments: &[OsString]) -> Vec<u8> {
    let mut python = Command::new("python3");
    python.env("LC_ALL", "C");
    let out = python
        .args(["-c", PROGRAM])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    assert!(out.status.success());
    out.stdout
}

pub fn reasons(report: &Report) -> Vec<(String, Reason)> {
    let mut all: Vec<_> = report
        .refused
        .iter()
        .map(|r| {
            (
                String::from_utf8_lossy(&r.path).into_owned(),
                r.reason.clone(),
            )
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

pub fn refused(report: &Report, path: &str) -> Option<Reason> {
    let found = reasons(report).into_iter().find(|(p, _)| p == path);
    found.map(|(_, reason)| reason)
}

fn write(folder: &Path, path: &[u8], text: &[u8]) {
    let path = folder.join(OsStr::from_bytes(path));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn tree(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let content = if kind.is_dir() {
                waiting.push(path.clone());
                b"/".to_vec()
            } else if kind.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_vec()
            } else if kind.is_file() {
                fs::read(&path).unwrap()
            } else {
                b"special".to_vec()
            };
            all.insert(path.strip_prefix(top).unwrap().to_path_buf(), content);
        }
    }
    all
}
