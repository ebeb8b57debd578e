"""What a run left behind: listed, then sent.

git-agile starts it on a server as `python3 -c PROGRAM MODE ARGUMENT...`, Python 3.6 or later:

    manifest NONCE MAX_FILE MAX_FILES (--run RUNDIR (--result PATTERN)*)+
    send NONCE (--run RUNDIR --list ID (--result PATTERN)* (--want RANGES)*)+

What it answers is described in src/review/wire.rs, which reads it: change both together.
"""
import hashlib
import os
import re
import stat
import sys

CHUNK = 1 << 18
DEEPEST = 200
LONGEST = 4000
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO that took a file's place would wait for ever.
PLAIN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
CACHES = {b'__pycache__', b'.ipynb_checkpoints', b'.pytest_cache', b'.mypy_cache', b'.ruff_cache'}


class Answer:
    """Lines to standard output, counted and hashed; the last one proves that none is missing."""

    def __init__(self, mode, nonce):
        self.out = os.fdopen(os.dup(1), 'wb', 1 << 20)
        self.digest = hashlib.sha256()
        self.lines = 0
        self.nonce = nonce
        # What start-up files print may lack its line feed.
        self.out.write(b'\ngit-agile-results 1 %s %s\n' % (mode, nonce))

    def line(self, *words):
        line = b' '.join(w if isinstance(w, bytes) else b'%d' % w for w in words) + b'\n'
        self.digest.update(line)
        self.lines += 1
        self.out.write(line)

    def data(self, block):
        self.line(b'data', len(block))
        self.out.write(block)

    def close(self):
        digest = self.digest.hexdigest().encode()
        self.out.write(b'end %s %d %s\n' % (self.nonce, self.lines, digest))
        self.out.flush()


def plain_text(data):
    """Bytes as one word of printable ASCII."""
    return re.sub(rb'[^!-$&-~]', lambda m: b'%%%02X' % m.group()[0], data)


