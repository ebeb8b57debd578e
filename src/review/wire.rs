//! The format in which a server lists and sends results, and its reader.
//!
//! `answer.py`, `list.py` and `send.py` in this folder write it. An answer is, after anything that start-up files print:
//!
//! ```text
//! git-agile-results 3 MODE NONCE
//! …frames…
//! ```
//!
//! A frame is `raw N` and N bytes, or `deflate N M` or `zstd N M` and N bytes that become M: they continue one stream
//! of RFC 1951 or RFC 8878 that all frames of the kind make together. N and M are at most 1 MiB. What the frames hold,
//! one after the other, is
//!
//! ```text
//! …lines, and after a `data` or `whole` line its bytes…
//! end NONCE LINES SHA256
//! ```
//!
//! NONCE is the one that this side chose, LINES the number of lines between the two and SHA256 the digest of
//! their bytes, line feeds included. The bytes after a `data` or `whole` line belong to neither: the digest of the file
//! covers them. Without the `end` line the answer is cut, and nothing about it counts as done.
//!
//! A line is ASCII words with one space between them, at most 64 KiB. Numbers are decimal; in a PATH or TEXT
//! each byte that is not printable ASCII, and `%`, is written `%XX`.
//!
//! `manifest`, for each run in the order asked for:
//!
//! ```text
//! run ID                                       ID names the list: SHA-256 of every path and a NUL
//! same                                         all is as in the STATE that was given; nothing else of the run follows
//! folder PATH                                  an empty folder
//! refused REASON PATH                          never sent; REASON is one of `Reason::from_word`
//! file INDEX SIZE REAL MTIME x|- SHA256 PATH   MTIME in ns since 1970; INDEX is what `send` calls it; REAL bytes
//!                                              of SIZE are no holes
//! name SIZE REAL PATH                          instead of `file` where contents were asked for; about REAL
//! state RUN STATE                              may be given back the next time; RUN counts the runs from 0
//! failed TEXT                                  the run could not be listed (`many`: too many files, `gone`: it is not there)
//! ```
//!
//! Where contents were asked for, after all runs, for each `name` of those runs:
//!
//! ```text
//! contents                                     here they begin
//! whole MTIME x|- SHA256 SIZE                  SIZE bytes follow, at most 1 MiB
//! file SIZE REAL MTIME x|- SHA256              as in `send`, lines up to `done` or `gone` follow
//! refused REASON
//! state RUN STATE                              after the last of a run
//! ```
//!
//! `send`, for each file asked for, in that order:
//!
//! ```text
//! file RUN INDEX OFFSET                        the first OFFSET bytes are here
//! data N                                       N bytes follow, at most 1 MiB; repeated
//! zero N                                       N zero bytes, which do not follow; repeated
//! done | gone                                  the end | it cannot be read any more
//! failed RUN TEXT                              nothing of this run can be sent
//! ```

use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::digest::Digest;
use crate::error::{Context as _, Error, Result};
use crate::model::nonce::Nonce;

/// The longest line in bytes.
const LINE: usize = 64 << 10;
/// The most that start-up files may print before the answer, in bytes.
const NOISE: usize = 1 << 20;
/// The most that may follow one `data` line, in bytes.
pub(super) const DATA: u64 = 1 << 20;

/// The most bytes in one frame, and that one may become.
const FRAME: usize = 1 << 20;
/// The largest window of zstd, as a power of two: it is held in memory.
const WINDOW: u32 = 23;

