//! What a commit needs beside its own objects: submodules, and files that Git LFS keeps elsewhere.

use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, TreeWalkMode, TreeWalkResult};
use sha2::{Digest, Sha256};

use super::git;
use super::push::{fetch_url, is_scp_like, without_password};
use super::repository::Repository;
use crate::error::{Context as _, Error, Result};
use crate::model::names::{CommitId, RelPath};

/// A submodule of a commit, or of one of its submodules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submodule {
    /// Where it stands in the work tree.
    pub path: RelPath,
    /// Its commit.
    pub commit: CommitId,
    /// Where it is fetched from, without a password.
    pub url: String,
    /// Its clone here, when there is one.
    pub clone: Option<PathBuf>,
}

impl Submodule {
    /// The name of its repository on a server: all submodules of one address share one.
    pub fn name(&self) -> String {
        let digest = Sha256::digest(&self.url);
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// The submodules of `commit`, outer ones first, those in them as far as they are cloned here. Relative addresses are
/// taken from that of the remote `name` (git-submodule(1)); one with `update = none` is left out, as git leaves it out.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) naming the submodule that `.gitmodules` does not describe, or describes
/// in a way that no server is given.
pub fn submodules(repository: &Repository, commit: Oid, name: &str) -> Result<Vec<Submodule>> {
    let mut found = Vec::new();
    let base = || fetch_url(repository, name).unwrap_or_default();
    collect(
        repository.git(),
        repository.root(),
        commit,
        "",
        &base,
        &mut found,
    )?;
    Ok(found)
}

fn collect(
    git: &git2::Repository,
    root: &Path,
    commit: Oid,
    prefix: &str,
    base: &dyn Fn() -> String,
    found: &mut Vec<Submodule>,
) -> Result<()> {
    let links = links(git, commit)?;
    if links.is_empty() {
        return Ok(());
    }
    let described = match has_gitmodules(git, commit) {
        true => gitmodules(root, commit)?,
        false => Vec::new(),
    };
    for (path, id) in links {
        let shown = format!("{prefix}{path}");
        let about = |key: &str| {
            let name = described
                .iter()
                .find(|(name, value)| name.ends_with(".path") && *value == path)
                .map(|(name, _)| name.trim_end_matches(".path"));
            let wanted = format!("{}.{key}", name?);
            described
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value.clone())
        };
        if about("update").as_deref() == Some("none") {
            continue;
        }
        let cannot = || format!("the submodule {shown} cannot be deployed");
        let url = about("url").ok_or_else(|| {
            Error::config(cannot())
                .cause(".gitmodules does not say where it comes from")
                .hint(format!(
                    "git submodule add URL {shown}; or, to have its files in this repository: \
                     git rm --cached {shown}, rm -rf {shown}/.git, git add {shown}; and commit that"
                ))
        })?;
        let url = absolute(&url, base);
        check_address(&url).map_err(|why| Error::config(cannot()).cause(why))?;
        let clone = root.join(&path);
        let inner = git2::Repository::open(&clone).ok();
        found.push(Submodule {
            path: RelPath::new(shown.clone()).or_config(cannot)?,
            commit: CommitId::new(id.to_string()).or_config(cannot)?,
            url: url.clone(),
            clone: inner.as_ref().map(|_| clone.clone()),
        });
        if let Some(inner) = inner.filter(|inner| inner.find_commit(id).is_ok()) {
            collect(
                &inner,
                &clone,
                id,
                &format!("{shown}/"),
                &|| url.clone(),
                found,
            )?;
        }
    }
    Ok(())
}

fn has_gitmodules(git: &git2::Repository, commit: Oid) -> bool {
    let tree = git.find_commit(commit).and_then(|commit| commit.tree());
    tree.is_ok_and(|tree| tree.get_name(".gitmodules").is_some())
}

/// The gitlinks of a commit: path and commit of each.
fn links(git: &git2::Repository, commit: Oid) -> Result<Vec<(String, Oid)>> {
    let mut links = Vec::new();
    let tree = git.find_commit(commit).and_then(|commit| commit.tree());
    let tree = tree.or_config(|| format!("cannot read commit {commit}"))?;
    tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
        if entry.kind() == Some(ObjectType::Commit) {
            let path = [folder.as_bytes(), entry.name_bytes()].concat();
            links.push((String::from_utf8_lossy(&path).into_owned(), entry.id()));
        }
        TreeWalkResult::Ok
    })
    .or_config(|| format!("cannot read commit {commit}"))?;
    Ok(links)
}

/// The names and values of a commit's `.gitmodules` (gitmodules(5)).
fn gitmodules(root: &Path, commit: Oid) -> Result<Vec<(String, String)>> {
    let blob = format!("{commit}:.gitmodules");
    let text = git::read(
        git::command_in(root),
        &["config", "--blob", &blob, "-z", "--list"],
    )
    .map_err(|error| Error::config("cannot read .gitmodules").cause(error))?;
    let entry = |entry: &str| {
        let (name, value) = entry.split_once('\n')?;
        Some((name.to_string(), value.to_string()))
    };
    Ok(text.split('\0').filter_map(entry).collect())
}

