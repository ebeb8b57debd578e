//! Files beneath a folder handle, one name at a time: no path is ever followed through a link.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::plan::OURS;

/// The end of the names that files have while they arrive.
const PART: &[u8] = b".part";

/// An open folder. Names given to its functions are single names, never `..` (see
/// [`ResultPath`](super::ResultPath)).
pub(super) struct Folder(OwnedFd);

/// What changes when a plain file is written to, replaced or touched: a file with the same stamp as before is
/// unchanged. Times are in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: i64,
    /// Last change of anything, which no program can set.
    pub ctime: i64,
    /// The inode.
    pub inode: u64,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Plain(Stamp),
    Folder,
    /// A link, a device, …
    Other,
}

/// Where the way to a folder ends.
pub(super) enum Way {
    There(Folder),
    /// A folder on the way does not exist.
    Missing,
    /// Something on the way is a link, or no folder that may be read.
    Blocked,
}

/// What [`Folder::tidy`] found.
pub(super) struct Tidied {
    /// What the next fetch can continue: bytes of a file, by what the whole will be.
    pub parts: HashMap<Digest, u64>,
    /// Whether nothing at all was there.
    pub is_empty: bool,
}

impl Folder {
    /// Opens a folder that the person named; links on the way are theirs.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Folder(fs::open(path, flags, Mode::empty())?))
    }

    /// The same folder once more, for another thread.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Folder(self.0.try_clone()?))
    }

    /// The way down through the names of `path` (`/` between them, empty for this folder itself); with `make`,
    /// missing folders are made, as the umask says.
    pub fn descend(&self, path: &[u8], make: bool) -> io::Result<Way> {
        let mut here = self.again()?;
        for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            if make {
                match fs::mkdirat(&here.0, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            here = match fs::openat(&here.0, name, flags, Mode::empty()) {
                Ok(folder) => Folder(folder),
                Err(Errno::NOENT) => return Ok(Way::Missing),
                Err(Errno::LOOP | Errno::NOTDIR | Errno::ACCESS) => return Ok(Way::Blocked),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Way::There(here))
    }

    /// What `name` is, itself and not what it leads to.
    pub fn find(&self, name: &[u8]) -> io::Result<Found> {
        match fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Found::Plain(stamp(&stat)),
                FileType::Directory => Found::Folder,
                _ => Found::Other,
            }),
            Err(Errno::NOENT) => Ok(Found::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the plain file `name` for reading; an error for anything else, without waiting for a FIFO.
    pub fn read(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.0, name, flags, Mode::empty())?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("not a plain file")),
        }
    }

    /// The digest and the stamp of the plain file `name`.
    pub fn digest(&self, name: &[u8]) -> io::Result<(Stamp, Digest)> {
        let mut file = self.read(name)?;
        let (mut sum, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => sum.update(&buffer[..count]),
            }
        }
        Ok((stamp(&fs::fstat(&file)?), Digest(sum.finalize().into())))
    }

    /// A new, empty file: 0644, or 0755 when `executable`, less what the umask takes. Nothing may have its name.
    pub fn create(&self, name: &[u8], executable: bool) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        Ok(File::from(fs::openat(&self.0, name, flags, mode)?))
    }

    /// As [`Folder::create`], in place of the file or link that has the name.
    pub fn create_anew(&self, name: &[u8], executable: bool) -> io::Result<File> {
        match self.create(name, executable) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(name)?;
                self.create(name, executable)
            }
            made => made,
        }
    }

    /// Gives the file `name` here its place `to` in the folder `there`, over what is there.
    pub fn replace(&self, name: &[u8], there: &Folder, to: &[u8]) -> io::Result<()> {
        Ok(fs::renameat(&self.0, name, &there.0, to)?)
    }

    /// Gives the file `name` here its place `to` in the folder `there`; false, and nothing done, where something is.
    pub fn place(&self, name: &[u8], there: &Folder, to: &[u8]) -> io::Result<bool> {
        match fs::renameat_with(&self.0, name, &there.0, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // A file system that cannot promise it: a look before is the best there is.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match there.find(to)? {
                Found::Nothing => self.replace(name, there, to).map(|()| true),
                _ => Ok(false),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the file or link `name` if there is one.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        match fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what an interrupted fetch left, but for parts of files that the next can continue: those it gives,
    /// with their bytes. Folders of such a name stay.
    pub fn tidy(&self) -> io::Result<Tidied> {
        let mut parts = HashMap::new();
        let mut is_empty = true;
        for entry in fs::Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_bytes().to_vec();
            is_empty = is_empty && matches!(name.as_slice(), b"." | b"..");
            if !name.starts_with(OURS) {
                continue;
            }
            match (self.find(&name)?, part_digest(&name)) {
                (Found::Plain(stamp), Some(digest)) => {
                    parts.insert(digest, stamp.size);
                }
                (Found::Folder | Found::Nothing, _) => {}
                _ => self.remove(&name)?,
            }
        }
        Ok(Tidied { parts, is_empty })
    }

    /// Opens the plain file `name` to go on after its first `size` bytes; what follows them is cut off.
    pub fn resume(&self, name: &[u8], size: u64) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.0, name, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() || found.len() < size {
            return Err(io::Error::other("not what an interrupted fetch left"));
        }
        file.set_len(size)?;
        Ok(file)
    }

    /// Puts the list of names on the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.0)?)
    }

    /// Puts everything that was written to this file system on the disk. False where that cannot be asked for.
    pub fn sync_everything(&self) -> io::Result<bool> {
        #[cfg(target_os = "linux")]
        {
            fs::syncfs(&self.0)?;
            Ok(true)
        }
        #[cfg(not(target_os = "linux"))]
        Ok(false)
    }

    /// The bytes that this user may still write to the file system.
    pub fn free(&self) -> io::Result<u64> {
        let space = fs::fstatvfs(&self.0)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Whether this user may make and remove names in it.
    pub fn is_writable(&self) -> bool {
        let access = fs::Access::WRITE_OK | fs::Access::EXEC_OK;
        fs::accessat(&self.0, ".", access, AtFlags::EACCESS).is_ok()
    }

    /// Takes the folder for this process until it is closed; false when another process has it. Where the file
    /// system knows no locks, it is taken.
    pub fn lock(&self) -> bool {
        // A process that is being started holds what we have closed until it begins its own program.
        for _ in 0..50 {
            let taken = fs::flock(&self.0, fs::FlockOperation::NonBlockingLockExclusive);
            if taken != Err(Errno::WOULDBLOCK) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

/// The name of a file while it arrives, from which a later fetch knows what it will be.
pub(super) fn part_name(whole: &Digest) -> Vec<u8> {
    [OURS, whole.to_string().as_bytes(), PART].concat()
}

fn part_digest(name: &[u8]) -> Option<Digest> {
    Digest::parse(name.strip_prefix(OURS)?.strip_suffix(PART)?)
}

// The width of these fields differs between systems.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
fn stamp(stat: &fs::Stat) -> Stamp {
    let nanoseconds = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
    Stamp {
        size: stat.st_size as u64,
        mtime: nanoseconds(stat.st_mtime.into(), stat.st_mtime_nsec as i64),
        ctime: nanoseconds(stat.st_ctime.into(), stat.st_ctime_nsec as i64),
        inode: stat.st_ino,
    }
}
