//! Results home: the real program on a server's run folder, the real disk here.

mod review_support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use git_agile::error::Kind;
use git_agile::review::{self, Ask, Digest, Limits, Nonce, Reason};
use proptest::prelude::*;
use proptest::sample;
use review_support::{Lab, RUN, reasons, refused};
use sha2::{Digest as _, Sha256};

#[test]
fn what_the_run_created_or_changed_comes_home() {
    let lab = Lab::new();
    lab.write("config.yaml", "a: 1");
    lab.write("notes.txt", "old");
    lab.launch();
    lab.write("results/metrics.json", "{\"loss\": 0.5}");
    lab.write("results/deep/er/plot.png", [0, 1, 2, 255]);
    lab.write("notes.txt", "new");
    lab.write("__pycache__/train.pyc", "cache");
    lab.write("helper.pyc", "cache");
    lab.write("venv/pyvenv.cfg", "");
    lab.write("venv/lib/x.py", "");
    lab.write("empty.txt", "");
    fs::create_dir(lab.code().join("nothing")).unwrap();
    fs::write(lab.run_folder().join("log"), "epoch 1\n").unwrap();
    let before = lab.outside();

    let report = lab.fetch().unwrap();
    assert_eq!(reasons(&report), []);
    assert_eq!(
        lab.files(),
        [
            "empty.txt",
            "log",
            "notes.txt",
            "results/deep/er/plot.png",
            "results/metrics.json"
        ]
    );
    assert_eq!(lab.read("results/deep/er/plot.png"), [0, 1, 2, 255]);
    assert_eq!(lab.read("log"), b"epoch 1\n");
    assert!(lab.home().join("nothing").is_dir());
    assert_eq!((report.files, report.up_to_date), (5, 0));
    assert_eq!(lab.outside(), before);
}

#[test]
fn a_second_fetch_asks_for_nothing() {
    let lab = Lab::with(&[("a", "1"), ("b", "2")]);
    assert_eq!(lab.fetch().unwrap().files, 2);
    let (plan, there) = lab.prepare(lab.manifest().unwrap()).unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.up_to_date, 2);
    drop(there);
    // One changed file, one transfer of it.
    lab.write("b", "22");
    let report = lab.fetch().unwrap();
    assert_eq!((report.files, report.bytes, report.up_to_date), (1, 2, 1));
    assert_eq!(lab.read("b"), b"22");
    // A lost index costs reading, not a transfer.
    fs::remove_file(lab.index()).unwrap();
    assert_eq!(lab.fetch().unwrap().up_to_date, 2);
    // What was deleted here comes again.
    fs::remove_file(lab.home().join("a")).unwrap();
    assert_eq!(lab.fetch().unwrap().files, 1);
    // What was deleted there stays here.
    fs::remove_file(lab.code().join("a")).unwrap();
    lab.fetch().unwrap();
    assert_eq!(lab.read("a"), b"1");
}

#[test]
fn patterns_choose() {
    let mut lab = Lab::with(&[
        ("results/a/b.txt", "1"),
        ("results/skip/c.txt", "1"),
        ("plots/x.png", "1"),
        ("y.png", "1"),
        ("runs/3/model[1].pt", "1"),
        ("other.txt", "1"),
        ("deep/results/z", "1"),
    ]);
    let mut files = |patterns: &[&str]| {
        lab.patterns = patterns.iter().map(|p| p.to_string()).collect();
        let _ = fs::remove_dir_all(lab.home());
        lab.fetch().unwrap();
        lab.files()
    };
    assert_eq!(
        files(&["results/**"]),
        ["results/a/b.txt", "results/skip/c.txt"]
    );
    assert_eq!(
        files(&["/results"]),
        ["deep/results/z", "results/a/b.txt", "results/skip/c.txt"][1..]
    );
    assert_eq!(files(&["results/"]).len(), 3);
    assert_eq!(files(&["results/**", "!results/skip"]), ["results/a/b.txt"]);
    assert_eq!(files(&["*.png"]), ["plots/x.png", "y.png"]);
    assert_eq!(files(&["/*.png"]), ["y.png"]);
    assert_eq!(files(&["**/*.txt"]).len(), 3);
    assert_eq!(
        files(&["runs/[0-9]/model\\[?\\].pt"]),
        ["runs/3/model[1].pt"]
    );
    assert_eq!(files(&["runs/[!3]/*"]), [] as [&str; 0]);
    assert_eq!(files(&["train.py"]), ["train.py"]);
}

#[test]
fn odd_names_come_byte_for_byte() {
    let lab = Lab::new();
    lab.launch();
    let long = "x".repeat(255);
    let names: [&[u8]; 9] = [
        b"new\nline",
        b"\x1b]0;title\x07",
        b"\xff\xfe\x80",
        b"-rf",
        b" ",
        b"100%25",
        b"a\\b",
        long.as_bytes(),
        b"d\n/\xff/f",
    ];
    for name in names {
        lab.write(name, name);
    }
    let report = lab.fetch().unwrap();
    assert_eq!(reasons(&report), []);
    for name in names {
        assert_eq!(lab.read(name), name, "{}", name.escape_ascii());
    }
    assert_eq!(lab.fetch().unwrap().up_to_date, names.len() as u64);
}