/// The address of a submodule; a relative one begins where its parent comes from.
fn absolute(url: &str, base: &dyn Fn() -> String) -> String {
    if !url.starts_with("./") && !url.starts_with("../") {
        return without_password(url);
    }
    let (mut base, mut rest) = (base(), url);
    base.truncate(base.trim_end_matches('/').len());
    loop {
        if let Some(tail) = rest.strip_prefix("./") {
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("../") {
            rest = tail;
            let cut = base.rfind('/').or_else(|| base.rfind(':').map(|at| at + 1));
            base.truncate(cut.unwrap_or(0));
        } else {
            break;
        }
    }
    let joint = if base.ends_with(':') { "" } else { "/" };
    format!("{base}{joint}{rest}")
}

/// Whether a server may be told to fetch from here.
fn check_address(url: &str) -> Result<(), String> {
    if url.starts_with('-') || url.chars().any(char::is_control) || url.contains("::") {
        return Err("its address is not one that servers are given".into());
    }
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("https" | "http" | "ssh" | "git" | "file") => Ok(()),
        None if is_scp_like(url) || url.starts_with('/') => Ok(()),
        _ => Err(format!(
            "its address {url} is not one that servers are given"
        )),
    }
}

/// How a pointer file of Git LFS begins.
pub const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// A content that Git LFS keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LfsFile {
    /// Its SHA-256, 64 hexadecimal digits.
    pub oid: String,
    /// Its length in bytes.
    pub size: u64,
}

impl LfsFile {
    /// What a pointer file of Git LFS stands for (its specification, version 1).
    pub fn from_pointer(text: &[u8]) -> Option<Self> {
        let rest = std::str::from_utf8(text.strip_prefix(POINTER)?).ok()?;
        let value = |key: &str| rest.lines().find_map(|line| line.strip_prefix(key));
        let oid = value("oid sha256:")?;
        let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        let is_sum = oid.len() == 64 && oid.chars().all(is_digit);
        Some(LfsFile {
            oid: is_sum.then(|| oid.to_string())?,
            size: value("size ")?.parse().ok()?,
        })
    }

    /// Where it lies below a folder of Git LFS's.
    pub fn path(&self) -> String {
        let Self { oid, .. } = self;
        format!("objects/{}/{}/{oid}", &oid[..2], &oid[2..4])
    }
}

/// The folder in which Git LFS keeps the contents that are here (git-lfs-config(5), `lfs.storage`).
pub fn lfs_folder(repository: &Repository) -> PathBuf {
    let config = repository.git().config();
    let named = config.and_then(|config| config.get_path("lfs.storage"));
    let folder = named.unwrap_or_else(|_| PathBuf::from("lfs"));
    repository.common_dir().join(folder)
}

/// The contents of files of `commit` that Git LFS keeps, each once.
///
/// # Errors
/// [`Kind::Config`](crate::error::Kind::Config) when the commit cannot be read.
pub fn lfs_files(repository: &Repository, commit: Oid) -> Result<Vec<LfsFile>> {
    const LARGEST: usize = 1024;
    let git = repository.git();
    let cannot = || format!("cannot read commit {commit}");
    let odb = git.odb().or_config(cannot)?;
    let tree = git.find_commit(commit).and_then(|commit| commit.tree());
    let tree = tree.or_config(cannot)?;
    let (mut uses_lfs, mut small) = (false, Vec::new());
    tree.walk(TreeWalkMode::PreOrder, |_, entry| {
        if entry.name_bytes() == b".gitattributes" {
            uses_lfs |= git
                .find_blob(entry.id())
                .is_ok_and(|blob| memchr::memmem::find(blob.content(), b"filter=lfs").is_some());
        } else if entry.kind() == Some(ObjectType::Blob) {
            small.push(entry.id());
        }
        TreeWalkResult::Ok
    })
    .or_config(cannot)?;
    if !uses_lfs {
        return Ok(Vec::new());
    }
    let pointer = |id: &Oid| {
        let (size, _) = odb.read_header(*id).ok()?;
        if size > LARGEST {
            return None;
        }
        LfsFile::from_pointer(odb.read(*id).ok()?.data())
    };
    let mut files: Vec<LfsFile> = small.iter().filter_map(pointer).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_addresses_begin_at_the_parent() {
        for (base, url, expected) in [
            ("origin:proj.git", "../sub.git", "origin:sub.git"),
            ("git@h:me/proj.git", "../sub.git", "git@h:me/sub.git"),
            (
                "git@h:me/proj.git",
                "../../you/sub.git",
                "git@h:you/sub.git",
            ),
            ("https://h/me/proj.git/", "../sub", "https://h/me/sub"),
            ("https://h/me/proj", "./sub", "https://h/me/proj/sub"),
            ("/srv/proj.git", "../sub.git", "/srv/sub.git"),
            ("/srv/p", "https://a:b@h/x", "https://h/x"),
        ] {
            assert_eq!(absolute(url, &|| base.into()), expected, "{base} {url}");
        }
    }

    #[test]
    fn pointers_of_git_lfs() {
        let head = "version https://git-lfs.github.com/spec/v1\n";
        let oid = "ab".repeat(32);
        let read = |text: &str| LfsFile::from_pointer(text.as_bytes());
        let file = read(&format!("{head}oid sha256:{oid}\nsize 12\n")).unwrap();
        assert_eq!((&file.oid, file.size), (&oid, 12));
        assert_eq!(file.path(), format!("objects/ab/ab/{oid}"));
        for text in [
            format!("oid sha256:{oid}\nsize 12\n"),
            format!("{head}oid sha256:{oid}\n"),
            format!("{head}oid sha256:../../x\nsize 1\n"),
            format!("{head}oid sha256:{}\nsize 1\n", "é".repeat(32)),
            format!("{head}oid sha256:{oid}\nsize -1\n"),
        ] {
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn hostile_addresses_reach_no_server() {
        for url in [
            "-u",
            "ext::sh -c id",
            "fd::3",
            "a\nb",
            "javascript://x",
            "x/y",
            "",
        ] {
            assert!(check_address(url).is_err(), "{url:?}");
        }
        for url in ["https://h/p", "git@h:p", "ssh://h:22/p", "/srv/p.git"] {
            assert!(check_address(url).is_ok(), "{url}");
        }
    }
}
