//! How a script is called and how its answer is read.
//!
//! A call is the scripts' text, functions only, and a last line `agile_call NONCE FUNCTION ARGUMENT… NONCE`. The
//! answer is, after whatever the login shell prints:
//!
//! ```text
//! NONCE alive                  at once, and every five seconds
//! NONCE progress TEXT          any number, live
//! NONCE begin
//! FIELD<TAB>FIELD…             the answer's lines
//! NONCE end CKSUM BYTES        POSIX cksum of the lines between, and their number of bytes
//! ```
//!
//! or `NONCE raw` and then bytes to the end. The nonce is 32 random hexadecimal digits, new for each call.

use std::io;
use std::time::Duration;

use crc::{CRC_32_CKSUM, Crc};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::time::timeout;

use super::scripts::Script;
pub use crate::model::nonce::Nonce;
use crate::model::shell::{HasNul, quote_bytes};

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 64 << 10;
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 16 << 20;
/// How much of a login shell's chatter is passed over before the answer begins, in bytes.
const MAX_NOISE: usize = 1 << 20;
/// A server that says nothing for so long hangs: its script gives a sign of life every five seconds.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A function of the scripts and its arguments. Without `Debug`: an argument may be a secret.
#[derive(Clone)]
pub struct Call {
    scripts: Vec<Script>,
    presets: Vec<(&'static str, String)>,
    more: Vec<Script>,
    function: &'static str,
    args: Vec<Vec<u8>>,
}

fn texts(scripts: &[Script]) -> Vec<u8> {
    let texts = scripts.iter().map(|script| script.text());
    texts.collect::<String>().into_bytes()
}

impl Call {
    /// A call of `function`, which `scripts` define, without arguments.
    pub fn new(scripts: &[Script], function: &'static str) -> Self {
        Call {
            scripts: scripts.to_vec(),
            presets: Vec::new(),
            more: Vec::new(),
            function,
            args: Vec::new(),
        }
    }

    /// The same call with one more argument, passed on byte for byte.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.push(arg.as_ref().to_vec());
        self
    }

    /// The same call with a variable of the scripts that has this value from the start.
    #[must_use]
    pub fn preset(mut self, name: &'static str, value: String) -> Self {
        self.presets.push((name, value));
        self
    }

    /// The same call with more scripts, which are not part of the opening.
    #[must_use]
    pub fn with(mut self, scripts: &[Script]) -> Self {
        self.more.extend(scripts);
        self
    }

    /// The text for `sh -s`: the opening and the line.
    ///
    /// # Errors
    /// [`HasNul`] when an argument holds a NUL.
    pub fn text(&self, nonce: &Nonce) -> Result<Vec<u8>, HasNul> {
        Ok([self.opening()?, self.line(nonce)?].concat())
    }

    /// What a shell can read before the call is made: the scripts and the variables. It does nothing.
    ///
    /// # Errors
    /// [`HasNul`] when a variable holds a NUL.
    pub fn opening(&self) -> Result<Vec<u8>, HasNul> {
        let mut text = texts(&self.scripts);
        for (name, value) in &self.presets {
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(&quote_bytes(value.as_bytes())?);
            text.push(b'\n');
        }
        Ok(text)
    }

    /// What makes the call: the other scripts, and a line.
    ///
    /// # Errors
    /// [`HasNul`] when an argument holds a NUL.
    pub fn line(&self, nonce: &Nonce) -> Result<Vec<u8>, HasNul> {
        let mut text = texts(&self.more);
        text.extend(self.line_for("agile_call", nonce)?);
        Ok(text)
    }

    /// The line that runs the function beside what the shell reads next, without an answer.
    ///
    /// # Errors
    /// As [`Call::line`].
    pub fn meanwhile(&self, nonce: &Nonce) -> Result<Vec<u8>, HasNul> {
        self.line_for("agile_meanwhile", nonce)
    }

    fn line_for(&self, caller: &str, nonce: &Nonce) -> Result<Vec<u8>, HasNul> {
        let mut text = format!("{caller} {} {}", nonce.as_str(), self.function).into_bytes();
        for arg in &self.args {
            text.push(b' ');
            text.extend_from_slice(&quote_bytes(arg)?);
        }
        text.extend_from_slice(format!(" {}\n", nonce.as_str()).as_bytes());
        Ok(text)
    }
}

