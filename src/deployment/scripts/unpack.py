# Unpacks ARCHIVE into the new folder TARGET: plain files, folders, and links that stay inside. Says in one line why not.
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
import zlib

archive, target = sys.argv[1:]
# More than this is no data set but a trap: a gibibyte, and a hundred times the archive.
LIMIT = (1 << 30) + 100 * os.path.getsize(archive)
ENTRIES = 5000000
written = entries = 0
links, hard_links = [], []


def fail(text):
    sys.exit(ascii(text)[1:-1])


class Entry(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, source):
        """tarfile takes half a header for the end."""
        try:
            return super().fromtarfile(source)
        except tarfile.TruncatedHeaderError:
            if source.offset:
                fail("it is damaged")
            raise


def inside(name):
    """The path in the target of an entry of this name; nothing for the target itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        fail("%s leads out of the archive" % name)
    return os.path.join(target, *parts) if parts else None


def folder(path):
    try:
        os.makedirs(path or target, exist_ok=True)
    except FileExistsError:
        fail("%s is a file and a folder" % path)


def bound(size):
    if size > LIMIT:
        fail("it holds more than %d MiB, a hundred times its size" % (LIMIT >> 20))


def write(path, source, size, executable):
    global written
    bound(written + size)
    folder(os.path.dirname(path))
    if os.path.lexists(path):
        os.remove(path)
    with open(path, "xb") as file:
        for block in iter(lambda: source.read(1 << 20), b""):
            written += len(block)
            bound(written)
            file.write(block)
    os.chmod(path, 0o555 if executable else 0o444)


def count():
    global entries
    entries += 1
    if entries > ENTRIES:
        fail("it holds more than %d files" % ENTRIES)


def unpack_zip():
    with zipfile.ZipFile(archive) as source:
        for entry in source.infolist():
            count()
            path, mode = inside(entry.filename), entry.external_attr >> 16
            if entry.filename.endswith("/") or path is None:
                folder(path)
            elif stat.S_ISLNK(mode):
                links.append((path, source.read(entry)[:4096].decode("utf-8", "surrogateescape")))
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                fail("%s is no plain file" % entry.filename)
            else:
                with source.open(entry) as content:
                    write(path, content, entry.file_size, mode & 0o100)


def unpack_tar(source):
    for entry in source:
        count()
        path = inside(entry.name)
        if entry.isdir() or path is None:
            folder(path)
        elif entry.issym():
            links.append((path, entry.linkname))
        elif entry.islnk():
            hard_links.append((path, inside(entry.linkname)))
        elif entry.isfile():
            write(path, source.extractfile(entry), entry.size, entry.mode & 0o100)
        else:
            fail("%s is no plain file" % entry.name)


def unpack():
    with open(archive, "rb") as file:
        magic = file.read(4)
    if magic == b"\x28\xb5\x2f\xfd":
        if not shutil.which("zstd"):
            fail("there is no zstd on the server")
        with subprocess.Popen(["zstd", "-dcq", "--", archive], stdout=subprocess.PIPE) as process:
            with tarfile.open(fileobj=process.stdout, mode="r|", tarinfo=Entry) as source:
                unpack_tar(source)
            # What follows the end of the archive.
            shutil.copyfileobj(process.stdout, open(os.devnull, "wb"))
        if process.returncode:
            fail("it is damaged")
    elif magic[:2] == b"PK":
        unpack_zip()
    else:
        with tarfile.open(archive, "r:*", tarinfo=Entry) as source:
            unpack_tar(source)


def link():
    """Links come last, and the folders of all of them before the first, so that nothing is written through one."""
    for path, original in hard_links:
        if original is None or not os.path.isfile(original):
            fail("%s is a link to nothing" % path[len(target) + 1:])
        folder(os.path.dirname(path))
        os.link(original, path)
    for path, _ in links:
        folder(os.path.dirname(path))
    for path, original in links:
        if os.path.lexists(path):
            fail("%s is a link and something else" % path[len(target) + 1:])
        os.symlink(original, path)
    root = os.path.realpath(target)
    for path, original in links:
        end = os.path.realpath(path)
        if os.path.isabs(original) or (end != root and not end.startswith(root + os.sep)):
            fail("%s links out of the archive" % path[len(target) + 1:])


try:
    os.mkdir(target, 0o700)
    unpack()
    link()
    for place, _, _ in os.walk(target, topdown=False):
        os.chmod(place, 0o555)
except tarfile.ReadError:
    fail("it is no zip or tar archive, or damaged")
except RuntimeError as error:
    fail("it is encrypted" if "encrypted" in str(error) else str(error))
except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, ValueError) as error:
    fail(getattr(error, "strerror", None) or str(error) or "it is damaged")
