//! The format in which a server lists and sends results, and its reader.
//!
//! `list.py` and `send.py` in this folder write it. An answer is, after anything that start-up files print:
//!
//! ```text
//! git-agile-results 1 MODE NONCE
//! …lines, and after a `data` line its bytes…
//! end NONCE LINES SHA256
//! ```
//!
//! NONCE is the one that this side chose, LINES the number of lines between the two and SHA256 the digest of
//! their bytes, line feeds included. The bytes after a `data` line belong to neither: the digest of the file in
//! the manifest covers them. Without the `end` line the answer is cut, and nothing about it counts as done.
//!
//! A line is ASCII words with one space between them, at most 64 KiB. Numbers are decimal; in a PATH or TEXT
//! each byte that is not printable ASCII, and `%`, is written `%XX`.
//!
//! `manifest`, for each run in the order asked for:
//!
//! ```text
//! run ID                                       ID names the list: SHA-256 of every path and a NUL
//! folder PATH                                  an empty folder
//! refused REASON PATH                          never sent; REASON is one of `Reason::from_word`
//! file INDEX SIZE MTIME x|- SHA256 PATH        MTIME in ns since 1970; INDEX is what `send` calls it
//! failed TEXT                                  the run could not be listed (`many`: too many files)
//! ```
//!
//! `send`, for each file asked for, in that order:
//!
//! ```text
//! file RUN INDEX                               RUN counts the runs from 0
//! data N                                       N bytes follow, at most 1 MiB; repeated
//! done | gone                                  the end | it cannot be read any more
//! failed RUN TEXT                              nothing of this run can be sent
//! ```

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::digest::Digest;
use crate::error::{Context as _, Error, Result};
use crate::model::nonce::Nonce;

/// The longest line in bytes.
const LINE: usize = 64 << 10;
/// The most that start-up files may print before the answer, in bytes.
const NOISE: usize = 1 << 20;
/// The most that may follow one `data` line, in bytes.
pub(super) const DATA: u64 = 1 << 20;

/// The lines of one answer, read within bounds; the end is checked.
pub(super) struct Answer<R> {
    stream: BufReader<R>,
    nonce: Nonce,
    digest: Sha256,
    lines: u64,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Answer<R> {
    /// Reads up to the first line of the answer to `mode`.
    pub async fn open(stream: R, mode: &str, nonce: &Nonce) -> Result<Self> {
        let mut answer = Answer {
            stream: BufReader::with_capacity(256 << 10, stream),
            nonce: nonce.clone(),
            digest: Sha256::new(),
            lines: 0,
            line: Vec::new(),
        };
        let first = format!("git-agile-results 1 {mode} {nonce}");
        let mut noise = 0;
        loop {
            let whole = answer.read_line().await?;
            if whole && answer.line == first.as_bytes() {
                return Ok(answer);
            }
            noise += answer.line.len() + 1;
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
        let read = (&mut self.stream).take(count).read_to_end(&mut block).await;
        match read.or_step(|| "the connection failed while results arrived".to_string())? {
            n if n as u64 == count => Ok(block),
            _ => Err(cut()),
        }
    }

    /// Reads a line without its line feed into `self.line`; false when it is longer than a line may be, and then
    /// only a piece of it was taken.
    async fn read_line(&mut self) -> Result<bool> {
        self.line.clear();
        loop {
            let buffer = self.stream.fill_buf().await;
            let buffer =
                buffer.or_step(|| "the connection failed while results arrived".to_string())?;
            if buffer.is_empty() {
                return Err(cut());
            }
            let feed = buffer.iter().position(|&b| b == b'\n');
            let piece = &buffer[..feed.unwrap_or(buffer.len())];
            let room = LINE - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            let (taken, fits) = (
                piece.len() + usize::from(feed.is_some()),
                piece.len() <= room,
            );
            self.stream.consume(taken);
            if !fits || feed.is_some() {
                return Ok(fits);
            }
        }
    }
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