/// The lines of a complete answer, each split into its fields.
pub type Answer = Vec<Vec<String>>;

/// Why an answer does not count.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The script never spoke.
    #[error("no answer")]
    Silent {
        /// What came instead, cleaned by whoever prints it.
        noise: String,
    },
    /// The connection ended in the middle.
    #[error("the answer was cut off")]
    Cut,
    /// What came is not what was sent, or too much.
    #[error("the answer is damaged: {0}")]
    Damaged(&'static str),
    /// The server has stopped speaking.
    #[error("no answer for 30 seconds")]
    Stalled,
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What begins after a login shell's chatter.
enum Opening {
    Framed,
    Raw,
}

/// Reads a framed answer, giving each progress text to `progress`.
///
/// # Errors
/// [`Broken`]; then nothing that was said counts.
pub async fn read_answer<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    nonce: &Nonce,
    progress: impl FnMut(&str),
) -> Result<Answer, Broken> {
    let answer = read_answer_and_noise(reader, nonce, progress).await?;
    Ok(answer.0)
}

/// Reads a framed answer as [`read_answer`] does, and the beginning of what stood before it.
///
/// # Errors
/// As [`read_answer`].
pub async fn read_answer_and_noise<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    nonce: &Nonce,
    mut progress: impl FnMut(&str),
) -> Result<(Answer, String), Broken> {
    let mut noise = Vec::new();
    match read_opening(reader, nonce, &mut progress, &mut noise).await? {
        Opening::Framed => {
            let answer = read_frame(reader, nonce).await?;
            Ok((answer, String::from_utf8_lossy(&noise).into_owned()))
        }
        Opening::Raw => Err(Broken::Damaged("raw bytes where lines were due")),
    }
}

/// Reads up to where raw bytes begin; what follows in `reader` is the answer. A framed answer instead says why
/// there are none.
///
/// # Errors
/// [`Broken`] when neither begins.
pub async fn read_raw_opening<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    nonce: &Nonce,
) -> Result<Option<Answer>, Broken> {
    match read_opening(reader, nonce, &mut |_| {}, &mut Vec::new()).await? {
        Opening::Raw => Ok(None),
        Opening::Framed => read_frame(reader, nonce).await.map(Some),
    }
}

async fn read_opening<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    nonce: &Nonce,
    progress: &mut impl FnMut(&str),
    noise: &mut Vec<u8>,
) -> Result<Opening, Broken> {
    let (mut skipped, mut has_spoken) = (0, false);
    loop {
        let Some(line) = read_line(reader).await? else {
            if has_spoken {
                return Err(Broken::Cut);
            }
            let noise = String::from_utf8_lossy(noise).into_owned();
            return Err(Broken::Silent { noise });
        };
        // A login shell may leave text without a line feed before our first line.
        let text = String::from_utf8_lossy(&line);
        let Some((before, word)) = text.split_once(nonce.as_str()) else {
            skipped += line.len() + 1;
            if skipped > MAX_NOISE {
                return Err(Broken::Damaged("endless text before the answer"));
            }
            if noise.len() < 2048 {
                noise.extend_from_slice(&line);
                noise.push(b'\n');
            }
            continue;
        };
        has_spoken = true;
        noise.extend_from_slice(before.as_bytes());
        match word {
            " begin" => return Ok(Opening::Framed),
            " raw" => return Ok(Opening::Raw),
            _ => {
                if let Some(text) = word.strip_prefix(" progress ") {
                    progress(text);
                }
            }
        }
    }
}

async fn read_frame<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    nonce: &Nonce,
) -> Result<Answer, Broken> {
    let end = format!("{} end ", nonce.as_str());
    let (mut body, mut answer) = (Vec::new(), Vec::new());
    loop {
        let line = read_line(reader).await?.ok_or(Broken::Cut)?;
        if let Some(sums) = line.strip_prefix(end.as_bytes()) {
            let expected = format!("{} {}", cksum(&body), body.len());
            let is_whole = sums == expected.as_bytes();
            return if is_whole {
                Ok(answer)
            } else {
                Err(Broken::Damaged("its checksum is wrong"))
            };
        }
        if body.len() + line.len() > MAX_ANSWER {
            return Err(Broken::Damaged("more than 16 MiB"));
        }
        body.extend_from_slice(&line);
        body.push(b'\n');
        answer.push(
            String::from_utf8_lossy(&line)
                .split('\t')
                .map(str::to_string)
                .collect(),
        );
    }
}

