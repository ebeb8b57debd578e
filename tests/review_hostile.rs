//! Servers that cut, damage or invent their answers: nothing outside the run's folder changes, and nothing
//! unverified gets a name.

mod review_support;

use std::fs;

use git_agile::error::{Kind, Result};
use git_agile::review::{self, Ask, Destination, Limits, Manifest, Nonce, Plan, Reason};
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
    let mut out = Vec::new();
    let mut sum = Sha256::new();
    for (line, data) in lines {
        sum.update(format!("{line}\n"));
        out.extend(format!("{line}\n").into_bytes());
        out.extend(*data);
    }
    let sum: String = sum.finalize().iter().map(|b| format!("{b:02x}")).collect();
    out.extend(format!("end {nonce} {} {sum}\n", lines.len()).into_bytes());
    let head = format!("git-agile-results 3 {mode} {nonce}\n").into_bytes();
    let frames = out.chunks(100).map(raw_frame);
    frames.fold(head, |all, frame| [all, frame].concat())
}

fn raw_frame(bytes: &[u8]) -> Vec<u8> {
    [format!("raw {}\n", bytes.len()).as_bytes(), bytes].concat()
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
        .map(|path| format!("file 0 0 0 0 - {EMPTY} {path}"))
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
    let file = |index: usize, path: &str| format!("file {index} 0 0 0 - {EMPTY} {path}");
    let listed = [
        file(0, "a"),
        file(1, "a"),
        file(2, "a/b"),
        file(3, "B"),
        file(4, "b"),
    ];
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let sent: Vec<String> = [0, 3, 4].iter().map(|i| format!("file 0 {i} 0")).collect();
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
    let one = format!("file 7 3 3 0 - {EMPTY} a");
    let lab = Lab::with(&[]);
    let before = lab.outside();
    let begin = ("file 0 7 0", &b""[..]);
    let cases: [&[(&str, &[u8])]; 14] = [
        &[],
        &[begin],
        &[("file 0 8 0", b"")],
        &[("file 1 7 0", b"")],
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
    let begun = format!("git-agile-results 3 manifest {nonce}\n");
    let head = [
        begun.as_bytes(),
        &raw_frame(format!("run {EMPTY}\n").as_bytes()),
    ]
    .concat();
    let read = |head: &[u8], again: &[u8]| {
        let endless = tokio::io::AsyncReadExt::chain(head, Endless(again.to_vec(), 0));
        let read = review::read_manifest(endless, &nonce, 1, &lab.limits);
        block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), read).await })
    };
    let line = format!("file 0 0 0 0 - {EMPTY} a\n");
    for (head, again) in [
        (&b""[..], b"x".to_vec()),
        (b"", b"x\n".to_vec()),
        (b"", b"\n".to_vec()),
        (&head, b"x".to_vec()),
        (&head, b"raw 1\n".to_vec()),
        (&head, raw_frame(b"x")),
        (&head, raw_frame(b"\n")),
        (&head, raw_frame(line.as_bytes())),
        (&head, b"deflate 5 1\n\0\0\0\xff\xff".to_vec()),
    ] {
        let ended = read(head, &again).expect("it ends in time");
        assert!(ended.is_err(), "{again:?}");
    }
    let many = format!("refused link {}\n", "x".repeat(60_000));
    let ended = read(&head, &raw_frame(many.as_bytes())).expect("it ends in time");
    assert!(ended.is_err());
}

