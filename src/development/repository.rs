//! The repository at hand.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid};

use crate::error::{Context as _, Error, Result};
use crate::model::tree::{Entry, Tree};
use crate::terminal::clean;

/// A repository with a work tree, opened the way git names it: `GIT_DIR`, `GIT_INDEX_FILE` and the like are
/// respected, so that a hook sees the index that is being committed.
pub struct Repository {
    git: git2::Repository,
    root: PathBuf,
}

impl Repository {
    /// Opens the repository of the current folder or of git's environment.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) outside a repository, in a bare one, or in one that belongs
    /// to somebody else.
    pub fn open() -> Result<Self> {
        let git = git2::Repository::open_from_env().map_err(|error| match error.code() {
            ErrorCode::NotFound => {
                Error::config("not a git repository (or any of the parent folders)")
                    .hint("git init, or change into your project")
            }
            ErrorCode::Owner => Error::config("this repository belongs to another user")
                .cause(error.message())
                .hint("git config --global --add safe.directory \"$PWD\", if you trust it"),
            _ => Error::config("cannot open the git repository")
                .cause(error.message())
                .hint("only repositories with SHA-1 objects, and with refs that are files, can be read so far"),
        })?;
        // libgit2 takes a relative GIT_WORK_TREE from the git dir, git from the current folder; hooks get `.`.
        if let Some(tree) = std::env::var_os("GIT_WORK_TREE").filter(|tree| !tree.is_empty())
            && let Ok(tree) = Path::new(&tree).canonicalize()
        {
            git.set_workdir(&tree, false)
                .or_config(|| format!("cannot use the work tree {}", tree.display()))?;
        }
        let root = git.workdir().map(Path::to_path_buf).ok_or_else(|| {
            Error::config("this is a bare repository; git-agile needs a work tree")
                .hint("git clone it, and run the command in the clone")
        })?;
        Ok(Repository { git, root })
    }

    /// The work tree's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The libgit2 handle, for reading and writing objects, index and refs.
    pub fn git(&self) -> &git2::Repository {
        &self.git
    }

    /// The folder shared by all linked work trees (`.git`).
    pub fn common_dir(&self) -> &Path {
        self.git.commondir()
    }

    /// The commit that `name` means, `HEAD` among them.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) on an unborn branch, [`Kind::Usage`](crate::error::Kind::Usage)
    /// for a name that means no commit.
    pub fn commit(&self, name: &str) -> Result<Oid> {
        let found = self
            .git
            .revparse_single(name)
            .and_then(|object| object.peel_to_commit());
        found
            .map(|commit| commit.id())
            .map_err(|error| match error.code() {
                ErrorCode::NotFound | ErrorCode::UnbornBranch if name == "HEAD" => {
                    Error::config("this branch has no commit yet")
                        .hint("git commit, then try again")
                }
                _ => Error::usage(format!(
                    "`{}` is not a commit of this repository",
                    clean(name)
                ))
                .hint("git log --oneline"),
            })
    }

    /// The files of `commit`.
    pub fn tree(&self, commit: Oid) -> CommitTree<'_> {
        CommitTree {
            repository: self,
            commit,
        }
    }

    /// The bytes of `path` in `commit`, or nothing when the commit has no such file.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) when the object database is damaged or `path` is no plain file.
    pub fn file_at(&self, commit: Oid, path: &str) -> Result<Option<Vec<u8>>> {
        let tree = self
            .git
            .find_commit(commit)
            .and_then(|commit| commit.tree());
        let tree = tree.or_config(|| format!("cannot read commit {commit}"))?;
        let entry = match tree.get_path(Path::new(path)) {
            Ok(entry) => entry,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::config(format!("cannot read {path} of {commit}")).cause(error));
            }
        };
        if entry.filemode() == 0o120000 {
            return Err(Error::config(format!(
                "{path} is a symbolic link in commit {}",
                &commit.to_string()[..7]
            ))
            .hint(format!("make {path} a plain file, and commit it")));
        }
        if entry.kind() != Some(ObjectType::Blob) {
            let short = &commit.to_string()[..7];
            return Err(
                Error::config(format!("{path} is a folder in commit {short}"))
                    .hint(format!("make {path} a plain file, and commit it")),
            );
        }
        let blob = self.git.find_blob(entry.id());
        blob.map(|blob| Some(blob.content().to_vec()))
            .or_config(|| format!("{path} of {commit} is not a plain file"))
    }
}

/// The files of a commit, read when they are asked for.
pub struct CommitTree<'a> {
    repository: &'a Repository,
    commit: Oid,
}

impl Tree for CommitTree<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.repository.file_at(self.commit, path)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let cannot = || format!("cannot read {path} of commit {}", self.commit);
        let git = self.repository.git();
        let root = git
            .find_commit(self.commit)
            .and_then(|commit| commit.tree());
        let root = root.or_config(cannot)?;
        let tree = match path {
            "." => root,
            path => match root.get_path(Path::new(path)) {
                Ok(entry) if entry.kind() == Some(ObjectType::Tree) => {
                    git.find_tree(entry.id()).or_config(cannot)?
                }
                Ok(_) => return Ok(Vec::new()),
                Err(error) if error.code() == ErrorCode::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(Error::config(cannot()).cause(error)),
            },
        };
        let entry = |entry: git2::TreeEntry<'_>| Entry {
            name: String::from_utf8_lossy(entry.name_bytes()).into_owned(),
            id: entry.id().to_string(),
            is_folder: entry.kind() == Some(ObjectType::Tree),
        };
        Ok(tree.iter().map(entry).collect())
    }
}
