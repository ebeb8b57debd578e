//! The pre-commit hook: the requirements of what is being committed become part of it.
//!
//! Everything is computed from the index that git named. Only the requirements file is changed: as a blob in that
//! index (for `git commit PATH` in the real index too, else the file would be staged as a revert), and in the work
//! tree only where nobody is editing it. No stash, no checkout: an edit that is not staged is never touched.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use git2::{Index, IndexEntry, IndexTime, Oid};

use super::repository::Repository;
use super::requirements::{Project, blob_id, is_python};
use super::tracked::{Source, ask_git, work_file};
use crate::cli::Context;
use crate::error::{Context as _, Error, Result};
use crate::requirements::Hook;
use crate::requirements::document::Document;
use crate::requirements::findings::unhashed;
use crate::requirements::needs::Class;
use crate::requirements::plan::{Plan, Target};

/// Runs the hook for the commit at hand.
///
/// # Errors
/// [`Kind::Check`](crate::error::Kind::Check) when the commit must not be made: with `hook = "check"` and a file
/// that is not up to date, or when a person is editing the file; [`Kind::Config`](crate::error::Kind::Config) when
/// settings or index cannot be read.
pub fn pre_commit(ctx: &Context) -> Result<()> {
    let repository = ctx.repository()?;
    if is_busy(repository.git().path()) || !stages_something_relevant(&repository)? {
        return Ok(());
    }
    let mut project = Project::open(&repository, Source::Index)?;
    if project.settings.hook == Hook::Off || is_ignored(&repository, &project) {
        return Ok(());
    }
    let plan = project.plan(&repository)?;
    warn(ctx, &plan);
    let changed: Vec<&Target> = plan
        .targets
        .iter()
        .filter(|target| target.is_changed())
        .collect();
    let unhashed = plan.targets.iter().find_map(unhashed);
    if project.settings.hook == Hook::Check {
        return match (changed.first(), unhashed) {
            (Some(target), _) => Err(refuse(target)),
            (None, Some(found)) => Err(Error::new(
                crate::error::Kind::Check,
                format!("{}: {}", found.place, found.message),
            )
            .hint(found.mend)),
            (None, None) => Ok(()),
        };
    }
    if let Some(found) = unhashed {
        ctx.output
            .warn(&format!("{}: {}", found.place, found.message));
        ctx.output.hint(&found.mend);
    }
    for target in &changed {
        ensure_untouched(&repository, &project, target)?;
    }
    for target in &changed {
        write(&repository, &project, target)?;
    }
    for target in &plan.targets {
        let line = [summary(target), sources(&repository, target)?].concat();
        if !line.is_empty() {
            ctx.output
                .say(&crate::terminal::clean(&format!("{}: {line}", target.path)));
        }
    }
    Ok(())
}

/// The same for hook managers: they stage nothing, and take a file that a hook has changed for a failure. It is written
/// in the work tree, from which they have put away what is not staged.
///
/// # Errors
/// [`Kind::Check`](crate::error::Kind::Check) when there is something to stage; when there is something to mend and only a check is wanted.
pub fn managed(ctx: &Context, only_check: bool) -> Result<()> {
    let repository = ctx.repository()?;
    let mut project = Project::open(&repository, Source::WorkTree)?;
    if project.settings.hook == Hook::Off || is_ignored(&repository, &project) {
        return Ok(());
    }
    let plan = project.plan(&repository)?;
    warn(ctx, &plan);
    // A file that is new is no change to them.
    let is_new = |target: &Target| !target.new.is_empty() && project.entry(&target.path).is_none();
    let targets = plan.targets.iter();
    let (changed, paths): (Vec<&Target>, Vec<&str>) = targets
        .filter(|target| target.is_changed() || is_new(target))
        .map(|target| (target, target.path.as_str()))
        .unzip();
    let Some(first) = changed.first() else {
        return Ok(());
    };
    if only_check || project.settings.hook == Hook::Check {
        return Err(refuse(first));
    }
    let changed: Vec<&Target> = changed.into_iter().filter(|it| it.is_changed()).collect();
    put(&repository, &project, &changed)?;
    for target in changed {
        let line = format!("{}: {}", target.path, summary(target));
        ctx.output.say(&crate::terminal::clean(&line));
    }
    let paths = paths.join(" ");
    Err(Error::new(
        crate::error::Kind::Check,
        format!("not staged yet: {paths}"),
    )
    .hint(format!("git add {paths}, and commit again")))
}

