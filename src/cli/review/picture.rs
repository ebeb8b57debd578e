//! `--html`, `--plot` and `--open`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::context::project_name;
use super::super::manners::setting;
use super::super::status::clock;
use super::{Context, Review, ReviewArgs, facts, primary};
use crate::development::git;
use crate::development::records::Record;
use crate::development::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::review::html::Report;
use crate::review::picture::Data;
use crate::review::row::Column;
use crate::terminal::clean;

/// Programs that make a PNG from an SVG, with their arguments before and after the two files.
const CONVERTERS: [(&str, &[&str], Order); 3] = [
    (
        "rsvg-convert",
        &["--zoom=2", "--output"],
        Order::TargetFirst,
    ),
    ("magick", &["-density", "192"], Order::SourceFirst),
    (
        "inkscape",
        &["--export-dpi=192", "--export-type=png", "--export-filename"],
        Order::TargetFirst,
    ),
];

#[derive(Clone, Copy)]
enum Order {
    SourceFirst,
    TargetFirst,
}

/// Writes what is asked for, and shows it.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) where there is nothing to draw, [`Kind::Step`](crate::error::Kind::Step)
/// when a file cannot be written.
pub fn run(
    args: &ReviewArgs,
    ctx: &Context,
    repository: &Repository,
    records: &[Record],
    review: &Review,
) -> Result<()> {
    let rows = &review.rows;
    if rows.is_empty() {
        return Err(
            Error::usage("there are no such runs").hint("git agile status --all lists the runs")
        );
    }
    let counting = review.best.as_ref().map(|(name, _)| name.clone());
    let metric = review.metric.clone().or(counting);
    let metric = metric.or_else(|| primary(rows));
    let log = facts::logarithmic(ctx, repository, records);
    let best = review
        .best
        .as_ref()
        .map(|(name, direction)| (name.as_str(), *direction));
    let data = Data::new(rows, review.keys.clone(), review.spread, best, &log);
    let mut shown = None;
    if let Some(file) = &args.plot {
        draw(&data, metric.as_deref(), review.against.as_ref(), file)?;
        say_written(ctx, file);
        shown = Some(file.clone());
    }
    if args.html.is_some() || args.plot.is_none() {
        let own = || repository.common_dir().join("agile/review.html");
        let file = args.html.clone().unwrap_or_else(own);
        let report = Report {
            project: project_name(repository),
            made: format!(
                "Made {} by git-agile {}",
                clock(super::super::look::now()),
                env!("CARGO_PKG_VERSION")
            ),
            ran: facts::ran(records),
            links: facts::links(repository, records, &file)?,
            failures: facts::failures(repository, records),
            rows,
            metric,
            data,
        };
        write(&file, report.page().as_bytes())?;
        say_written(ctx, &file);
        shown = Some(file);
    }
    match shown.filter(|_| args.open) {
        Some(file) => open(ctx, &file),
        None => Ok(()),
    }
}

fn say_written(ctx: &Context, file: &Path) {
    ctx.output
        .say(&format!("Wrote {}", clean(&file.display().to_string())));
}

fn draw(data: &Data, metric: Option<&str>, against: Option<&Column>, file: &Path) -> Result<()> {
    let kind = file.extension().map(|ending| ending.to_ascii_lowercase());
    let is_png = match kind.as_ref().and_then(|ending| ending.to_str()) {
        Some("svg") => false,
        Some("png") => true,
        _ => {
            let said = format!("{}: a picture is written as .svg or .png", file.display());
            return Err(Error::usage(said).hint("git agile review --plot loss.svg"));
        }
    };
    let svg = metric
        .and_then(|metric| data.alone(metric, against))
        .ok_or_else(|| {
            Error::usage("there is nothing to draw: no curves, and no parameter with two values")
                .hint("git agile review shows what there is")
        })?;
    if !is_png {
        return write(file, svg.as_bytes());
    }
    let mut source = tempfile::Builder::new()
        .suffix(".svg")
        .tempfile()
        .or_step(|| "cannot write a temporary file".into())?;
    source
        .write_all(svg.as_bytes())
        .or_step(|| "cannot write a temporary file".into())?;
    convert(source.path(), file)
}

