# The second part of the program that answer.py begins: what there is.

CHUNK = 1 << 18
# Holes may make a file seem so many times larger than it may be: hashing them takes time all the same.
HOLLOW = 64
# A file that was written to so shortly before may be written to again, in ns.
MOVING = 5 * 10**9
# Files up to this size are read once: hashed and sent together.
WHOLE = 1 << 20
# The longest path of a folder: what lies beneath it has a name below Linux's PATH_MAX.
LONGEST = 4000
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO that took a file's place would wait for ever.
PLAIN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
ZEROS = bytes(CHUNK)
CACHES = {b'__pycache__', b'.ipynb_checkpoints', b'.pytest_cache', b'.mypy_cache', b'.ruff_cache'}


class Tree:
    """A folder whose files are opened one name at a time, through no link."""

    def __init__(self, folder):
        self.top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        # The folder that was needed last: files come folder by folder.
        self.last, self.file = b'', os.dup(self.top)

    def folder(self, path):
        if path != self.last:
            # From the last one down, where this one is beneath it: a thousand levels are then a thousand steps.
            further = self.last and path.startswith(self.last + b'/')
            here = os.dup(self.file if further else self.top)
            names = path[len(self.last) + 1:] if further else path
            try:
                for name in names.split(b'/') if names else ():
                    below = os.open(name, FOLDER, dir_fd=here)
                    os.close(here)
                    here = below
            except OSError:
                os.close(here)
                raise
            os.close(self.file)
            self.last, self.file = path, here
        return self.file

    def open(self, path):
        """The descriptor and status of the plain file `path`; OSError for anything else."""
        folder, _, name = path.rpartition(b'/')
        file = os.open(name, PLAIN, dir_fd=self.folder(folder))
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise OSError('not a plain file')
        return file, status

    def close(self):
        os.close(self.file)
        os.close(self.top)


def entries(tree, folder):
    """The names in a folder of code/ with their status, sorted."""
    here = tree.folder(b'code/' + folder if folder else b'code')
    found = []
    for name in sorted(map(os.fsencode, os.listdir(here))):
        try:
            found.append((name, os.stat(name, dir_fd=here, follow_symlinks=False)))
        except FileNotFoundError:
            pass  # removed since the folder was read
    return found


def walk(tree, enter, trouble):
    """Each (path, status, empty) of code/ in a fixed order. Folders that `enter` refuses are left out whole;
    what cannot be read is told to `trouble`."""
    waiting = [(b'', None)]
    while waiting:
        folder, status = waiting.pop()
        if len(folder) > LONGEST:
            trouble(b'deep', folder)
            continue
        try:
            found = entries(tree, folder)
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


def expression(pattern):
    """A gitignore-like pattern as a regular expression for paths relative to code/."""
    anchored = b'/' in pattern.rstrip(b'/')
    pattern = pattern.strip(b'/')
    out, i = b'' if anchored else b'(?:.*/)?', 0
    while i < len(pattern):
        rest = pattern[i:]
        group = re.match(rb'(?s)\[[!^]?.[^\]]*\]', rest)
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
    """Size, times in ns, inode and `x` for an executable file, as bytes: a stat_result for each of 100,000 files takes
    ten times the memory."""
    mode = b'x' if status.st_mode & 0o100 else b'-'
    return b'%d %d %d %d %s' % (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, mode)


def size_of(seen):
    return int(seen.split(b' ', 1)[0])