#[test]
fn times_and_the_executable_bit_are_kept() {
    let lab = Lab::with(&[("run.sh", "#!/bin/sh\n"), ("old", "x"), ("ancient", "x")]);
    let path = lab.code().join("run.sh");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4777)).unwrap();
    let when = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    fs::File::open(lab.code().join("old"))
        .unwrap()
        .set_modified(when)
        .unwrap();
    let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1000);
    fs::File::open(lab.code().join("ancient"))
        .unwrap()
        .set_modified(before_1970)
        .unwrap();
    lab.fetch().unwrap();
    let mode = |name: &str| {
        fs::metadata(lab.home().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode("run.sh") & 0o7700, 0o700);
    assert_eq!(mode("old") & 0o7700, 0o600);
    let time = |name: &str| {
        fs::metadata(lab.home().join(name))
            .unwrap()
            .modified()
            .unwrap()
    };
    assert_eq!((time("old"), time("ancient")), (when, before_1970));
}

#[test]
fn only_links_to_results_arrive_as_files() {
    let lab = Lab::new();
    fs::write(lab.temp.path().join("secret"), "key").unwrap();
    fs::create_dir_all(lab.temp.path().join("data")).unwrap();
    symlink(lab.temp.path().join("data"), lab.code().join("mnist")).unwrap();
    lab.launch();
    lab.write("out/model-3.pt", "weights");
    let link = |to: &str, name: &str| symlink(to, lab.code().join(name)).unwrap();
    link("out/model-3.pt", "best.pt");
    link("best.pt", "latest.pt");
    symlink(
        lab.code().join("out/model-3.pt"),
        lab.code().join("absolute.pt"),
    )
    .unwrap();
    link("../../../../secret", "out-of-it");
    link("/etc/passwd", "passwd");
    link("out", "folder");
    link("train.py", "unchanged");
    link("nowhere", "dangling");
    link("loop", "loop");
    link("../log", "thelog");
    fs::write(lab.run_folder().join("log"), "x").unwrap();

    let report = lab.fetch().unwrap();
    assert_eq!(
        lab.files(),
        [
            "absolute.pt",
            "best.pt",
            "latest.pt",
            "log",
            "out/model-3.pt"
        ]
    );
    assert_eq!(lab.read("latest.pt"), b"weights");
    assert!(!lab.home().join("best.pt").is_symlink());
    let links = [
        "dangling",
        "folder",
        "loop",
        "out-of-it",
        "passwd",
        "thelog",
        "unchanged",
    ];
    assert_eq!(
        reasons(&report),
        links.map(|name| (name.to_string(), Reason::Link))
    );
}

#[test]
fn special_files_and_git_folders_are_refused() {
    let lab = Lab::with(&[
        ("fine", "1"),
        ("clone/.git/config", "[core]\nfsmonitor=touch pwned\n"),
        ("odd/.GIT/x", "1"),
        ("short/git~1", "1"),
        ("bare/HEAD", "ref: refs/heads/main\n"),
        ("bare/objects/aa", "1"),
        ("bare/refs/heads/main", "1"),
        ("bare/config", "[core]\n"),
        ("linked/HEAD", "ref: refs/heads/main\n"),
        ("linked/commondir", "../bare2"),
        ("half/HEAD", "kept"),
        ("half/refs/x", "kept"),
    ]);
    let fifo = lab.code().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    let _socket = std::os::unix::net::UnixListener::bind(lab.code().join("sock")).unwrap();
    let device = Command::new("mknod")
        .arg(lab.code().join("null"))
        .args(["c", "1", "3"])
        .output();
    let device = device.unwrap().status.success(); // needs root

    let report = lab.fetch().unwrap();
    assert_eq!(
        lab.files(),
        ["bare/config", "fine", "half/HEAD", "half/refs/x"]
    );
    let is = |path: &str| refused(&report, path);
    assert_eq!(
        (is("pipe"), is("sock")),
        (Some(Reason::Fifo), Some(Reason::Socket))
    );
    assert_eq!(is("null"), device.then_some(Reason::Device));
    for path in ["clone/.git", "odd/.GIT", "short/git~1"] {
        assert_eq!(is(path), Some(Reason::Git), "{path}");
    }
    for path in [
        "bare/HEAD",
        "bare/objects/aa",
        "bare/refs/heads/main",
        "linked/HEAD",
        "linked/commondir",
    ] {
        assert_eq!(is(path), Some(Reason::Repository), "{path}");
    }
}