/// The lines of one answer, read within bounds; the end is checked.
pub(super) struct Answer<R> {
    frames: Frames<R>,
    nonce: Nonce,
    digest: Sha256,
    lines: u64,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Answer<R> {
    /// Reads up to the first line of the answer to `mode`.
    pub async fn open(stream: R, mode: &str, nonce: &Nonce) -> Result<Self> {
        let mut stream = BufReader::with_capacity(256 << 10, stream);
        let first = format!("git-agile-results 3 {mode} {nonce}");
        let (mut noise, mut line) = (0, Vec::new());
        loop {
            let whole = read_line(&mut stream, &mut line).await?;
            if whole && line == first.as_bytes() {
                return Ok(Answer {
                    frames: Frames::new(stream),
                    nonce: nonce.clone(),
                    digest: Sha256::new(),
                    lines: 0,
                    line: Vec::new(),
                });
            }
            noise += line.len() + 1;
            if noise > NOISE {
                return Err(damaged("it prints without end before the answer"));
            }
        }
    }

    /// The next line, or nothing after an `end` line that fits what was read.
    pub async fn next(&mut self) -> Result<Option<&[u8]>> {
        if !self.read_line().await? {
            return Err(damaged("a line is longer than 64 KiB"));
        }
        if let Some(rest) = self.line.strip_prefix(b"end ") {
            let digest = Digest(self.digest.clone().finalize().into());
            let expected = format!("{} {} {digest}", self.nonce, self.lines);
            return match rest == expected.as_bytes() {
                true => Ok(None),
                false => Err(damaged("its end does not fit what came before")),
            };
        }
        self.digest.update(&self.line);
        self.digest.update(b"\n");
        self.lines += 1;
        Ok(Some(&self.line))
    }

    /// The `count` bytes after a `data` line.
    pub async fn data(&mut self, count: u64) -> Result<Vec<u8>> {
        if count > DATA {
            return Err(damaged("a block is larger than 1 MiB"));
        }
        let mut block = Vec::with_capacity(count as usize);
        while block.len() < count as usize {
            let piece = self.frames.fill().await?;
            let taken = piece.len().min(count as usize - block.len());
            block.extend_from_slice(&piece[..taken]);
            self.frames.consume(taken);
        }
        Ok(block)
    }

    /// Reads a line without its line feed into `self.line`; false when it is longer than a line may be.
    async fn read_line(&mut self) -> Result<bool> {
        self.line.clear();
        loop {
            let buffer = self.frames.fill().await?;
            let (taken, end) = take_line(buffer, &mut self.line);
            self.frames.consume(taken);
            if let Some(fits) = end {
                return Ok(fits);
            }
        }
    }
}

/// The bytes in the frames of an answer.
struct Frames<R> {
    stream: BufReader<R>,
    inflate: Decompress,
    zstd: Option<Decoder<'static>>,
    head: Vec<u8>,
    packed: Vec<u8>,
    /// Bytes that the frames up to here held, and how many of them are taken.
    plain: Vec<u8>,
    taken: usize,
    /// Bytes of a raw frame that are still to be read.
    rest: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    fn new(stream: BufReader<R>) -> Self {
        Frames {
            stream,
            inflate: Decompress::new(false),
            zstd: None,
            head: Vec::new(),
            packed: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            rest: 0,
        }
    }

    /// At least one byte that has not been taken.
    async fn fill(&mut self) -> Result<&[u8]> {
        while self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
            if self.rest == 0 {
                self.frame().await?;
            }
            self.raw().await?;
        }
        Ok(&self.plain[self.taken..])
    }

    fn consume(&mut self, count: usize) {
        self.taken += count;
    }

    async fn frame(&mut self) -> Result<()> {
        let odd = || damaged("a frame makes no sense");
        if !read_line(&mut self.stream, &mut self.head).await? {
            return Err(odd());
        }
        let words: Vec<&[u8]> = self.head.split(|&b| b == b' ').collect();
        let size = |word: &[u8]| number::<usize>(word).filter(|size| (1..=FRAME).contains(size));
        match words[..] {
            [b"raw", count] => {
                self.rest = size(count).ok_or_else(odd)?;
                Ok(())
            }
            [kind @ (b"deflate" | b"zstd"), packed, plain] => {
                let is_zstd = kind == b"zstd";
                let (packed, plain) = (size(packed).ok_or_else(odd)?, size(plain).ok_or_else(odd)?);
                self.packed.resize(packed, 0);
                let read = self.stream.read_exact(&mut self.packed).await;
                read.map_err(|_| cut())?;
                let unpacked = match is_zstd {
                    true => self.unpack(plain).is_some(),
                    false => self.inflate(plain),
                };
                unpacked.then_some(()).ok_or_else(odd)
            }
            _ => Err(odd()),
        }
    }

    /// What has come of a raw frame: good even where the rest of it does not come.
    async fn raw(&mut self) -> Result<()> {
        if self.rest > 0 {
            let piece = self.stream.fill_buf().await.or_step(failed)?;
            let come = piece.len().min(self.rest);
            if come == 0 {
                return Err(cut());
            }
            self.plain.extend_from_slice(&piece[..come]);
            self.stream.consume(come);
            self.rest -= come;
        }
        Ok(())
    }