/// A line without its line feed; nothing at the end of the stream.
async fn read_line<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Option<Vec<u8>>, Broken> {
    let mut line = Vec::new();
    let mut limited = reader.take(MAX_LINE as u64 + 1);
    timeout(SILENCE, limited.read_until(b'\n', &mut line))
        .await
        .map_err(|_| Broken::Stalled)??;
    if line.last() == Some(&b'\n') {
        line.pop();
        Ok(Some(line))
    } else if line.len() > MAX_LINE {
        Err(Broken::Damaged("a line of more than 64 KiB"))
    } else if line.is_empty() {
        Ok(None)
    } else {
        Err(Broken::Cut)
    }
}

/// The checksum of POSIX `cksum`: the CRC of the bytes followed by their number, least significant byte first.
fn cksum(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_CKSUM);
    let mut digest = CRC.digest();
    digest.update(bytes);
    let mut length = bytes.len();
    while length > 0 {
        digest.update(&[(length & 0xff) as u8]);
        length >>= 8;
    }
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::scripts::LIB;

    const NONCE: &str = "0123456789abcdef0123456789abcdef";

    fn read(bytes: &[u8]) -> (Result<Answer, Broken>, Vec<String>) {
        let mut said = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut reader = bytes;
        let nonce = Nonce::known(NONCE);
        let answer = runtime.block_on(read_answer(&mut reader, &nonce, |text| {
            said.push(text.to_string())
        }));
        (answer, said)
    }

    fn whole(body: &str) -> Vec<u8> {
        format!(
            "{NONCE} begin\n{body}{NONCE} end {} {}\n",
            cksum(body.as_bytes()),
            body.len()
        )
        .into_bytes()
    }

    #[test]
    fn a_whole_answer_counts_after_noise() {
        let mut bytes = b"Welcome!\nfortune: ".to_vec();
        bytes.extend_from_slice(format!("{NONCE} progress fetching\n").as_bytes());
        bytes.extend_from_slice(&whole("run\ta\tstarted\nx\n"));
        let (answer, said) = read(&bytes);
        assert_eq!(answer.unwrap(), [vec!["run", "a", "started"], vec!["x"]]);
        assert_eq!(said, ["fetching"]);
    }

    #[test]
    fn nothing_less_counts() {
        let bytes = whole("run\ta\tstarted\n");
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).0.is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(read(&flipped).0.is_err(), "flipped at {at}");
        }
        assert!(matches!(
            read(&vec![b'x'; 3 << 20]).0,
            Err(Broken::Damaged(_))
        ));
        assert!(matches!(
            read(&b"x\n".repeat(1 << 20)).0,
            Err(Broken::Damaged(_))
        ));
    }

    #[test]
    fn cksum_is_that_of_posix() {
        let output = std::process::Command::new("sh")
            .args(["-c", "printf 'hello world' | cksum"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            format!("{} 11", cksum(b"hello world"))
        );
        assert_eq!(cksum(b""), 4_294_967_295);
    }

    #[test]
    fn a_cut_call_runs_nothing() {
        let nonce = Nonce::known(NONCE);
        let text = Call::new(&[LIB], "echo").arg("it's").text(&nonce).unwrap();
        let run = |text: &[u8]| {
            use std::io::Write;
            use std::process::{Command, Stdio};
            let mut child = Command::new("sh")
                .arg("-s")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let _ = child.stdin.take().unwrap().write_all(text);
            child.wait_with_output().unwrap().stdout
        };
        let said = String::from_utf8(run(&text)).unwrap();
        assert!(said.starts_with(&format!("{NONCE} alive\nit's ")), "{said}");
        // Without its last line feed alone the call is still whole.
        for end in (0..text.len() - 1)
            .rev()
            .take(200)
            .chain((0..text.len() - 200).step_by(61))
        {
            assert_eq!(run(&text[..end]), b"", "cut at {end}");
        }
    }
}