#[test]
fn a_repository_is_not_put_together_in_two_fetches() {
    let lab = Lab::with(&[("x/HEAD", "ref: refs/heads/main\n")]);
    lab.fetch().unwrap();
    fs::remove_file(lab.code().join("x/HEAD")).unwrap();
    lab.write("x/objects/aa", "1");
    lab.write("x/refs/heads/main", "1");
    let report = lab.fetch().unwrap();
    assert_eq!(refused(&report, "x/objects/aa"), Some(Reason::Repository));
    assert_eq!(lab.files(), ["x/HEAD"]);
}

#[test]
fn large_files_and_fetches_are_refused_unread() {
    let mut lab = Lab::with(&[("a", "1234"), ("b", "1234")]);
    let sparse = fs::File::create(lab.code().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let report = lab.fetch().unwrap();
    assert_eq!(reasons(&report), [("sparse".to_string(), Reason::Large)]);
    lab.limits = Limits {
        total: 7,
        ..Limits::default()
    };
    assert_eq!(lab.fetch().unwrap().up_to_date, 2);
    fs::remove_dir_all(lab.home()).unwrap();
    assert_eq!(lab.fetch().map(|r| r.files).unwrap_err().kind, Kind::Step);
    lab.limits = Limits {
        files: 2,
        ..Limits::default()
    };
    let report = lab.fetch().unwrap();
    assert_eq!(refused(&report, "."), Some(Reason::Many));
}

/// What a file holds and how much of the disk it takes, in bytes.
fn on_disk(path: &std::path::Path) -> (u64, u64) {
    let meta = fs::metadata(path).unwrap();
    (meta.len(), meta.blocks() * 512)
}

#[test]
fn holes_stay_holes() {
    let lab = Lab::with(&[("a", "1")]);
    let sparse = |name: &str, size: u64, at: &[u64]| {
        let file = fs::File::create(lab.code().join(name)).unwrap();
        file.set_len(size).unwrap();
        at.iter()
            .for_each(|at| file.write_all_at(b"data", *at).unwrap());
    };
    sparse("large", 5 << 30, &[0, 4 << 30]);
    sparse("hollow", 1 << 20, &[]);
    sparse("end", 3_000_000, &[2_999_996]);
    lab.write("zeros", vec![0; 3 << 20]);
    let manifest = lab.manifest().unwrap();
    let file = |name: &str| {
        let files = &manifest.runs[0].files;
        files
            .iter()
            .find(|file| file.path.as_bytes() == name.as_bytes())
            .unwrap()
            .clone()
    };
    assert!(file("large").real < 1 << 20, "{:?}", file("large"));
    let (plan, there) = lab.prepare(manifest.clone()).unwrap();
    let nonce = Nonce::fresh().unwrap();
    let bytes = lab.send_bytes(&nonce, &plan);
    assert!(bytes.len() < 1 << 20, "{} bytes were sent", bytes.len());
    let report = lab.receive(&bytes, &nonce, plan, there).unwrap();
    assert_eq!(reasons(&report), []);
    for name in ["large", "hollow", "end", "zeros"] {
        let (size, taken) = on_disk(&lab.home().join(name));
        assert_eq!(size, file(name).size, "{name}");
        assert!(taken < 1 << 20, "{name} takes {taken}");
    }
    let mut data = [0; 4];
    let large = fs::File::open(lab.home().join("large")).unwrap();
    large.read_exact_at(&mut data, 4 << 30).unwrap();
    assert_eq!(&data, b"data");
    assert_eq!(lab.read("end"), fs::read(lab.code().join("end")).unwrap());
    assert_eq!(lab.fetch().unwrap().up_to_date, 5);
}

/// Cut anywhere, a large file goes on where it stopped; what is verified is the whole.
#[test]
fn a_cut_file_is_continued() {
    let lab = Lab::with(&[("small", "1")]);
    let mut content = vec![0; 8 << 20];
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut content)
        .unwrap();
    lab.write("model.pt", &content);
    lab.write("twin.pt", &content);
    let sent = |plan: &review::Plan| {
        let nonce = Nonce::fresh().unwrap();
        let bytes = lab.send_bytes(&nonce, plan);
        (nonce, bytes)
    };
    let whole = 2 * content.len();
    for cut in 1..20 {
        let at = whole * cut / 20;
        let (plan, there) = lab.prepare(lab.manifest().unwrap()).unwrap();
        let (nonce, bytes) = sent(&plan);
        lab.receive(&bytes[..at], &nonce, plan, there).unwrap_err();
        assert!(lab.files().iter().all(|name| name.starts_with(".agile-")
            || lab.read(name) == fs::read(lab.code().join(name)).unwrap()));
        let (plan, there) = lab.prepare(lab.manifest().unwrap()).unwrap();
        let (nonce, bytes) = sent(&plan);
        assert!(
            bytes.len() < whole - at + (600 << 10),
            "{} again after {at}",
            bytes.len()
        );
        let report = lab.receive(&bytes, &nonce, plan, there).unwrap();
        assert_eq!(reasons(&report), []);
        assert_eq!(lab.files(), ["model.pt", "small", "twin.pt"]);
        assert!(lab.read("model.pt") == content && lab.read("twin.pt") == content);
        fs::remove_dir_all(lab.home()).unwrap();
        fs::remove_file(lab.index()).unwrap();
    }
}