/// What the commit adds to the file that makes pip fetch from elsewhere: a person reads it before it is pushed.
fn sources(repository: &Repository, target: &Target) -> Result<String> {
    if target.is_toml() {
        return Ok(String::new());
    }
    let before = match repository.git().head().ok().and_then(|head| head.target()) {
        Some(head) => repository.file_at(head, &target.path)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let before = Document::parse(&String::from_utf8_lossy(&before));
    let added = Document::parse(&target.new).new_sources(&before);
    if added.is_empty() {
        return Ok(String::new());
    }
    let comma = if target.changes.is_empty() { "" } else { ", " };
    Ok(format!("{comma}this commit adds `{}`", added.join("`, `")))
}

/// Whether a rebase, cherry-pick or revert of several commits is under way: the hook would alter their history.
fn is_busy(git_dir: &Path) -> bool {
    ["rebase-merge", "rebase-apply", "sequencer"]
        .iter()
        .any(|name| git_dir.join(name).exists())
}

/// Whether a file that can change the requirements is staged. By git, which skips what its index knows to be as in HEAD;
/// libgit2 would read every folder. Each change is `:MODE MODE BLOB BLOB STATUS`, NUL, path, NUL.
fn stages_something_relevant(repository: &Repository) -> Result<bool> {
    let raw = [
        "--cached",
        "--raw",
        "-z",
        "--no-renames",
        "--ignore-submodules",
    ];
    let said = ask_git(repository, None, &[&["diff"][..], &raw].concat())?;
    let mut fields = said.split('\0');
    while let (Some(facts), Some(path)) = (fields.next(), fields.next()) {
        let executable = facts.contains("100755");
        if is_declaration(path) || is_python(path, executable) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file by its name says what the project needs.
fn is_declaration(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.ends_with(".txt")
        || matches!(name, "agile.toml" | "pyproject.toml" | "setup.cfg")
        || name.ends_with(".in")
}

/// Whether git ignores the requirements file and does not track it: then it is nobody's to commit.
fn is_ignored(repository: &Repository, project: &Project) -> bool {
    let file = &project.settings.file;
    project.entry(file).is_none() && repository.git().is_path_ignored(file).unwrap_or(false)
}

/// How many imports without a provider a commit is told about.
const MANY: usize = 3;

fn warn(ctx: &Context, plan: &Plan) {
    let problems = plan.needs.problems.iter();
    let unread = problems.filter(|(path, _)| plan.needs.unread.contains(path));
    for (path, problem) in unread.take(MANY) {
        ctx.output.warn(&crate::terminal::clean(&format!(
            "{path}: {}, so nothing is taken for unused",
            problem.message
        )));
    }
    let unresolved = plan.needs.unresolved.iter();
    let required: Vec<_> = unresolved
        .filter(|one| one.used.class == Class::Required)
        .collect();
    for one in required.iter().take(MANY) {
        let place = one
            .used
            .places
            .first()
            .map(|place| format!("{place}: "))
            .unwrap_or_default();
        let (import, reason) = (&one.used.import, &one.reason);
        ctx.output
            .warn(&format!("{place}nothing provides `{import}` ({reason})"));
    }
    if required.len() > MANY {
        let more = required.len() - MANY;
        ctx.output
            .hint(&format!("git agile requirements --check shows {more} more"));
    }
}

fn refuse(target: &Target) -> Error {
    Error::new(
        crate::error::Kind::Check,
        format!(
            "{} does not match the staged code: {}",
            target.path,
            summary(target)
        ),
    )
    .hint("git agile requirements, then git add it; or git commit --no-verify")
}

/// `+requests==2.31, -flask`.
pub fn summary(target: &Target) -> String {
    let words: Vec<_> = target.changes.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// Where the text is remembered that this hook wrote last to the work tree: after a failed `commit -a` the index is
/// rolled back and the file is not.
fn memory(repository: &Repository) -> PathBuf {
    repository.git().path().join("agile-requirements")
}

/// Stops when a person is editing the file.
fn ensure_untouched(repository: &Repository, project: &Project, target: &Target) -> Result<()> {
    let path = &target.path;
    ensure_plain(repository, path)?;
    if is_untouched(repository, project, target)? {
        return Ok(());
    }
    let (where_not, mend) = match is_temporary(&named_index()) {
        true => (
            "in this commit",
            format!("git add {path}, and name it to git commit too"),
        ),
        false => ("staged", format!("git add {path}")),
    };
    let message = format!(
        "{path} has changes that are not {where_not}, and this commit needs: {}",
        summary(target)
    );
    let error = Error::new(crate::error::Kind::Check, message);
    Err(error.hint(format!("{mend}, or git commit --no-verify")))
}

/// Stops where a link or a folder would be replaced.
fn ensure_plain(repository: &Repository, path: &str) -> Result<()> {
    let found = repository.root().join(path).symlink_metadata();
    if found.is_ok_and(|data| !data.is_file()) {
        return Err(Error::config(format!("{path} is not a plain file"))
            .hint("name another `file` in the [requirements] table of agile.toml"));
    }
    Ok(())
}

/// Whether the file in the work tree is as staged, as it is to be, or as the hook left it.
fn is_untouched(repository: &Repository, project: &Project, target: &Target) -> Result<bool> {
    let path = &target.path;
    let Some(here) = work_file(repository.root(), path)? else {
        return Ok(true);
    };
    let id = normalised_id(repository, path, &here)?;
    let is_staged = project.entry(path).is_some_and(|entry| entry.blob == id);
    if is_staged || id == blob_id(target.new.as_bytes())? {
        return Ok(true);
    }
    let last = std::fs::read_to_string(memory(repository)).unwrap_or_default();
    Ok(last.trim() == blob_id(&here)?.to_string())
}

/// Writes `targets` of a plan to the work tree, all or none.
///
/// # Errors
/// [`Kind::Check`](crate::error::Kind::Check) where the plan is that of the index and a file has changes that are not
/// staged; [`Kind::Config`](crate::error::Kind::Config) where it is no plain file; when it cannot be written.
pub fn put(repository: &Repository, project: &Project, targets: &[&Target]) -> Result<()> {
    let is_staged = project.source == Source::Index;
    for target in targets {
        let path = &target.path;
        ensure_plain(repository, path)?;
        if is_staged && !is_untouched(repository, project, target)? {
            let message = format!("{path} has changes that are not staged");
            return Err(Error::new(crate::error::Kind::Check, message).hint(format!(
                "git add {path}, or git agile requirements without --staged"
            )));
        }
    }
    for target in targets {
        match is_staged {
            true => replace_in_work_tree(repository, target)?,
            false => replace(&repository.root().join(&target.path), target.new.as_bytes())?,
        }
    }
    Ok(())
}

/// What git would call the work-tree bytes: with line ends as `.gitattributes` and `core.autocrlf` say.
fn normalised_id(repository: &Repository, path: &str, bytes: &[u8]) -> Result<Oid> {
    let plain = blob_id(bytes)?;
    if !bytes.contains(&b'\r') {
        return Ok(plain);
    }
    let id = repository.git().blob_path(&repository.root().join(path));
    Ok(id.unwrap_or(plain))
}

/// Puts the new text into the work tree and into the commit, in this order: cut between the two, the file in the
/// work tree is known as ours, and the next commit goes on from there.
fn write(repository: &Repository, project: &Project, target: &Target) -> Result<()> {
    let git = repository.git();
    let blob = git
        .blob(target.new.as_bytes())
        .or_step(|| format!("cannot store {}", target.path))?;
    let old = project.entry(&target.path);
    let mode = if old.is_some_and(|entry| entry.executable) {
        0o100_755
    } else {
        0o100_644
    };
    replace_in_work_tree(repository, target)?;
    let Ok(mut index) = git.index() else {
        return stage_by_git(repository, target, blob, mode, old.map(|entry| entry.blob));
    };
    let entry = index_entry(repository, target, blob, mode);
    stage(&mut index, &entry)?;
    // `git commit PATH` commits a temporary index and then keeps `index.lock` as the index.
    let real = git.path().join("index.lock");
    let named = index.path().map(Path::to_path_buf).unwrap_or_default();
    if is_temporary(&named) && real.exists() && !same_file(&named, &real) {
        let mut index =
            Index::open(&real).or_config(|| format!("cannot read {}", real.display()))?;
        let there = index
            .get_path(Path::new(&target.path), 0)
            .map(|entry| entry.id);
        // What a person staged there and is not committing now stays.
        if there == old.map(|entry| entry.blob) {
            stage(&mut index, &entry)?;
        }
    }
    Ok(())
}

/// Stages the new blob by git itself, in the index that it named and, for `git commit PATH`, in the real one.
fn stage_by_git(
    repository: &Repository,
    target: &Target,
    blob: Oid,
    mode: u32,
    old: Option<Oid>,
) -> Result<()> {
    let path = target.path.as_str();
    let entry = format!("{mode:o},{blob},{path}");
    let put = ["update-index", "--add", "--cacheinfo", entry.as_str()];
    ask_git(repository, None, &put)?;
    let named = named_index();
    let real = repository.git().path().join("index.lock");
    if is_temporary(&named) && real.exists() && !same_file(&named, &real) {
        let there = ask_git(
            repository,
            Some(&real),
            &["ls-files", "--stage", "--", path],
        )?;
        let there = there.split(' ').nth(1).map(str::to_string);
        if there == old.map(|id| id.to_string()) {
            ask_git(repository, Some(&real), &put)?;
        }
    }
    ask_git(
        repository,
        None,
        &["update-index", "-q", "--refresh", "--", path],
    )
    .map(drop)
    .or(Ok(()))
}

/// The index that git named to its hook.
fn named_index() -> PathBuf {
    let named = std::env::var_os("GIT_INDEX_FILE");
    named.map(PathBuf::from).unwrap_or_default()
}

/// Whether an index is that of `git commit PATH`: what will be the index when the commit has succeeded.
fn is_temporary(index: &Path) -> bool {
    index.extension().is_some_and(|ending| ending == "lock")
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// The entry for the new blob, with the work-tree file's times, so that git need not read the file again.
fn index_entry(repository: &Repository, target: &Target, blob: Oid, mode: u32) -> IndexEntry {
    let zero = IndexTime::new(0, 0);
    let mut entry = IndexEntry {
        ctime: zero,
        mtime: zero,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id: blob,
        flags: 0,
        flags_extended: 0,
        path: target.path.clone().into_bytes(),
    };
    let file = repository.root().join(&target.path).symlink_metadata();
    let same = work_file(repository.root(), &target.path).ok().flatten();
    if let (Ok(data), true) = (file, same.as_deref() == Some(target.new.as_bytes())) {
        fill_times(&mut entry, &data);
    }
    entry
}

#[cfg(unix)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the index keeps 32 bits of each"
)]
fn fill_times(entry: &mut IndexEntry, data: &std::fs::Metadata) {
    use std::os::unix::fs::MetadataExt as _;
    entry.ctime = IndexTime::new(data.ctime() as i32, data.ctime_nsec() as u32);
    entry.mtime = IndexTime::new(data.mtime() as i32, data.mtime_nsec() as u32);
    entry.dev = data.dev() as u32;
    entry.ino = data.ino() as u32;
    entry.uid = data.uid();
    entry.gid = data.gid();
    entry.file_size = data.size() as u32;
}

#[cfg(not(unix))]
fn fill_times(_: &mut IndexEntry, _: &std::fs::Metadata) {}

fn stage(index: &mut Index, entry: &IndexEntry) -> Result<()> {
    index
        .add(entry)
        .and_then(|()| index.write())
        .or_step(|| format!("cannot stage {}", String::from_utf8_lossy(&entry.path)))
}

fn replace_in_work_tree(repository: &Repository, target: &Target) -> Result<()> {
    let path = repository.root().join(&target.path);
    let old = work_file(repository.root(), &target.path)?.unwrap_or_default();
    // Line ends as they are here: git turns them into the index's.
    let crlf = old.windows(2).any(|pair| pair == b"\r\n") && !target.new.contains("\r\n");
    let text = if crlf {
        target.new.replace('\n', "\r\n")
    } else {
        target.new.clone()
    };
    let id = blob_id(text.as_bytes())?.to_string();
    replace(&memory(repository), format!("{id}\n").as_bytes())?;
    replace(&path, text.as_bytes())
}

/// Replaces a file by a complete one: temporary file beside it, fsync, rename. The mode is kept.
///
/// # Errors
/// [`Kind::Step`](crate::error::Kind::Step) when the folder cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(".agile-")
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        if let Ok(data) = path.metadata() {
            file.as_file().set_permissions(data.permissions())?;
        } else {
            make_readable(file.as_file())?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    written().or_step(|| format!("cannot write {}", path.display()))
}

/// A temporary file is the owner's alone; a new file of a project has the mode that the umask leaves.
#[cfg(unix)]
fn make_readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let old = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(old);
    file.set_permissions(std::fs::Permissions::from_mode(0o666 & !old.bits()))
}

#[cfg(not(unix))]
fn make_readable(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}