def open_beneath(top, path, flags):
    """The descriptor of `path` beneath the folder `top`, reached through no link."""
    names = path.split(b'/')
    here = os.dup(top)
    try:
        for name in names[:-1]:
            below = os.open(name, FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(names[-1], flags, dir_fd=here)
    finally:
        os.close(here)


def open_plain(top, path):
    """The descriptor and status of the plain file `path`; OSError for anything else."""
    file = open_beneath(top, path, PLAIN)
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        os.close(file)
        raise OSError('not a plain file')
    return file, status


def entries(top, folder):
    """The names in a folder of code/ with their status, sorted."""
    here = open_beneath(top, b'code/' + folder if folder else b'code', FOLDER)
    try:
        found = []
        for name in sorted(map(os.fsencode, os.listdir(here))):
            try:
                found.append((name, os.stat(name, dir_fd=here, follow_symlinks=False)))
            except FileNotFoundError:
                pass  # removed since the folder was read
        return found
    finally:
        os.close(here)


def walk(top, enter, trouble):
    """Each (path, status, empty) of code/ in a fixed order. Folders that `enter` refuses are left out whole;
    what cannot be read is told to `trouble`."""
    waiting = [(b'', None)]
    while waiting:
        folder, status = waiting.pop()
        if folder.count(b'/') >= DEEPEST or len(folder) > LONGEST:
            trouble(b'deep', folder)
            continue
        try:
            found = entries(top, folder)
        except OSError:
            trouble(b'unreadable', folder or b'.')
            continue
        if folder:
            if not enter(folder, found):
                continue
            yield folder, status, not found
        below = []
        for name, status in found:
            path = folder + b'/' + name if folder else name
            if name.lower() == b'.git':
                trouble(b'git', path)
            elif stat.S_ISDIR(status.st_mode):
                below.append((path, status))
            else:
                yield path, status, False
        waiting.extend(reversed(below))


def write_whole(path, data, times=None):
    """Publishes a file at once or not at all."""
    part = path + b'.%d.part' % os.getpid()
    try:
        with open(part, 'xb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if times:
            os.utime(part, ns=times)
        os.rename(part, path)
    except OSError:
        if os.path.lexists(part):
            os.unlink(part)
        raise


def expression(pattern):
    """A gitignore-like pattern as a regular expression for paths relative to code/."""
    anchored = b'/' in pattern.rstrip(b'/')
    pattern = pattern.strip(b'/')
    out, i = b'' if anchored else b'(?:.*/)?', 0
    while i < len(pattern):
        rest = pattern[i:]
        group = re.match(rb'\[[!^]?\]?[^\]]*\]', rest)
        if rest.startswith(b'**/'):
            out, i = out + b'(?:.*/)?', i + 3
        elif rest == b'**':
            out, i = out + b'.+', i + 2
        elif rest[:1] == b'*':
            out, i = out + b'[^/]*', i + 1
        elif rest[:1] == b'?':
            out, i = out + b'[^/]', i + 1
        elif group:
            body = group.group()[1:-1]
            negated = body[:1] in (b'!', b'^')
            body = re.sub(rb'([\\\[\]^&~|])', rb'\\\1', body[1:] if negated else body)
            out, i = out + (b'(?!/)[^' if negated else b'(?!/)[') + body + b']', i + group.end()
        else:
            if rest[:1] == b'\\' and len(rest) > 1:
                rest, i = rest[1:], i + 1
            out, i = out + re.escape(rest[:1]), i + 1
    # What is beneath a folder that matches is among the results.
    return re.compile(b'(?s)' + out + b'(?:/.*)?')


def matcher(patterns):
    """Whether a path is asked for; the last pattern that matches decides, `!` takes away."""
    rules = [(p[:1] != b'!', expression(p[1:] if p[:1] == b'!' else p)) for p in patterns]

    def asked(path):
        verdict = False
        for wanted, rule in rules:
            if wanted != verdict and rule.fullmatch(path):
                verdict = wanted
        return verdict
    return asked


def key(status):
    """Size, times in ns and inode, packed: a stat_result for each of 100,000 files takes ten times the memory."""
    return b'%d %d %d %d' % (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def is_executable(status):
    return status.st_mode & 0o100 != 0


class Listing:
    """The results of one run by name: `files` as (path, source beneath RUNDIR, key, executable), empty
    `folders`, `refused` as (reason, path)."""

    def __init__(self, folder, patterns):
        self.folder = folder
        self.top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.files, self.folders, self.refused, self.links = [], [], [], []
        try:
            # The runner made this folder when it began. A change time cannot be set back, by nobody and nothing.
            self.launched = os.stat(b'started', dir_fd=self.top, follow_symlinks=False).st_ctime_ns
        except OSError:
            self.launched = None
        self.asked = matcher(patterns) if patterns else None
        if self.launched is None and not patterns:
            self.refused.append((b'launch', b'.'))
        else:
            self.collect()
        self.resolve()
        self.add_log()
        self.files.sort()
        names = hashlib.sha256()
        for path, _, _, _ in self.files:
            names.update(path + b'\0')
        self.id = names.hexdigest().encode()

    def enter(self, folder, found):
        """Caches and environments are no results, unless they were asked for by name."""
        if self.asked:
            return True
        return os.path.basename(folder) not in CACHES and b'pyvenv.cfg' not in (n for n, _ in found)

    def is_result(self, path, status):
        if self.asked:
            # Links to data sets that the deployment made belong to nobody's results.
            return self.asked(path) and not (stat.S_ISLNK(status.st_mode) and self.is_old(status))
        return not path.endswith(b'.pyc') and not self.is_old(status)

    def is_old(self, status):
        """Whether it was there before the launch, and has not been touched since."""
        return self.launched is not None and status.st_ctime_ns < self.launched

    def trouble(self, reason, path):
        try:
            old = path == b'.git' or self.is_old(os.stat(b'code/' + path, dir_fd=self.top, follow_symlinks=False))
        except OSError:
            old = False
        if not old and not (reason == b'git' and self.asked and not self.asked(path)):
            self.refused.append((reason, path))

    def collect(self):
        for path, status, empty in walk(self.top, self.enter, self.trouble):
            if stat.S_ISDIR(status.st_mode):
                if empty and self.is_result(path, status):
                    self.folders.append(path)
            elif not self.is_result(path, status):
                pass
            elif stat.S_ISREG(status.st_mode):
                self.files.append((path, b'code/' + path, key(status), is_executable(status)))
            elif stat.S_ISLNK(status.st_mode):
                self.links.append(path)
            else:
                self.refused.append((special(status.st_mode), path))

    def resolve(self):
        """A link to a file among the results becomes a copy of it; any other is refused."""
        known = {path: seen for path, _, *seen in self.files} if self.links else {}
        code = os.path.realpath(os.path.join(self.folder, b'code'))
        for link in self.links:
            target = os.path.realpath(os.path.join(code, link))
            path = target[len(code) + 1:] if target.startswith(code + b'/') else b''
            if path in known:
                self.files.append((link, b'code/' + path, *known[path]))
            else:
                self.refused.append((b'link', link))

    def add_log(self):
        try:
            file, status = open_plain(self.top, b'log')
        except OSError:
            return
        os.close(file)
        name = b'log'
        taken = {path.split(b'/')[0] for path, _, _, _ in self.files} | set(self.folders)
        while name in taken:
            name = b'run.' + name
        self.files.append((name, b'log', key(status), is_executable(status)))


def special(mode):
    if stat.S_ISFIFO(mode):
        return b'fifo'
    return b'socket' if stat.S_ISSOCK(mode) else b'device'


def digest(top, source):
    """(status, SHA-256) of as much of a file as it has now; a growing log is its beginning."""
    file, status = open_plain(top, source)
    try:
        left, total = status.st_size, hashlib.sha256()
        while left:
            block = os.read(file, min(CHUNK, left))
            if not block:
                raise EOFError
            total.update(block)
            left -= len(block)
        return status, total.hexdigest().encode()
    finally:
        os.close(file)