#[test]
fn a_damaged_or_old_part_is_not_continued() {
    let lab = Lab::with(&[("model.pt", &"x".repeat(3 << 20))]);
    let cut = || {
        let (plan, there) = lab.prepare(lab.manifest().unwrap()).unwrap();
        let nonce = Nonce::fresh().unwrap();
        let mut bytes = lab.send_bytes(&nonce, &plan);
        bytes.truncate(bytes.len() / 2);
        lab.receive(&bytes, &nonce, plan, there).unwrap_err();
        let part = lab.files().remove(0);
        assert!(
            part.starts_with(".agile-") && part.ends_with(".part"),
            "{part}"
        );
        lab.home().join(part)
    };
    // Damaged on the disk: noticed at the end, and then it begins again.
    let part = cut();
    fs::File::options()
        .write(true)
        .open(&part)
        .unwrap()
        .write_all_at(b"y", 5)
        .unwrap();
    let report = lab.fetch().unwrap();
    assert_eq!(
        reasons(&report),
        [("model.pt".to_string(), Reason::Changed)]
    );
    assert!(lab.files().is_empty());
    assert_eq!(lab.fetch().unwrap().files, 1);
    // The file is another one by now.
    fs::remove_dir_all(lab.home()).unwrap();
    let part = cut();
    lab.write("model.pt", "y".repeat(3 << 20));
    assert_eq!(lab.fetch().unwrap().files, 1);
    assert!(!part.exists() && lab.read("model.pt") == "y".repeat(3 << 20).as_bytes());
    // A link in its place is not followed.
    fs::remove_dir_all(lab.home()).unwrap();
    let part = cut();
    fs::remove_file(&part).unwrap();
    symlink(lab.temp.path().join("decoy"), &part).unwrap();
    let before = lab.outside();
    assert_eq!(lab.fetch().unwrap().files, 1);
    assert_eq!(lab.outside(), before);
}

#[test]
fn a_part_can_be_chosen() {
    let mut lab = Lab::with(&[
        ("a/x.txt", "1"),
        ("a/x.pt", "22"),
        ("b/x.txt", "1"),
        ("b/y.pt", "1"),
    ]);
    fs::write(lab.run_folder().join("log"), "out").unwrap();
    let mut files = |only: &[&str]| {
        lab.only = only.iter().map(|p| p.to_string()).collect();
        let _ = fs::remove_dir_all(lab.home());
        assert_eq!(reasons(&lab.fetch().unwrap()), []);
        lab.files()
    };
    assert_eq!(files(&["*.pt"]), ["a/x.pt", "b/y.pt"]);
    assert_eq!(files(&["a/", "log", "!*.pt"]), ["a/x.txt", "log"]);
    assert_eq!(files(&["*", "!/b"]), ["a/x.pt", "a/x.txt", "log"]);
    assert_eq!(files(&["nothing"]), [] as [&str; 0]);
}

#[test]
fn what_a_running_run_writes_is_left() {
    let mut lab = Lab::with(&[("old", "1"), ("new", "1")]);
    fs::write(lab.run_folder().join("log"), "out").unwrap();
    lab.is_moving = true;
    let an_hour = SystemTime::now() - Duration::from_secs(3600);
    let old = fs::File::options()
        .write(true)
        .open(lab.code().join("old"))
        .unwrap();
    old.set_modified(an_hour).unwrap();
    let report = lab.fetch().unwrap();
    assert_eq!(reasons(&report), [("new".to_string(), Reason::Moving)]);
    assert_eq!(lab.files(), ["log", "old"]);
    lab.is_moving = false;
    assert_eq!(lab.fetch().unwrap().files, 1);
    assert_eq!(lab.files(), ["log", "new", "old"]);
}

#[test]
fn an_edit_here_is_kept() {
    let lab = Lab::with(&[("notes", "server 1")]);
    lab.fetch().unwrap();
    lab.write_home("notes", "mine");
    // The server has nothing new to say about it.
    let report = lab.fetch().unwrap();
    assert_eq!((report.up_to_date, report.beside.len()), (1, 0));
    lab.write("notes", "server 2");
    let report = lab.fetch().unwrap();
    assert_eq!(report.beside[0].1.to_string(), "notes.from-server");
    assert_eq!(
        (lab.read("notes"), lab.read("notes.from-server")),
        (b"mine".to_vec(), b"server 2".to_vec())
    );
    assert_eq!(lab.fetch().unwrap().up_to_date, 1);
    lab.write_home("notes.from-server", "mine too");
    let report = lab.fetch().unwrap();
    assert_eq!(refused(&report, "notes"), Some(Reason::Edited));
    assert_eq!(lab.read("notes.from-server"), b"mine too");
    // An edit that keeps size and time is one all the same.
    let lab = Lab::with(&[("data", "11")]);
    lab.fetch().unwrap();
    let path = lab.home().join("data");
    let when = fs::metadata(&path).unwrap().modified().unwrap();
    lab.write_home("data", "22");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(when)
        .unwrap();
    lab.write("data", "33");
    lab.fetch().unwrap();
    assert_eq!(lab.read("data"), b"22");
}

