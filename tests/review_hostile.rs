//! Servers that cut, damage or invent their answers: nothing outside the run's folder changes, and nothing
//! unverified gets a name.

mod review_support;

use std::fs;

use git_agile::error::{Kind, Result};
use git_agile::review::{self, Destination, Limits, Manifest, Nonce, Plan, Reason};
use review_support::{Lab, block_on, reasons};
use sha2::{Digest as _, Sha256};

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn three_files() -> Lab {
    Lab::with(&[
        ("a.txt", "first"),
        ("b/c.txt", "second file"),
        ("d", &"0123456789".repeat(40)),
    ])
}

/// A lab whose answer to `send` is at hand, to be spoilt.
struct Transfer {
    lab: Lab,
    nonce: Nonce,
    answer: Vec<u8>,
    manifest: Manifest,
}

impl Transfer {
    fn new(lab: Lab) -> Self {
        let (nonce, manifest) = (Nonce::fresh().unwrap(), lab.manifest().unwrap());
        let (plan, there) = lab.prepare(manifest.clone()).unwrap();
        drop(there);
        let answer = lab.send_bytes(&nonce, &plan);
        Transfer {
            lab,
            nonce,
            answer,
            manifest,
        }
    }

    /// Receives `bytes` into an empty folder; what has a name afterwards is what the server has.
    fn receive(&self, bytes: &[u8]) -> Result<review::Report> {
        let _ = fs::remove_dir_all(self.lab.home());
        let _ = fs::remove_file(self.lab.index());
        let (plan, there) = self.plan();
        let done = self.lab.receive(bytes, &self.nonce, plan, there);
        for path in self.lab.files() {
            let there = fs::read(self.lab.code().join(&path)).unwrap();
            assert_eq!(self.lab.read(&path), there, "{path} was accepted damaged");
        }
        done
    }

    fn plan(&self) -> (Plan, Vec<Destination>) {
        self.lab.prepare(self.manifest.clone()).unwrap()
    }
}

#[test]
fn a_cut_answer_keeps_what_is_complete() {
    let transfer = Transfer::new(three_files());
    let before = transfer.lab.outside();
    assert_eq!(transfer.receive(&transfer.answer).unwrap().files, 3);
    let mut complete = 0;
    for cut in (0..transfer.answer.len())
        .step_by(64)
        .chain([transfer.answer.len() - 1])
    {
        let error = transfer.receive(&transfer.answer[..cut]).unwrap_err();
        assert_eq!(error.kind, Kind::Step);
        let kept = transfer.lab.files().len();
        assert!(kept >= complete, "after {cut} bytes");
        complete = kept;
        // The next fetch asks for the rest only.
        let (plan, there) = transfer.plan();
        assert_eq!(plan.files as usize, 3 - kept);
        drop(there);
    }
    assert_eq!(complete, 3);
    assert_eq!(transfer.lab.outside(), before);
}

#[test]
fn a_flipped_bit_is_noticed() {
    let transfer = Transfer::new(three_files());
    for at in 1..transfer.answer.len() {
        let mut answer = transfer.answer.clone();
        answer[at] ^= 1 << (at % 8);
        let noticed = match transfer.receive(&answer) {
            Err(_) => true,
            Ok(report) => !report.refused.is_empty(),
        };
        // The last line feed says nothing.
        assert!(noticed || at == answer.len() - 1, "byte {at}");
    }
}

#[test]
fn a_manifest_cut_or_flipped_lists_nothing() {
    let lab = three_files();
    let nonce = Nonce::fresh().unwrap();
    let answer = lab.manifest_bytes(&nonce);
    let read = |bytes: &[u8]| block_on(review::read_manifest(bytes, &nonce, 1, &lab.limits));
    assert_eq!(read(&answer).unwrap().runs[0].files.len(), 3);
    for cut in 0..answer.len() - 1 {
        assert!(read(&answer[..cut]).is_err(), "{cut}");
    }
    for at in 1..answer.len() - 1 {
        let mut answer = answer.clone();
        answer[at] ^= 1 << (at % 8);
        assert!(read(&answer).is_err(), "{at}");
    }
    let other = Nonce::fresh().unwrap();
    let old = block_on(review::read_manifest(
        answer.as_slice(),
        &other,
        1,
        &lab.limits,
    ));
    assert!(old.is_err(), "the answer to another question");
    assert!(
        block_on(review::read_manifest(
            answer.as_slice(),
            &nonce,
            2,
            &lab.limits
        ))
        .is_err()
    );
}