/// One frame may become at most 1 MiB, and is what it says or nothing.
#[test]
fn frames_are_counted_not_believed() {
    let lab = Lab::with(&[]);
    let nonce = Nonce::fresh().unwrap();
    let inside = answer("manifest", &nonce, &[(&format!("run {EMPTY}"), b"")]);
    let begun = format!("git-agile-results 3 manifest {nonce}\n").into_bytes();
    let mut plain = Vec::new();
    let mut rest = &inside[begun.len()..];
    while let Some(feed) = rest.iter().position(|&b| b == b'\n') {
        let count: usize = std::str::from_utf8(&rest[4..feed])
            .unwrap()
            .parse()
            .unwrap();
        plain.extend_from_slice(&rest[feed + 1..feed + 1 + count]);
        rest = &rest[feed + 1 + count..];
    }
    let mut packer = flate2::Compress::new(flate2::Compression::fast(), false);
    let mut packed = Vec::with_capacity(10_000);
    packer
        .compress_vec(&plain, &mut packed, flate2::FlushCompress::Sync)
        .unwrap();
    let read = |head: String, body: &[u8]| {
        let bytes = [begun.as_slice(), head.as_bytes(), body].concat();
        block_on(review::read_manifest(
            bytes.as_slice(),
            &nonce,
            1,
            &lab.limits,
        ))
        .is_ok()
    };
    let (small, large) = (packed.len(), plain.len());
    assert!(read(format!("deflate {small} {large}\n"), &packed));
    for head in [
        format!("deflate {small} {}\n", large - 1),
        format!("deflate {small} {}\n", large + 1),
        format!("deflate {} {large}\n", small / 2),
        format!("deflate {small} {}\n", u64::MAX),
        format!("deflate {small} 0\n"),
        format!("deflate {small}\n"),
        format!("raw {}\n", 1u64 << 40),
        "raw 0\n".into(),
        "raw -1\n".into(),
        "\n".into(),
    ] {
        assert!(!read(head.clone(), &packed), "{head}");
    }
    // A bomb.
    let (mut bomb, mut packer) = (
        Vec::with_capacity(1 << 20),
        flate2::Compress::new(flate2::Compression::best(), false),
    );
    packer
        .compress_vec(
            &vec![b'x'; 100 << 20],
            &mut bomb,
            flate2::FlushCompress::Sync,
        )
        .unwrap();
    assert!(!read(
        format!("deflate {} {}\n", bomb.len(), 1 << 20),
        &bomb
    ));
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
    let huge = format!("file 0 18446744073709551615 18446744073709551615 0 - {EMPTY} a");
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
        "file 0 0 0 0 - EMPTY a",
        "run EMPTY",
        "run EMPTY",
        "file 0 0 0 0 - EMPTY a",
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
        ("file 2 0 0", b""),
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

/// A fetch from a server that answers with these lines, when asked for the contents too.
fn offer(lab: &Lab, lines: &[(&str, &[u8])]) -> Result<review::Report> {
    let (nonce, run) = (Nonce::fresh()?, format!("run {EMPTY}"));
    let lines = [&[(run.as_str(), &b""[..])], lines].concat();
    lab.take(&answer("manifest", &nonce, &lines), &nonce, Ask::Contents)
}

#[test]
fn contents_cut_or_flipped_are_not_believed() {
    let lab = three_files();
    let (whole, nonce) = lab.asked(Ask::Contents);
    let before = lab.outside();
    let take = |bytes: &[u8]| {
        let _ = fs::remove_dir_all(lab.home());
        let _ = fs::remove_file(lab.index());
        let _ = fs::remove_file(lab.index().with_extension("state"));
        let done = lab.take(bytes, &nonce, Ask::Contents);
        for path in lab.files() {
            let there = fs::read(lab.code().join(&path)).unwrap();
            assert_eq!(lab.read(&path), there, "{path} was accepted damaged");
        }
        done
    };
    assert_eq!(take(&whole).unwrap().files, 3);
    let mut complete = 0;
    for cut in (0..whole.len()).step_by(64).chain([whole.len() - 1]) {
        assert_eq!(take(&whole[..cut]).unwrap_err().kind, Kind::Step);
        assert!(lab.files().len() >= complete, "{cut}");
        complete = lab.files().len();
        assert!(!lab.index().with_extension("state").exists());
    }
    for at in (1..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        if let Ok(report) = take(&bytes) {
            assert_eq!(report.files + report.refused.len() as u64, 3, "{at}");
        }
    }
    // What was cut is continued in two questions.
    take(&whole[..whole.len() / 2]).unwrap_err();
    assert_eq!(reasons(&lab.fetch().unwrap()), []);
    assert_eq!(lab.files().len(), 3);
    assert_eq!(lab.outside(), before);
}

#[test]
fn contents_that_are_not_what_was_named() {
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let mut lab = Lab::with(&[]);
    let before = lab.outside();
    let name = ("name 3 3 a", &b""[..]);
    let contents = ("contents", &b""[..]);
    let whole = format!("whole 5 - {ABC} 3");
    let whole = (whole.as_str(), &b"abc"[..]);
    let file = format!("file 3 3 5 - {ABC}");
    let file = (file.as_str(), &b""[..]);
    let data = ("data 3", &b"abc"[..]);
    let done = ("done", &b""[..]);
    let state = format!("state 0 {ABC}");
    let state = (state.as_str(), &b""[..]);
    let large = format!("whole 5 - {ABC} 1048577");
    let large_bytes = vec![0; 1_048_577];
    let cases: [&[(&str, &[u8])]; 15] = [
        &[name],
        &[name, whole],
        &[name, contents],
        &[name, contents, whole, whole],
        &[name, contents, file, data],
        &[name, contents, file, data, data, done],
        &[name, contents, file, ("zero 4", b""), done],
        &[name, contents, file, ("data 9223372036854775808", b"")],
        &[name, contents, done],
        &[name, contents, (&large, &large_bytes)],
        &[name, contents, ("refused", b"")],
        &[name, contents, ("refused why", b"")],
        &[name, contents, whole, ("state 1 00", b"")],
        &[("same", b"")],
        &[(&format!("file 0 3 3 0 - {ABC} a"), b""), contents],
    ];
    for lines in cases {
        let error = offer(&lab, lines).map(|report| reasons(&report));
        assert_eq!(error.unwrap_err().kind, Kind::Step, "{lines:?}");
        let _ = fs::remove_dir_all(lab.home());
        let _ = fs::remove_file(lab.index());
        assert!(!lab.index().with_extension("state").exists());
    }
    // What was not asked for.
    for (ask, lines) in [
        (Ask::List, [("same", &b""[..])]),
        (Ask::List, [name]),
        (Ask::List, [contents]),
    ] {
        let (nonce, run) = (Nonce::fresh().unwrap(), format!("run {EMPTY}"));
        let lines = [&[(run.as_str(), &b""[..])], &lines[..]].concat();
        let taken = lab.take(&answer("manifest", &nonce, &lines), &nonce, ask);
        assert_eq!(taken.unwrap_err().kind, Kind::Step);
    }
    // Right in form, wrong in content.
    for lines in [
        &[name, contents, (whole.0, b"abd"), state][..],
        &[name, contents, file, ("data 3", b"abd"), done],
        &[name, contents, file, ("data 2", b"ab"), done],
        &[name, contents, file, ("zero 3", b""), done],
    ] {
        let report = offer(&lab, lines).unwrap();
        assert_eq!(reasons(&report), [("a".to_string(), Reason::Changed)]);
        assert!(lab.files().is_empty() && !lab.index().with_extension("state").exists());
    }
    let report = offer(&lab, &[name, contents, file, data, ("gone", b"")]).unwrap();
    assert_eq!(reasons(&report), [("a".to_string(), Reason::Unreadable)]);
    // More than it was named, and more than may come.
    let text = vec![b'x'; 5000];
    let more = format!("whole 5 - {ABC} 5000");
    lab.limits.file = 4000;
    let report = offer(&lab, &[name, contents, (&more, &text)]).unwrap();
    assert_eq!(reasons(&report), [("a".to_string(), Reason::Large)]);
    lab.limits.total = 4000;
    assert!(offer(&lab, &[name, contents, (&more, &text)]).is_err());
    let _ = fs::remove_dir_all(lab.home());
    // Holes without end, named or not.
    let hollow = 1u64 << 40 | 1;
    let (named, sent) = (
        format!("name {hollow} 0 a"),
        format!("file {hollow} 0 5 - {ABC}"),
    );
    let zero = format!("zero {hollow}");
    lab.limits.file = 1 << 40;
    let error = offer(&lab, &[(&named, b""), contents]).unwrap_err();
    assert!(
        error.message.contains("the holes in the results"),
        "{error}"
    );
    let error = offer(&lab, &[name, contents, (&sent, b""), (&zero, b"")]).unwrap_err();
    assert!(error.message.contains("more than it said"), "{error}");
    let _ = fs::remove_dir_all(lab.home());
    // As it should be.
    lab.limits = Limits::default();
    let report = offer(&lab, &[name, contents, whole, state]).unwrap();
    assert_eq!((report.files, lab.read("a")), (1, b"abc".to_vec()));
    assert_eq!(lab.outside(), before);
}

#[test]
fn contents_of_hostile_names_are_passed_over() {
    let lab = Lab::with(&[]);
    let before = lab.outside();
    let names = [
        "../a",
        "/etc/x",
        ".git/config",
        "HEAD",
        "objects/x",
        "refs/x",
        ".agile-1.part",
        "fine",
        "fine/below",
    ];
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let (whole, file) = (format!("whole 5 x {ABC} 3"), format!("file 3 3 5 x {ABC}"));
    let mut lines: Vec<(String, &[u8])> = Vec::new();
    for name in names {
        lines.push((format!("name 3 3 {name}"), b""));
    }
    lines.push(("contents".into(), b""));
    for index in 0..names.len() {
        match index % 2 {
            0 => lines.push((whole.clone(), b"abc")),
            _ => {
                lines.push((file.clone(), b""));
                lines.push(("data 3".into(), b"abc"));
                lines.push(("done".into(), b""));
            }
        }
    }
    lines.push((format!("state 0 {ABC}"), b""));
    let lines: Vec<(&str, &[u8])> = lines.iter().map(|(l, d)| (l.as_str(), *d)).collect();
    let report = offer(&lab, &lines).unwrap();
    assert_eq!(lab.files(), ["fine"]);
    assert_eq!(report.refused.len(), names.len() - 1);
    assert!(!lab.index().with_extension("state").exists());
    // Nor does it count as fetched when it comes alone.
    assert_eq!(lab.outside(), before);
}