#[test]
fn an_edit_during_the_transfer_is_kept() {
    let lab = Lab::with(&[("a", "1"), ("b", "1")]);
    let report = lab.fetch_with(|| lab.write_home("a", "mine")).unwrap();
    assert_eq!(reasons(&report), [("a".to_string(), Reason::ChangedHere)]);
    assert_eq!(
        (lab.read("a"), lab.read("b")),
        (b"mine".to_vec(), b"1".to_vec())
    );
}

#[test]
fn links_planted_here_are_not_followed() {
    for early in [true, false] {
        let lab = Lab::with(&[("file", "new"), ("folder/x", "new"), ("fine", "new")]);
        fs::create_dir(lab.temp.path().join("target")).unwrap();
        fs::create_dir_all(lab.home()).unwrap();
        fs::create_dir(lab.code().join("hollow")).unwrap();
        let plant = || {
            symlink(lab.temp.path().join("decoy"), lab.home().join("file")).unwrap();
            symlink(lab.temp.path().join("target"), lab.home().join("folder")).unwrap();
            symlink(
                lab.temp.path().join("target/made"),
                lab.home().join("hollow"),
            )
            .unwrap();
        };
        if early {
            plant();
        }
        let before = lab.outside();
        let report = lab
            .fetch_with(|| {
                if !early {
                    plant()
                }
            })
            .unwrap();
        let file = if early {
            Reason::InTheWay
        } else {
            Reason::ChangedHere
        };
        assert_eq!(refused(&report, "file"), Some(file));
        assert_eq!(refused(&report, "folder/x"), Some(Reason::InTheWay));
        assert_eq!(refused(&report, "hollow"), Some(Reason::InTheWay));
        assert_eq!(lab.outside(), before);
        assert_eq!(lab.read("fine"), b"new");
    }
}

#[test]
fn a_results_folder_that_is_a_link_is_refused() {
    for part in ["results".to_string(), format!("results/{RUN}")] {
        let lab = Lab::with(&[("a", "1")]);
        let target = lab.temp.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::create_dir_all(lab.root().join(&part).parent().unwrap()).unwrap();
        symlink(&target, lab.root().join(&part)).unwrap();
        assert_eq!(lab.fetch().unwrap_err().kind, Kind::Step);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    }
}

#[test]
fn files_that_change_meanwhile() {
    let lab = Lab::with(&[
        ("shrinks", "12345"),
        ("rewritten", "12345"),
        ("gone", "1"),
        ("swapped", "1"),
        ("same", "1"),
    ]);
    let log = lab.run_folder().join("log");
    fs::write(&log, "epoch 1\n").unwrap();
    let report = lab
        .fetch_with(|| {
            lab.write("shrinks", "1");
            lab.write("rewritten", "54321");
            fs::remove_file(lab.code().join("gone")).unwrap();
            fs::remove_file(lab.code().join("swapped")).unwrap();
            symlink("/etc/passwd", lab.code().join("swapped")).unwrap();
            lab.write("appears", "1");
            fs::write(&log, "epoch 1\nepoch 2\n").unwrap();
        })
        .unwrap();
    // A log that only grew arrives as it was when it was listed.
    assert_eq!(lab.files(), ["log", "same"]);
    assert_eq!(lab.read("log"), b"epoch 1\n");
    let expected = [
        ("gone", Reason::Unreadable),
        ("rewritten", Reason::Changed),
        ("shrinks", Reason::Changed),
        ("swapped", Reason::Unreadable),
    ];
    assert_eq!(
        reasons(&report),
        expected.map(|(path, reason)| (path.to_string(), reason))
    );
    assert_eq!(lab.fetch().unwrap().files, 4);
    assert_eq!(lab.read("log"), b"epoch 1\nepoch 2\n");
}

#[test]
fn a_server_that_cannot_write_still_sends() {
    let lab = Lab::with(&[("a", "1"), ("b/c", "2")]);
    // No listing can be kept where a file has the folder's name.
    fs::write(lab.run_folder().join("fetch"), "").unwrap();
    assert_eq!(lab.fetch().unwrap().files, 2);
    lab.write("d", "3");
    let error = lab
        .fetch_with(|| lab.write("aa", "1"))
        .map(|report| reasons(&report));
    assert_eq!(
        error.unwrap(),
        [(
            ".".to_string(),
            Reason::Run("the results changed meanwhile".into())
        )]
    );
}