/// An answer that a server could make up, with a proper end.
fn answer(mode: &str, nonce: &Nonce, lines: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = format!("git-agile-results 1 {mode} {nonce}\n").into_bytes();
    let mut sum = Sha256::new();
    for (line, data) in lines {
        sum.update(format!("{line}\n"));
        out.extend(format!("{line}\n").into_bytes());
        out.extend(*data);
    }
    let sum: String = sum.finalize().iter().map(|b| format!("{b:02x}")).collect();
    out.extend(format!("end {nonce} {} {sum}\n", lines.len()).into_bytes());
    out
}

/// A fetch from a server that lists `listed` and then sends `sent`.
fn lie(lab: &Lab, listed: &[&str], sent: &[(&str, &[u8])]) -> Result<review::Report> {
    let nonce = Nonce::fresh()?;
    let run = format!("run {EMPTY}");
    let lines: Vec<(&str, &[u8])> = std::iter::once(run.as_str())
        .chain(listed.iter().copied())
        .map(|line| (line, &b""[..]))
        .collect();
    let bytes = answer("manifest", &nonce, &lines);
    let manifest = block_on(review::read_manifest(
        bytes.as_slice(),
        &nonce,
        1,
        &lab.limits,
    ))?;
    let (plan, there) = lab.prepare(manifest)?;
    lab.receive(&answer("send", &nonce, sent), &nonce, plan, there)
}

#[test]
fn names_that_lead_away_are_refused() {
    let lab = Lab::with(&[]);
    let before = lab.outside();
    let bad = [
        "/etc/cron.d/x",
        "../decoy",
        "a/../../decoy",
        "..",
        ".",
        "a//b",
        "a/",
        "%2e%2e/decoy",
        "a%00b",
        ".git/hooks/x",
        "x/.Git/config",
        ".git%20/config",
        "GIT~1/x",
        ".agile-0.part",
        "%2Fetc/x",
    ];
    let listed: Vec<String> = bad
        .iter()
        .map(|path| format!("file 0 0 0 - {EMPTY} {path}"))
        .collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let report = lie(&lab, &listed, &[]).unwrap();
    assert_eq!(report.refused.len(), bad.len());
    assert!(
        reasons(&report)
            .iter()
            .all(|(_, r)| matches!(r, Reason::Outside | Reason::Git | Reason::Reserved))
    );
    assert!(lab.files().is_empty());
    assert_eq!(lab.outside(), before);
}

#[test]
fn a_listing_that_contradicts_itself() {
    let lab = Lab::with(&[]);
    let file = |index: usize, path: &str| format!("file {index} 0 0 - {EMPTY} {path}");
    let listed = [
        file(0, "a"),
        file(1, "a"),
        file(2, "a/b"),
        file(3, "B"),
        file(4, "b"),
    ];
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let sent: Vec<String> = [0, 3, 4].iter().map(|i| format!("file 0 {i}")).collect();
    let sent: Vec<(&str, &[u8])> = sent
        .iter()
        .flat_map(|f| [(f.as_str(), &b""[..]), ("done", b"")])
        .collect();
    let report = lie(&lab, &listed, &sent).unwrap();
    assert_eq!(
        reasons(&report),
        [("a".into(), Reason::Twice), ("a/b".into(), Reason::Twice)]
    );
    assert_eq!(lab.files(), ["B", "a", "b"]);
}

#[test]
fn a_transfer_that_is_not_what_was_asked_for() {
    let one = format!("file 7 3 0 - {EMPTY} a");
    let lab = Lab::with(&[]);
    let before = lab.outside();
    let begin = ("file 0 7", &b""[..]);
    let cases: [&[(&str, &[u8])]; 14] = [
        &[],
        &[begin],
        &[("file 0 8", b"")],
        &[("file 1 7", b"")],
        &[begin, begin],
        &[("data 3", b"abc")],
        &[("done", b"")],
        &[begin, ("data 4", b"abcd"), ("done", b"")],
        &[begin, ("data 3", b"abc"), ("data 1", b"d"), ("done", b"")],
        &[begin, ("data 9223372036854775808", b"")],
        &[begin, ("data 99999999999999999999999", b"")],
        &[begin, ("data 1048577", b"")],
        &[begin, ("done", b""), begin],
        &[("failed 1 x", b"")],
    ];
    for sent in cases {
        assert_eq!(
            lie(&lab, &[&one], sent).unwrap_err().kind,
            Kind::Step,
            "{sent:?}"
        );
        assert!(lab.files().is_empty());
    }
    // Right in form, wrong in content.
    for sent in [
        &[begin, ("data 3", b"abc"), ("done", b"")][..],
        &[begin, ("done", b"")],
    ] {
        let report = lie(&lab, &[&one], sent).unwrap();
        assert_eq!(reasons(&report), [("a".to_string(), Reason::Changed)]);
        assert!(lab.files().is_empty());
    }
    assert_eq!(lab.outside(), before);
}

