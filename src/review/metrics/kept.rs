//! Metrics that were read before, kept as they are in memory: a thousand files of text take a while to read again.
//!
//! What is kept is one file for each run. It begins with what it was made from, the files with their stamps, and ends
//! with a sum of all; where either is not right the file counts for nothing, and can be lost without harm.

use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::folder::{Found, Stamp};
use super::find::Source;
use super::{Curve, Curves, Damaged, Log, Metrics};

/// Changes whenever what is read from the same bytes may be another thing.
const FORMAT: &str = concat!("metrics 3 ", env!("CARGO_PKG_VERSION"), "\n");
/// Less than that, in bytes, is read again as fast.
const WORTH: u64 = 8 << 10;
/// A file that changed so shortly ago, in nanoseconds, may change again and look the same.
const RECENT: i64 = 2_000_000_000;

/// What metrics are made from: all that decides what reading gives.
pub(super) struct Key {
    bytes: Vec<u8>,
    is_worth: bool,
}

impl Key {
    /// Of these files as they are, `now` being so many nanoseconds since 1970.
    pub fn of(files: &[(Source, Found)], now: i64) -> Self {
        let mut to = Writer(FORMAT.as_bytes().to_vec());
        let (mut size, mut newest) = (0, i64::MIN);
        for (source, found) in files {
            to.bytes(source.path.as_bytes());
            to.number(u64::from(source.is_named));
            match found {
                Found::Plain(stamp) => {
                    let Stamp {
                        size: bytes,
                        mtime,
                        ctime,
                        inode,
                    } = *stamp;
                    let times = [mtime as u64, ctime as u64];
                    [bytes, inode]
                        .iter()
                        .chain(&times)
                        .for_each(|n| to.number(*n));
                    size += bytes;
                    newest = newest.max(ctime).max(mtime);
                }
                _ => to.number(u64::MAX),
            }
        }
        Key {
            bytes: to.0,
            is_worth: size >= WORTH && newest < now.saturating_sub(RECENT),
        }
    }
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |time| time.as_nanos() as i64)
}

/// The metrics in `file` that were made from what `key` says; nothing when there are none.
pub(super) fn load(file: &Path, key: &Key) -> Option<Metrics> {
    if !key.is_worth {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    let (content, end) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
    if sum(content).to_le_bytes() != end {
        return None;
    }
    let mut from = Reader(content);
    if from.bytes()? != key.bytes {
        return None;
    }
    let mut metrics = Metrics::default();
    for _ in 0..from.number()? {
        let (path, why) = (from.text()?, from.text()?);
        metrics.damaged.push(Damaged { path, why });
    }
    for _ in 0..from.number()? {
        metrics.logs.push(Log {
            path: from.text()?,
            stem: usize::try_from(from.number()?).ok()?,
            curves: from.curves()?,
        });
    }
    Some(metrics)
}

/// Keeps `metrics` in `file`, if that is worth it. Without room, or where nobody may write, they are read again.
pub(super) fn store(file: &Path, key: &Key, metrics: &Metrics) {
    if !key.is_worth {
        return;
    }
    let mut to = Writer(Vec::new());
    to.bytes(&key.bytes);
    to.number(metrics.damaged.len() as u64);
    for Damaged { path, why } in &metrics.damaged {
        to.bytes(path.as_bytes());
        to.bytes(why.as_bytes());
    }
    to.number(metrics.logs.len() as u64);
    for log in &metrics.logs {
        to.bytes(log.path.as_bytes());
        to.number(log.stem as u64);
        to.curves(&log.curves);
    }
    let end = sum(&to.0);
    to.number(end);
    let write = || -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut part = tempfile::NamedTempFile::new_in(folder)?;
        part.write_all(&to.0)?;
        part.persist(file)?;
        Ok(())
    };
    let _ = write();
}

/// Against a file that a power cut has left with holes, not against an enemy: who can write here can write anything.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|byte| u64::from(*byte));
    words.chain(rest).fold(bytes.len() as u64, |sum, word| {
        (sum.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn numbers(&mut self, numbers: &[f64]) {
        self.number(numbers.len() as u64);
        self.0
            .extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    /// The curves of one file mostly have the same steps; those are written once.
    fn curves(&mut self, curves: &Curves) {
        self.number(curves.len() as u64);
        let mut before: Option<&[f64]> = None;
        let is_same = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        for (name, curve) in curves {
            self.bytes(name.as_bytes());
            self.bytes(curve.axis.as_bytes());
            let is_known = before.is_some_and(|before| is_same(before, &curve.steps));
            self.number(u64::from(is_known));
            if !is_known {
                self.numbers(&curve.steps);
            }
            self.numbers(&curve.values);
            before = Some(&curve.steps);
        }
    }
}

/// Gives nothing at the first thing that cannot be.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn curves(&mut self) -> Option<Curves> {
        let (mut curves, mut steps) = (Curves::new(), Vec::new());
        for _ in 0..self.number()? {
            let (name, axis) = (self.text()?, self.text()?);
            if self.number()? == 0 {
                steps = self.numbers()?;
            }
            let curve = Curve {
                axis,
                steps: steps.clone(),
                values: self.numbers()?,
            };
            curves.insert(name, curve);
        }
        Some(curves)
    }

    fn numbers(&mut self) -> Option<Vec<f64>> {
        let length = usize::try_from(self.number()?).ok()?.checked_mul(8)?;
        let (words, _) = self.take(length)?.as_chunks::<8>();
        Some(words.iter().map(|word| f64::from_le_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Folder, files, find, read, read_kept};
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_read_as_long_as_that_stands() {
        let folder = tempfile::tempdir().unwrap();
        let (run, kept) = (folder.path().join("run"), folder.path().join("kept/run"));
        std::fs::create_dir(&run).unwrap();
        let names = ["m.csv".to_string()];
        let write = |last: &str| {
            let rows: String = (0..1000).map(|i| format!("{i},0.{i},nan\n")).collect();
            let text = format!("step,loss,\"a, b\"\n{rows}7,{last},-inf\nodd\n");
            std::fs::write(run.join("m.csv"), text).unwrap();
        };
        let later = || {
            let top = Folder::open(&run).unwrap();
            let files = files(&top, find::find(&top, &run, &names).0);
            Key::of(&files, now() + 2 * RECENT)
        };
        // NaN is not equal to itself, but its text is.
        let text = |metrics: &Metrics| format!("{metrics:?}");

        write("0.5");
        let first = read(&run, &names);
        assert_eq!((first.logs[0].curves.len(), first.damaged.len()), (2, 1));
        assert!(text(&read_kept(&run, &names, Some(&kept))) == text(&first));
        assert!(!kept.exists(), "what has just been written may change");
        store(&kept, &later(), &first);
        let loaded = load(&kept, &later()).unwrap();
        assert!(text(&loaded) == text(&first));

        let good = std::fs::read(&kept).unwrap();
        for at in (0..good.len()).step_by(997).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&kept, &bad).unwrap();
            assert!(load(&kept, &later()).is_none(), "{at}");
            std::fs::write(&kept, &good[..at]).unwrap();
            assert!(load(&kept, &later()).is_none(), "cut at {at}");
        }
        std::fs::write(&kept, &good).unwrap();
        assert!(load(&kept, &later()).is_some());
        write("0.4");
        assert!(load(&kept, &later()).is_none(), "the file is another one");
    }
}