#[test]
fn the_log_steps_aside() {
    let lab = Lab::with(&[("log/epochs.txt", "1")]);
    fs::write(lab.run_folder().join("log"), "out").unwrap();
    lab.fetch().unwrap();
    assert_eq!(lab.files(), ["log/epochs.txt", "run.log"]);
}

#[test]
fn without_a_launch_or_a_run_it_says_so() {
    let lab = Lab::new();
    fs::write(lab.run_folder().join("log"), "out").unwrap();
    let report = lab.fetch().unwrap();
    assert_eq!(reasons(&report), [(".".to_string(), Reason::NotLaunched)]);
    assert_eq!(lab.files(), ["log"]);
    // A run that was stopped while it waited has nothing.
    fs::create_dir(lab.run_folder().join("stop")).unwrap();
    assert_eq!(reasons(&lab.fetch().unwrap()), []);
    fs::remove_dir_all(lab.run_folder()).unwrap();
    let report = lab.fetch().unwrap();
    assert_eq!(refused(&report, "."), Some(Reason::Gone));
}

#[test]
fn folders_as_deep_as_a_path_is_long_arrive() {
    let lab = Lab::with(&[("fine", "1")]);
    let deep = "d/".repeat(1900) + "x";
    lab.write(&deep, "1");
    let report = lab.fetch().unwrap();
    assert_eq!((report.files, reasons(&report)), (2, vec![]));
    assert_eq!(lab.read(&deep), b"1");
    assert_eq!(lab.fetch().unwrap().up_to_date, 2);
    lab.remove_deep_folders();
}

#[test]
fn folders_deeper_than_any_path_are_refused_and_the_rest_comes() {
    let lab = Lab::with(&[("fine", "1")]);
    let status = Command::new("python3")
        .arg("-c")
        .arg("import os\nfor _ in range(10000): os.mkdir('d'); os.chdir('d')\nopen('x', 'w').close()")
        .current_dir(lab.code())
        .status();
    assert!(status.unwrap().success());
    let report = lab.fetch().unwrap();
    assert_eq!(lab.files(), ["fine"]);
    assert!(report.refused.iter().all(|r| r.reason == Reason::Deep) && report.refused.len() == 1);
    lab.remove_deep_folders();
}

#[test]
fn two_fetches_of_one_run_exclude_each_other() {
    let lab = Lab::with(&[("a", "1")]);
    let first = lab.open().unwrap();
    assert_eq!(lab.open().map(|_| ()).unwrap_err().kind, Kind::Step);
    drop(first);
    assert!(lab.open().is_ok());
}

#[test]
fn many_files_are_hashed_once_on_the_server() {
    let lab = Lab::new();
    lab.launch();
    for i in 0..2500 {
        lab.write(format!("results/{}/{i}.txt", i % 37), format!("{i}"));
    }
    let report = lab.fetch().unwrap();
    assert_eq!((report.files, reasons(&report)), (2500, vec![]));
    assert_eq!(lab.read("results/1/38.txt"), b"38");
    assert_eq!(lab.fetch().unwrap().up_to_date, 2500);
    // No name of ours is left.
    assert!(lab.files().iter().all(|name| !name.contains(".agile-")));
    // A remembered digest is of the file as it was: the list is kept by a time before the hashing.
    let kept = fs::read_dir(lab.run_folder().join("fetch"))
        .unwrap()
        .count();
    assert_eq!(kept, 1);
}

#[test]
fn files_of_every_size_up_to_those_sent_in_parts_come_at_once() {
    let lab = Lab::new();
    lab.launch();
    let sizes = [
        1 << 18,
        1 << 20,
        (1 << 20) - 1,
        (1 << 20) + 1,
        900_000,
        1,
        (1 << 18) - 1,
    ];
    for (kind, unit) in [("noise", None), ("text", Some(b"epoch 1 loss 0.25\n"))] {
        for (i, size) in sizes.iter().enumerate() {
            let mut data = vec![0; *size];
            match unit {
                Some(unit) => data
                    .iter_mut()
                    .zip(unit.iter().cycle())
                    .for_each(|(to, from)| *to = *from),
                None => fs::File::open("/dev/urandom")
                    .unwrap()
                    .read_exact(&mut data)
                    .unwrap(),
            }
            lab.write(format!("results/{kind}-{i}"), data);
        }
    }
    let report = lab.fetch().unwrap();
    assert_eq!((report.files, reasons(&report)), (14, vec![]));
}

#[test]
fn a_remembered_digest_is_not_believed_too_soon() {
    let lab = Lab::with(&[("a", "11")]);
    let path = lab.code().join("a");
    let when = fs::metadata(&path).unwrap().modified().unwrap();
    let sum = |lab: &Lab| -> Digest { lab.manifest().unwrap().runs[0].files[0].sha256 };
    let first = sum(&lab);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(when)
        .unwrap();
    lab.write("a", "22");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(when)
        .unwrap();
    assert_ne!(sum(&lab), first);
}