#[test]
fn an_answer_without_end_is_given_up() {
    let lab = Lab::with(&[]);
    let nonce = Nonce::fresh().unwrap();
    let head = format!("git-agile-results 1 manifest {nonce}\nrun {EMPTY}\n");
    let read = |head: &str, again: &str| {
        let endless =
            tokio::io::AsyncReadExt::chain(head.as_bytes(), Endless(again.as_bytes().to_vec(), 0));
        let read = review::read_manifest(endless, &nonce, 1, &lab.limits);
        block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), read).await })
    };
    let line = format!("file 0 0 0 - {EMPTY} a\n");
    for (head, again) in [
        ("", "x"),
        ("", "x\n"),
        ("", "\n"),
        (head.as_str(), "x"),
        (head.as_str(), "\n"),
        (head.as_str(), &line),
    ] {
        let ended = read(head, again).expect("it ends in time");
        assert!(ended.is_err(), "{again:?}");
    }
    let many = format!("refused link {}\n", "x".repeat(60_000));
    assert!(read(&head, &many).expect("it ends in time").is_err());
}

/// Gives the same bytes for ever.
struct Endless(Vec<u8>, usize);

impl tokio::io::AsyncRead for Endless {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        while buffer.remaining() > 0 {
            let at = self.1;
            let count = buffer.remaining().min(self.0.len() - at);
            buffer.put_slice(&self.0[at..at + count]);
            self.1 = (at + count) % self.0.len();
        }
        std::task::Poll::Ready(Ok(()))
    }
}

#[test]
fn claimed_sizes_are_counted_not_believed() {
    let lab = Lab::with(&[]);
    let huge = format!("file 0 18446744073709551615 0 - {EMPTY} a");
    let report = lie(&lab, &[&huge], &[]).unwrap();
    assert_eq!(reasons(&report), [("a".to_string(), Reason::Large)]);
    let mut lab = lab;
    lab.limits = Limits {
        file: u64::MAX,
        total: u64::MAX,
        files: 10,
    };
    let error = lie(&lab, &[&huge, &huge.replace(" a", " b")], &[]).unwrap_err();
    assert!(error.message.contains("free here"), "{error}");
}

#[test]
fn two_runs_come_in_one_transfer_and_one_may_fail() {
    let lab = Lab::with(&[]);
    let nonce = Nonce::fresh().unwrap();
    let lines = [
        "run EMPTY",
        "file 0 0 0 - EMPTY a",
        "run EMPTY",
        "run EMPTY",
        "file 0 0 0 - EMPTY a",
    ];
    let lines = lines.map(|line| line.replace("EMPTY", EMPTY));
    let lines: Vec<(&str, &[u8])> = lines.iter().map(|line| (line.as_str(), &b""[..])).collect();
    let bytes = answer("manifest", &nonce, &lines);
    let manifest = block_on(review::read_manifest(
        bytes.as_slice(),
        &nonce,
        3,
        &lab.limits,
    ))
    .unwrap();
    let open = |run: &str| {
        Destination::open(
            &lab.root(),
            run,
            &lab.root().join(format!(".git/agile/{run}")),
        )
        .unwrap()
    };
    let there = vec![open("one"), open("two"), open("three")];
    let (plan, there) = block_on(review::prepare(manifest, there, lab.limits)).unwrap();
    let sent: [(&str, &[u8]); 3] = [
        ("failed 0 gone%20away", b""),
        ("file 2 0", b""),
        ("done", b""),
    ];
    let report = lab
        .receive(&answer("send", &nonce, &sent), &nonce, plan, there)
        .unwrap();
    assert_eq!(
        reasons(&report),
        [(".".to_string(), Reason::Run("gone away".into()))]
    );
    assert!(lab.root().join("results/three/a").is_file());
    assert!(!lab.root().join("results/one/a").exists());
}