class Listing:
    """The results of one run by name: `files` as path, NUL and key in one, as little as 100,000 of them can take; empty
    `folders`; `refused` as (reason, path). `sources` has the path beneath RUNDIR of those that have another name there
    than beneath code/, `hollow` about the bytes that are no holes of files with holes."""

    def __init__(self, folder, patterns, only):
        self.folder = folder
        self.tree = Tree(folder)
        self.top = self.tree.top
        self.only = matcher(only) if only else None
        self.files, self.folders, self.refused, self.links = [], [], [], []
        self.sources, self.hollow = {}, {}
        # The runner made this folder when it began. A change time cannot be set back, by nobody and nothing.
        self.launched = self.changed(b'started')
        self.asked = matcher(patterns) if patterns else None
        # One that was stopped while it waited has no results.
        never = self.launched is None and self.changed(b'process') is None and (
            self.changed(b'stop') is not None or self.changed(b'job') is not None)
        if self.launched is None and not patterns and not never:
            self.refused.append((b'launch', b'.'))
        elif not never:
            self.collect()
        self.resolve()
        self.files.sort()
        self.add_log()
        names = hashlib.sha256()
        for at in range(0, len(self.files), 1000):
            names.update(b''.join([entry[:entry.index(b'\0') + 1] for entry in self.files[at:at + 1000]]))
        self.id = names.hexdigest().encode()

    def __len__(self):
        return len(self.files) + len(self.folders) + len(self.refused)

    def changed(self, name):
        """When something in RUNDIR was changed, in ns; None when it is not there."""
        try:
            return os.stat(name, dir_fd=self.top, follow_symlinks=False).st_ctime_ns
        except OSError:
            return None

    def each(self):
        """Each path, key and source."""
        for entry in self.files:
            path, seen = entry.split(b'\0')
            yield path, seen, self.sources.get(path)

    def state(self):
        """What changes when anything that is listed does."""
        total = hashlib.sha256(self.id)
        for folder in self.folders:
            total.update(folder + b'\0')
        for entry in self.files:
            total.update(entry + b'\0')
        return total.hexdigest().encode()

    def enter(self, folder, found):
        """Caches and environments are no results, unless they were asked for by name."""
        if self.asked:
            return True
        return os.path.basename(folder) not in CACHES and b'pyvenv.cfg' not in (n for n, _ in found)

    def is_result(self, path, status):
        if self.only and not self.only(path):
            return False
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
        unwanted = reason == b'git' and not all(chosen(path) for chosen in (self.only, self.asked) if chosen)
        if not old and not unwanted:
            self.refused.append((reason, path))

    def collect(self):
        for path, status, empty in walk(self.tree, self.enter, self.trouble):
            if stat.S_ISDIR(status.st_mode) and not empty or not self.is_result(path, status):
                continue
            if stat.S_ISDIR(status.st_mode):
                self.folders.append(path)
            elif stat.S_ISREG(status.st_mode):
                self.files.append(path + b'\0' + key(status))
                if status.st_blocks * 512 < status.st_size:
                    self.hollow[path] = b'%d' % (status.st_blocks * 512)
            elif stat.S_ISLNK(status.st_mode):
                self.links.append(path)
            else:
                self.refused.append((special(status.st_mode), path))

    def resolve(self):
        """A link to a file among the results becomes a copy of it; any other is refused."""
        known = dict(entry.split(b'\0') for entry in self.files) if self.links else {}
        code = os.path.realpath(os.path.join(self.folder, b'code'))
        for link in self.links:
            target = os.path.realpath(os.path.join(code, link))
            path = target[len(code) + 1:] if target.startswith(code + b'/') else b''
            if path in known:
                self.files.append(link + b'\0' + known[path])
                self.sources[link] = b'code/' + path
                if path in self.hollow:
                    self.hollow[link] = self.hollow[path]
            else:
                self.refused.append((b'link', link))

    def add_log(self):
        def is_taken(name):
            ends = bisect.bisect_left(self.files, name + b'\0'), bisect.bisect_left(self.files, name + b'/')
            names = [self.files[at][:len(name) + 1] for at in ends if at < len(self.files)]
            return name in self.folders or name + b'\0' in names or name + b'/' in names

        # Whoever finds the results knows the log by the longest of such names.
        name = b'log'
        while is_taken(name) or is_taken(b'run.' + name):
            name = b'run.' + name
        # A log that grew too large has begun anew.
        for source, name in (b'log', name), (b'log.1', name + b'.1'):
            try:
                file, status = self.tree.open(source)
            except OSError:
                continue
            os.close(file)
            if not is_taken(name) and (not self.only or self.only(name)):
                bisect.insort(self.files, name + b'\0' + key(status))
                self.sources[name] = source


def special(mode):
    if stat.S_ISFIFO(mode):
        return b'fifo'
    return b'socket' if stat.S_ISSOCK(mode) else b'device'


def contents(file, status, start, size):
    """(count, bytes) of a file from `start` to `size`, less where it ends earlier. Where it is hollow, or nothing
    but zeros, the bytes are None."""
    holes = hasattr(os, 'SEEK_DATA') and status.st_blocks * 512 < status.st_size
    while start < size:
        end = size
        if holes:
            data, end = extent(file, start, size)
            if data > start:
                yield data - start, None
                start = data
                continue
        block = os.pread(file, min(CHUNK, end - start), start)
        if not block:
            return
        yield len(block), None if is_zero(block) else block
        start += len(block)


def extent(file, start, size):
    """Where the next bytes of a file that are no hole begin and end, up to `size`."""
    try:
        data = min(os.lseek(file, start, os.SEEK_DATA), size)
        return data, min(os.lseek(file, data, os.SEEK_HOLE), size) if data < size else size
    except OSError as error:
        return (size if error.errno == errno.ENXIO else start), size


def is_zero(block):
    return block[0] == 0 and block[-1] == 0 and block.count(0) == len(block)


def digest(tree, source, most):
    """(status, bytes that are no holes, SHA-256) of as much of a file as it has now; a growing log is its beginning.
    EOFError where it shrinks meanwhile, OverflowError where it is larger than `most`."""
    file, status = tree.open(source)
    try:
        left, real, total = status.st_size, 0, hashlib.sha256()
        if left > most * HOLLOW or left > most and held(file, status) > most:
            raise OverflowError
        for count, block in contents(file, status, 0, left):
            left -= count
            real += count if block else 0
            while block is None and count:
                total.update(ZEROS[:count])
                count -= min(count, CHUNK)
            if block:
                total.update(block)
        if left:
            raise EOFError
        return status, real, total.hexdigest().encode()
    finally:
        os.close(file)


def held(file, status):
    """The bytes of a file that are no holes."""
    if not hasattr(os, 'SEEK_DATA') or status.st_blocks * 512 >= status.st_size:
        return status.st_size
    at, total = 0, 0
    while at < status.st_size:
        data, at = extent(file, at, status.st_size)
        total += at - data
    return total