#[test]
fn noise_around_the_answer_is_skipped() {
    let lab = Lab::with(&[("a", "1")]);
    let nonce = Nonce::fresh().unwrap();
    let (plan, there) = lab.prepare(lab.manifest().unwrap()).unwrap();
    let mut bytes = b"Welcome to box!\n\x1b[31mend 0 0\nlast login without a line feed".to_vec();
    bytes.extend("x".repeat(100_000).into_bytes());
    bytes.extend(lab.send_bytes(&nonce, &plan));
    bytes.extend(b"logout\n");
    assert_eq!(lab.receive(&bytes, &nonce, plan, there).unwrap().files, 1);
    assert_eq!(lab.files(), [OsStr::from_bytes(b"a").to_str().unwrap()]);
}

/// Where nothing has changed, the server says no more than that, and believes nothing that is too new.
#[test]
fn nothing_changed_is_said_in_a_word() {
    let lab = Lab::new();
    lab.launch();
    for i in 0..300 {
        lab.write(format!("results/{i}.txt"), format!("{i}"));
    }
    assert_eq!(lab.fetch().unwrap().files, 300);
    // Changed a moment ago: it may change again without a trace.
    assert_eq!(lab.ask(), Ask::List);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert_eq!(lab.fetch().unwrap().up_to_date, 300);
    let ask = lab.ask();
    assert!(matches!(ask, Ask::Unless(_)), "{ask:?}");
    let (bytes, nonce) = lab.asked(ask);
    assert!(bytes.len() < 400, "{}", bytes.len());
    assert_eq!(lab.take(&bytes, &nonce, ask).unwrap().up_to_date, 300);

    // A change there.
    lab.write("results/7.txt", "8");
    let (bytes, nonce) = lab.asked(ask);
    let report = lab.take(&bytes, &nonce, ask).unwrap();
    assert_eq!((report.files, report.up_to_date), (1, 299));
    assert_eq!(lab.read("results/7.txt"), b"8");
    // A file that is gone there stays here, and is the state from then on.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    fs::remove_file(lab.code().join("results/8.txt")).unwrap();
    assert_eq!(lab.fetch().unwrap().up_to_date, 299);
    assert!(matches!(lab.ask(), Ask::Unless(_)));
    // Something touched or removed here.
    lab.write_home("results/9.txt", "mine");
    assert_eq!((lab.untouched(), lab.ask()), (None, Ask::List));
    assert_eq!(lab.fetch().unwrap().files, 0);
    assert_eq!(lab.read("results/9.txt"), b"mine");
    fs::remove_file(lab.home().join("results/9.txt")).unwrap();
    assert_eq!(lab.ask(), Ask::List);
    assert_eq!(lab.fetch().unwrap().files, 1);
    assert!(matches!(lab.ask(), Ask::Unless(_)));
    // What was refused is said every time.
    symlink("/etc/passwd", lab.code().join("link")).unwrap();
    for _ in 0..2 {
        assert_eq!(refused(&lab.fetch().unwrap(), "link"), Some(Reason::Link));
        assert_eq!(lab.ask(), Ask::List);
    }
}

#[test]
fn what_is_too_large_is_not_sent() {
    let mut lab = Lab::with(&[("fine", "1")]);
    let mut content = vec![0; 100_000];
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut content)
        .unwrap();
    lab.write("large", &content);
    lab.limits.file = 1000;
    let (bytes, nonce) = lab.asked(Ask::Contents);
    assert!(bytes.len() < 2000, "{}", bytes.len());
    let report = lab.take(&bytes, &nonce, Ask::Contents).unwrap();
    assert_eq!(reasons(&report), [("large".to_string(), Reason::Large)]);
    assert_eq!(lab.files(), ["fine"]);
}

/// Zeros count as bytes in a file that is sent whole, and as none in one that is listed.
#[test]
fn what_came_of_a_file_is_used_whatever_counts_as_holes() {
    let lab = Lab::with(&[("a", "1")]);
    lab.fetch().unwrap();
    let mut content = vec![7; 1 << 20];
    content[300_000..].fill(0);
    lab.write("b", &content);
    lab.write("c", &content);
    let sum = lab.manifest().unwrap().runs[0].files[1].sha256;
    for size in [1 << 20, 200_000] {
        lab.write_home(format!(".agile-{sum}.part"), &content[..size]);
        assert_eq!(lab.fetch().unwrap().files, 2);
        for name in ["b", "c"] {
            assert!(lab.read(name) == content);
            fs::remove_file(lab.home().join(name)).unwrap();
        }
    }
}