    /// As [`Frames::inflate`], with zstd.
    fn unpack(&mut self, size: usize) -> Option<()> {
        if self.zstd.is_none() {
            let mut fresh = Decoder::new().ok()?;
            fresh.set_parameter(DParameter::WindowLogMax(WINDOW)).ok()?;
            self.zstd = Some(fresh);
        }
        let zstd = self.zstd.as_mut()?;
        // One byte more, so that a frame that holds more shows.
        self.plain.resize(size + 1, 0);
        let (mut read, mut written) = (0, 0);
        loop {
            let (packed, room) = (&self.packed[read..], &mut self.plain[written..]);
            let step = zstd.run_on_buffers(packed, room).ok()?;
            (read, written) = (read + step.bytes_read, written + step.bytes_written);
            if step.bytes_read == 0 && step.bytes_written == 0 {
                break;
            }
        }
        self.plain.truncate(written);
        (read == self.packed.len() && written == size).then_some(())
    }

    /// Makes `self.plain` of `self.packed`; false when that does not give exactly `size` bytes.
    fn inflate(&mut self, size: usize) -> bool {
        // One byte more, so that a frame that holds more shows.
        self.plain.reserve(size + 1);
        let before = self.inflate.total_in();
        let done =
            self.inflate
                .decompress_vec(&self.packed, &mut self.plain, FlushDecompress::Sync);
        let all_in = self.inflate.total_in() - before == self.packed.len() as u64;
        matches!(done, Ok(Status::Ok)) && all_in && self.plain.len() == size
    }
}

/// Reads a line without its line feed; false when it is longer than a line may be, and then only a piece of it was
/// taken.
async fn read_line<R: AsyncRead + Unpin>(
    stream: &mut BufReader<R>,
    line: &mut Vec<u8>,
) -> Result<bool> {
    line.clear();
    loop {
        let buffer = stream.fill_buf().await.or_step(failed)?;
        if buffer.is_empty() {
            return Err(cut());
        }
        let (taken, end) = take_line(buffer, line);
        stream.consume(taken);
        if let Some(fits) = end {
            return Ok(fits);
        }
    }
}

/// Moves what `buffer` has of a line into `line`: how many bytes were taken, and, at its end or where it grows too
/// long, whether it fits.
fn take_line(buffer: &[u8], line: &mut Vec<u8>) -> (usize, Option<bool>) {
    let feed = memchr::memchr(b'\n', buffer);
    let piece = &buffer[..feed.unwrap_or(buffer.len())];
    let room = LINE - line.len();
    line.extend_from_slice(&piece[..piece.len().min(room)]);
    let fits = piece.len() <= room;
    let taken = piece.len() + usize::from(feed.is_some());
    (taken, (!fits || feed.is_some()).then_some(fits))
}

fn failed() -> String {
    "the connection failed while results arrived".to_string()
}

/// The error for an answer that ends too early.
pub(super) fn cut() -> Error {
    Error::step("the server's answer ended too early")
        .hint("run the command again: what is complete is kept")
}

/// The error for an answer that breaks the format.
pub(super) fn damaged(why: &str) -> Error {
    Error::step("the server's answer about results is not valid").cause(why)
}

/// A PATH or TEXT word for any bytes, one to one.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'%' => out.push_str("%25"),
            b'!'..=b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The bytes that a PATH or TEXT word stands for.
pub(super) fn decode(word: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.iter();
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let high = (*bytes.next()? as char).to_digit(16)?;
                let low = (*bytes.next()? as char).to_digit(16)?;
                (high * 16 + low) as u8
            }
            b'!'..=b'~' => byte,
            _ => return None,
        });
    }
    Some(out)
}

/// A decimal number as the servers write it: digits, after `-` where `T` has a sign.
pub(super) fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    match digits.first()?.is_ascii_digit() {
        true => std::str::from_utf8(word).ok()?.parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_strictly() {
        assert_eq!(decode(b"a%0Ab%ff%25").as_deref(), Some(&b"a\nb\xff%"[..]));
        assert_eq!(encode(b"a\nb\xff%"), "a%0Ab%FF%25");
        for word in [&b"%"[..], b"%0", b"%0g", b"a b", b"\x1b", b"\xff", b"%+1"] {
            assert_eq!(decode(word), None);
        }
        assert_eq!(number::<u64>(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number::<i64>(b"-5"), Some(-5));
        for word in [
            &b""[..],
            b"+1",
            b"-1",
            b"1 ",
            b"0x1",
            b"18446744073709551616",
        ] {
            assert_eq!(number::<u64>(word), None);
        }
    }
}