/// A program of the system makes the PNG: one of our own with fonts would be larger than the rest of git-agile.
fn convert(source: &Path, file: &Path) -> Result<()> {
    let target = tempfile::Builder::new()
        .suffix(".png")
        .tempfile()
        .or_step(|| "cannot write a temporary file".into())?;
    for (program, arguments, order) in CONVERTERS {
        let files = match order {
            Order::SourceFirst => [source, target.path()],
            Order::TargetFirst => [target.path(), source],
        };
        let run = Command::new(program)
            .args(arguments)
            .args(files)
            .stdin(Stdio::null())
            .output();
        let Ok(output) = run else { continue };
        let is_made = target.path().metadata().is_ok_and(|meta| meta.len() > 0);
        if !output.status.success() || !is_made {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(
                Error::step(format!("{program} cannot make a PNG ({})", output.status))
                    .cause(said.trim())
                    .hint("--plot FILE.svg needs no other program"),
            );
        }
        let png = std::fs::read(target.path()).or_step(|| "cannot read the picture".into())?;
        return write(file, &png);
    }
    let names = CONVERTERS.map(|(program, ..)| program).join(", ");
    Err(Error::step(format!(
        "a PNG needs one of these programs, and none is here: {names}"
    ))
    .hint("apt-get install librsvg2-bin (brew install librsvg), or --plot FILE.svg"))
}

/// Writes a file beside its place, and renames it. A device or a pipe is written to: as root, renaming would replace
/// `/dev/null`.
fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    if std::fs::metadata(file).is_ok_and(|meta| !meta.is_file()) {
        return std::fs::write(file, bytes).or_step(cannot);
    }
    std::fs::create_dir_all(folder(file)).or_step(cannot)?;
    let mut part = tempfile::Builder::new()
        .tempfile_in(folder(file))
        .or_step(cannot)?;
    part.write_all(bytes).or_step(cannot)?;
    // As a file of any other program: what the umask leaves.
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let mode = 0o666 & !umask.as_raw_mode();
    #[allow(clippy::useless_conversion)] // its width differs between systems
    let permissions = std::fs::Permissions::from_mode(mode.into());
    part.as_file()
        .set_permissions(permissions)
        .or_step(cannot)?;
    part.as_file().sync_all().or_step(cannot)?;
    part.persist(file)
        .map_err(|error| error.error)
        .or_step(cannot)?;
    Ok(())
}

/// The folder that a file is in.
pub(super) fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Shows a file in the person's browser or viewer: what `web.browser` of git's configuration names, else `$BROWSER`, else
/// what the desktop thinks right.
fn open(ctx: &Context, file: &Path) -> Result<()> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let has_display = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"]
            .iter()
            .any(|name| set(name).is_some());
    let mut ways: Vec<Command> = Vec::new();
    if let Some(tool) = setting("web.browser") {
        let mut command = git::command();
        command.args(["web--browse", "--tool", &tool]).arg(&file);
        ways.push(command);
    } else if let Some(browsers) = set("BROWSER") {
        ways.extend(
            browsers
                .split(':')
                .filter_map(|words| browser(words, &file)),
        );
    } else if has_display {
        let program = if cfg!(target_os = "macos") {
            "open"
        } else {
            "xdg-open"
        };
        let mut command = Command::new(program);
        command.arg(&file).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        ways.push(command);
    } else {
        ctx.output
            .say("There is no display here, and no web.browser (git config) or $BROWSER.");
        ctx.output
            .hint(&format!("open {} where there is one", file.display()));
        return Ok(());
    }
    let mut tried = Vec::new();
    for command in &mut ways {
        let program = command.get_program().to_string_lossy().into_owned();
        match command.status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => tried.push(format!("{program}: {status}")),
            Err(error) => tried.push(format!("{program}: {error}")),
        }
    }
    Err(Error::step("no browser shows it")
        .cause(tried.join("; "))
        .hint(format!("open {} yourself", file.display())))
}

/// One entry of `$BROWSER`: a program, perhaps with arguments, of which `%s` stands for the file.
fn browser(words: &str, file: &Path) -> Option<Command> {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next()?);
    let mut is_placed = false;
    for word in words {
        is_placed |= word == "%s";
        match word {
            "%s" => command.arg(file),
            word => command.arg(word),
        };
    }
    if !is_placed {
        command.arg(file);
    }
    Some(command)
}