/// Without libzstd, what every Python has packs.
#[test]
fn a_server_without_zstd_packs_all_the_same() {
    let lab = Lab::with(&[("a.txt", &"text ".repeat(200_000))]);
    let nonce = Nonce::fresh().unwrap();
    let asks = [Ask::Contents];
    let arguments = review::fetch_arguments(&nonce, &lab.sources(), &asks, &lab.limits);
    let without = format!(
        "import sys; sys.modules['ctypes'] = None\n{}",
        review::PROGRAM
    );
    for (program, kind) in [(without.as_str(), "deflate "), (review::PROGRAM, "zstd ")] {
        let out = Command::new("python3")
            .args(["-I", "-S", "-c", program])
            .args(&arguments)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stderr), "");
        let has = |word: &str| memchr::memmem::find(&out.stdout, word.as_bytes()).is_some();
        // Not every system has libzstd.
        assert!(has(kind) || kind == "zstd " && has("deflate "));
        assert!(out.stdout.len() < 100_000);
        let report = lab.take(&out.stdout, &nonce, Ask::Contents).unwrap();
        assert_eq!((report.files, lab.read("a.txt").len()), (1, 1_000_000));
        fs::remove_dir_all(lab.home()).unwrap();
    }
}

/// A small file system in place of the work tree; needs root.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(at)
            .output();
        mount
            .ok()
            .filter(|out| out.status.success())
            .map(|_| SmallDisk(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_said_and_what_is_complete_stays() {
    let lab = Lab::with(&[
        ("a", "1"),
        ("b", &"2".repeat(300_000)),
        ("c", &"3".repeat(300_000)),
    ]);
    let Some(_disk) = SmallDisk::mount(&lab.root()) else {
        return;
    };
    // Said before it starts where it can be known …
    lab.write("d", "4".repeat(2_000_000));
    assert!(lab.fetch().unwrap_err().message.contains("free here"));
    fs::remove_file(lab.code().join("d")).unwrap();
    // … and when it fills up meanwhile.
    let filler = lab.root().join("filler");
    let error = lab
        .fetch_with(|| fs::write(&filler, vec![0; 500_000]).unwrap())
        .unwrap_err();
    assert_eq!(error.kind, Kind::Step);
    assert!(error.hints[0].starts_with("make room"), "{error}");
    assert_eq!(lab.files(), ["a", "b"]);
    fs::remove_file(filler).unwrap();
    assert_eq!(lab.fetch().unwrap().files, 1);
    assert_eq!(lab.files(), ["a", "b", "c"]);
}

/// A file that a run writes between two fetches, and what happens to the first of them.
#[derive(Clone, Debug)]
struct Step {
    name: usize,
    size: usize,
    zeros: bool,
    random: bool,
    /// The connection is cut after this share of the answer.
    cut: f64,
    /// This share of the file lies here already, of a fetch that was killed.
    part: Option<f64>,
}

impl Step {
    fn any() -> impl Strategy<Value = Step> {
        let edges: Vec<usize> = [18, 19, 20, 21].iter().map(|bits| 1 << bits).collect();
        let size = prop_oneof![
            0..200_usize,
            0..3_000_000_usize,
            (sample::select(edges), 0..3_usize).prop_map(|(edge, more)| edge + more - 1),
        ];
        let part = proptest::option::weighted(0.3, 0.0..1.0);
        let kinds = (any::<bool>(), any::<bool>());
        (0..5_usize, size, kinds, 0.0..1.2, part).prop_map(
            |(name, size, (zeros, random), cut, part)| Step {
                name,
                size,
                zeros,
                random,
                cut,
                part,
            },
        )
    }

    fn path(&self) -> &'static str {
        ["a", "b/c", "b/d\n", "e/f/g", "log"][self.name]
    }

    fn content(&self) -> Vec<u8> {
        let mut content = b"epoch 1 loss 0.25\n".repeat(self.size / 18 + 1);
        content.truncate(self.size);
        if self.random {
            let mut noise = fs::File::open("/dev/urandom").unwrap();
            noise.read_exact(&mut content).unwrap();
        }
        if self.zeros {
            content[self.size / 3..].fill(0);
        }
        content
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 64, ..ProptestConfig::default() })]
    #[test]
    fn wherever_it_is_cut_the_next_fetch_brings_everything(
        steps in proptest::collection::vec(Step::any(), 1..10),
    ) {
        let lab = Lab::with(&[]);
        let mut written = BTreeMap::new();
        for step in steps {
            let content = step.content();
            lab.write(step.path(), &content);
            if let Some(share) = step.part {
                let sum = Sha256::digest(&content);
                let part = format!(".agile-{}.part", Digest(sum.into()));
                lab.write_home(part, &content[..(share * content.len() as f64) as usize]);
            }
            written.insert(step.path(), content);
            let ask = lab.ask();
            let (bytes, nonce) = lab.asked(ask);
            let cut = bytes.len().min((step.cut * bytes.len() as f64) as usize);
            let _ = lab.take(&bytes[..cut], &nonce, ask);
            let report = lab.fetch().unwrap();
            prop_assert_eq!(reasons(&report), vec![]);
            for (path, content) in &written {
                prop_assert!(&lab.read(path) == content, "{:?}", path);
            }
            prop_assert!(lab.files().iter().all(|name| !name.contains(".agile-")));
        }
    }
}
