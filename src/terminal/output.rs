//! Writers that know whether a person is looking.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use indicatif::{MultiProgress, ProgressDrawTarget};

use serde::Serialize;

use super::clean;
use super::screen::Screen;
use crate::error::{Error, Kind};

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: data.
    Data,
    /// Standard error: talk.
    Talk,
}

/// How a word is shown where colours are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// A good end.
    Good,
    /// A bad end, or `error:`.
    Bad,
    /// Something to look at, or `hint:`.
    Note,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// The program's output. Cheap to share; progress lines and messages never tear each other.
pub struct Output {
    data_colour: bool,
    talk_colour: bool,
    progress: MultiProgress,
    quiet: bool,
    /// Set where something is shown again and again.
    screen: OnceLock<Option<Screen>>,
}

impl Output {
    /// Looks at the two streams, `NO_COLOR` and `TERM`. With `quiet`, only errors, warnings and data are written.
    pub fn new(quiet: bool, colour: Colour) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let progress = MultiProgress::new();
        if quiet || !io::stderr().is_terminal() {
            progress.set_draw_target(ProgressDrawTarget::hidden());
        }
        // Git has started a pager for us (`pager.agile`), which shows colours.
        let is_paged = std::env::var_os("GIT_PAGER_IN_USE").is_some_and(|value| value == "1");
        let is_coloured = |is_terminal: bool| match colour {
            Colour::Always => !plain,
            Colour::Auto => !plain && is_terminal,
            Colour::Never => false,
        };
        Output {
            data_colour: is_coloured(io::stdout().is_terminal() || is_paged),
            talk_colour: is_coloured(io::stderr().is_terminal()),
            progress,
            quiet,
            screen: OnceLock::new(),
        }
    }

    /// `text` cleaned, and coloured where `stream` goes to a terminal.
    pub fn paint(&self, stream: Stream, style: Style, text: &str) -> String {
        let coloured = match stream {
            Stream::Data => self.data_colour,
            Stream::Talk => self.talk_colour,
        };
        let code = match style {
            Style::Plain => None,
            Style::Good => Some("32"),
            Style::Bad => Some("31"),
            Style::Note => Some("33"),
            Style::Dim => Some("2"),
            Style::Bold => Some("1"),
        };
        match code.filter(|_| coloured) {
            Some(code) => format!("\x1b[{code}m{}\x1b[0m", clean(text)),
            None => clean(text),
        }
    }

    /// A line of data, already cleaned or painted. A reader that has gone away is the end of the command, not an
    /// error: the caller sees [`Kind::Child`] with status 0.
    pub fn data(&self, line: &str) -> Result<(), Error> {
        self.note(line);
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Data as it is, byte for byte.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Error::child(0),
                _ => Error::new(Kind::Step, "cannot write to standard output")
                    .cause(error)
                    .hint("is there space where it is redirected to?"),
            })
    }

    /// What follows is shown in the place of what was written since the last call, or, where no terminal shows it or it has left
    /// the screen, below it and an empty line.
    pub fn show_anew(&self) -> Result<(), Error> {
        let Some(screen) = self.screen.get() else {
            self.screen.get_or_init(Screen::find);
            return Ok(());
        };
        match screen.as_ref().and_then(Screen::take_away) {
            Some(sequence) => self.bytes(sequence.as_bytes()),
            None => self.bytes(b"\n"),
        }
    }

    /// A value as JSON, for a program or a person to read.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::step("cannot write JSON").cause(error))?;
        self.data(&super::clean::clean_json(&text))
    }

    /// A line for the person, already cleaned or painted.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.talk(line);
        }
    }

    /// The first lines of a list, cleaned, and how many more there are; `rest` is the command that shows them.
    pub fn list(&self, lines: &[String], rest: &str) {
        const MOST: usize = 20;
        for line in lines.iter().take(MOST) {
            self.say(&clean(line));
        }
        if lines.len() > MOST {
            self.say(&format!("  … and {} more: {rest}", lines.len() - MOST));
        }
    }

    /// `warning: …`, which `--quiet` does not hide.
    pub fn warn(&self, text: &str) {
        self.talk(&format!(
            "{} {}",
            self.paint(Stream::Talk, Style::Note, "warning:"),
            clean(text)
        ));
    }

    /// `hint: …`.
    pub fn hint(&self, text: &str) {
        self.talk(&format!(
            "{} {}",
            self.paint(Stream::Talk, Style::Note, "hint:"),
            clean(text)
        ));
    }

    /// The error as git would print it; nothing when a child has already said it.
    pub fn error(&self, error: &Error) {
        if error.message.is_empty() {
            return;
        }
        self.talk_lines(Style::Bad, "error:", &error.message);
        for cause in &error.causes {
            self.talk_lines(Style::Dim, "caused by:", cause);
        }
        for hint in &error.hints {
            self.talk_lines(Style::Note, "hint:", hint);
        }
    }

    /// The lines of live progress; hidden where standard error is no terminal.
    pub fn progress(&self) -> &MultiProgress {
        &self.progress
    }

    /// Whether only errors, warnings and data are written.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether data may be coloured.
    pub fn is_colourful(&self) -> bool {
        self.data_colour
    }

    /// Whether a person watches standard error.
    pub fn is_watched(&self) -> bool {
        !self.progress.is_hidden()
    }

    /// Whether a person reads standard output.
    pub fn is_read(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// The columns of the terminal that shows standard output, where one does.
    pub fn width(&self) -> Option<usize> {
        let (_, columns) = console::Term::stdout().size_checked()?;
        Some(usize::from(columns)).filter(|columns| *columns > 0)
    }

    fn note(&self, lines: &str) {
        if let Some(Some(screen)) = self.screen.get() {
            screen.note(lines);
        }
    }

    fn talk_lines(&self, style: Style, label: &str, text: &str) {
        let text = super::clean_lines(text);
        let text = text
            .trim_end()
            .replace('\n', &format!("\n{}", " ".repeat(label.len() + 1)));
        self.talk(&format!(
            "{} {text}",
            self.paint(Stream::Talk, style, label)
        ));
    }

    fn talk(&self, line: &str) {
        // Nobody is left to tell when standard error itself is gone.
        if io::stderr().is_terminal() {
            self.note(line);
        }
        self.progress.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{line}");
        });
    }
}
