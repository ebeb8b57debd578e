# The third part: what need not be computed again, and the answers.

class Memory:
    """RUNDIR/fetch/ID, one for each list of names: the files in the order in which `send` counts them, with the digests
    that need not be computed again. A line: size mtime ctime inode x|- real digest path source; the last is `.`."""

    def __init__(self, listing):
        self.folder = os.path.join(listing.folder, b'fetch')
        self.path = os.path.join(self.folder, listing.id)
        self.part, self.known = None, []
        try:
            os.makedirs(self.folder, exist_ok=True)
            self.start()
            self.recall()
        except OSError:
            self.part = None  # a full or read-only disk: `send` lists again
        # By the clock of the file system where it can be asked, before anything is read.
        self.now = os.fstat(self.part.fileno()).st_mtime_ns if self.part else int(time.time() * 10**9)

    def start(self):
        name = self.path + b'.%d.part' % os.getpid()
        self.part = open(name, 'wb', 1 << 16)

    def recall(self):
        started = os.fstat(self.part.fileno()).st_mtime_ns
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            when = os.lstat(path).st_mtime_ns
            if started - when > 86400 * 10**9:
                os.unlink(path)
            elif path != self.part.name:
                self.known.append(Known(path, when))

    def digest(self, path, seen):
        """(bytes that are no holes, SHA-256) of a file that looks as it did; paths are asked for in their order."""
        for known in self.known:
            found = known.digest(path, seen)
            if found:
                return found
        return 0, None

    def add(self, word, seen, source, real, sha):
        """`word` is the path as plain_text."""
        source = plain_text(source) if source else b'-'
        try:
            if self.part:
                self.part.write(b'%s %d %s %s %s\n' % (seen, real, sha, word, source))
        except OSError:
            self.part = None

    def save(self):
        """Publishes it. It is not waited for: what a power cut leaves of it has no last line, and counts for nothing."""
        try:
            if self.part:
                self.part.write(b'.\n')
                self.part.close()
                os.utime(self.part.name, ns=(self.now, self.now))
                os.rename(self.part.name, self.path)
        except OSError:
            pass


class Known:
    """Digests of a list that Memory kept at the time `when`."""

    def __init__(self, path, when):
        self.records, self.when = read_records(path), when
        self.path = None
        self.step()

    def step(self):
        self.path, self.seen, self.real, self.sha, _ = next(self.records, (None, b'', 0, b'-', None))

    def digest(self, path, seen):
        while self.path is not None and self.path < path:
            self.step()
        # Within two seconds a file can change and keep its times.
        if self.path == path and self.seen == seen and self.sha != b'-' and changed(seen) < self.when - 2 * 10**9:
            return self.real, self.sha
        return None


def changed(seen):
    """The change time in a key."""
    return int(seen.split(b' ', 3)[2])


def read_records(path):
    """Each (path, key, bytes that are no holes, digest, source) of a file that Memory kept whole."""
    try:
        with open(path, 'rb') as file:
            file.seek(-3 if os.fstat(file.fileno()).st_size > 2 else 0, os.SEEK_END)
            if not (b'\n' + file.read()).endswith(b'\n.\n'):
                return
            file.seek(0)
            for line in file:
                words = line.split()
                if len(words) == 9:
                    seen, (real, sha, word, source) = b' '.join(words[:5]), words[5:]
                    yield from_text(word), seen, int(real), sha, None if source == b'-' else from_text(source)
    except OSError:
        pass


def beneath(path, source):
    """A file's path beneath RUNDIR."""
    return source or b'code/' + path


def manifest(answer, runs, max_file, max_files):
    at_once = []
    for number, run in enumerate(runs):
        try:
            listing = Listing(run['folder'], run['results'], run['only'])
        except OSError as error:
            answer.line(b'run', b'0' * 64)
            why = 'gone' if isinstance(error, FileNotFoundError) else error.strerror or str(error)
            answer.line(b'failed', plain_text(os.fsencode(why)))
            continue
        answer.line(b'run', listing.id)
        if len(listing) > max_files:
            answer.line(b'failed', b'many')
            continue
        max_files -= len(listing)
        if run['have'] and not listing.refused and run['have'] == [listing.state()]:
            answer.line(b'same')
            continue
        for path in listing.folders:
            answer.line(b'folder', plain_text(path))
        for reason, path in listing.refused:
            answer.line(b'refused', reason, plain_text(path))
        if run['contents']:
            for path, seen, _ in listing.each():
                size = seen.split(b' ', 1)[0]
                answer.text(b'name %s %s %s\n' % (size, listing.hollow.get(path, size), plain_text(path)))
            at_once.append((number, listing, bool(run['moving'])))
        else:
            List(answer, number, listing, max_file).work(bool(run['moving']))
    if at_once:
        answer.line(b'contents')
    for number, listing, moving in at_once:
        Contents(answer, number, listing, max_file).work(moving)


class List:
    """Gives the digest of each file."""

    def __init__(self, answer, number, listing, max_file):
        self.answer, self.number, self.listing, self.max_file = answer, number, listing, max_file
        self.memory = Memory(listing)
        self.fresh = self.memory.now - 2 * 10**9

    def work(self, moving):
        is_whole = not self.listing.refused
        for index, (path, seen, source) in enumerate(self.listing.each()):
            self.path, self.word, self.source, self.index = path, plain_text(path), beneath(path, source), index
            real, sha = 0, b'-'
            # What the run prints only grows: its beginning is good.
            if moving and source != b'log' and is_moving(self.listing.top, self.source, seen, self.memory.now):
                reason = b'moving'
            else:
                reason, seen, real, sha = self.look(seen)
            if reason:
                self.refuse(reason)
            self.listing.files[index] = path + b'\0' + seen
            is_whole = is_whole and not reason and changed(seen) < self.fresh
            self.memory.add(self.word, seen, source, real, sha)
        self.memory.save()
        if is_whole:
            self.answer.line(b'state', self.number, self.listing.state())
        self.listing.tree.close()

    def look(self, seen):
        """The reason to refuse it, or none; its key, bytes that are no holes, and digest."""
        real, sha = self.memory.digest(self.path, seen)
        try:
            if sha is None or real > self.max_file or size_of(seen) > self.max_file * HOLLOW:
                status, real, sha = digest(self.listing.tree, self.source, self.max_file)
                seen = key(status)
            self.tell(seen, real, sha)
            return None, seen, real, sha
        except OverflowError:
            return b'large', seen, 0, b'-'
        except OSError:
            return b'unreadable', seen, 0, b'-'
        except EOFError:
            return b'changed', seen, 0, b'-'

    def tell(self, seen, real, sha):
        size, mtime, _, _, mode = seen.split()
        self.answer.line(b'file', self.index, size, real, mtime, mode, sha, self.word)

    def refuse(self, reason):
        self.answer.line(b'refused', reason, self.word)


class Contents(List):
    """Gives the digest of each file, and then the file."""

    def look(self, seen):
        try:
            content, status = read_whole(self.listing.tree, self.source, min(WHOLE, self.max_file))
        except OSError:
            return b'unreadable', seen, 0, b'-'
        if content is None:
            return super().look(seen)
        seen, sha = key(status), hashlib.sha256(content).hexdigest().encode()
        size, mtime, _, _, mode = seen.split()
        self.answer.text(b'whole %s %s %s %s\n' % (mtime, mode, sha, size), content)
        return None, seen, len(content), sha

    def tell(self, seen, real, sha):
        size, mtime, _, _, mode = seen.split()
        self.answer.line(b'file', size, real, mtime, mode, sha)
        send_file(self.answer, self.listing.tree, self.source, int(size), 0)

    def refuse(self, reason):
        self.answer.line(b'refused', reason)


def read_whole(tree, source, most):
    """(bytes, status) of a small file; of one with holes, or that has become larger or smaller, no bytes."""
    file, status = tree.open(source)
    try:
        size = status.st_size
        if size > most or status.st_blocks * 512 < size:
            return None, status
        content = os.read(file, size) if size else b''
        return content if len(content) == size else None, status
    finally:
        os.close(file)


def is_moving(top, source, seen, now):
    """Whether a file was written to a moment ago, or has been since it was listed."""
    try:
        status = os.stat(source, dir_fd=top, follow_symlinks=False)
    except OSError:
        return False
    return key(status) != seen or now - status.st_mtime_ns < MOVING


def counted(run):
    """Each (source, size) in the order that the manifest numbered them."""
    path = os.path.join(run['folder'], b'fetch', run['list'])
    if os.path.exists(path):
        return ((beneath(path, source), size_of(seen)) for path, seen, _, _, source in read_records(path))
    listing = Listing(run['folder'], run['results'], run['only'])
    if listing.id != run['list']:
        raise OSError('the results changed meanwhile')
    return ((beneath(path, source), size_of(seen)) for path, seen, source in listing.each())


def send(answer, runs):
    for number, run in enumerate(runs):
        if not run['want']:
            continue
        try:
            known = counted(run)
            tree = Tree(run['folder'])
        except OSError as error:
            answer.line(b'failed', number, plain_text(os.fsencode(error.strerror or str(error))))
            continue
        at, found = -1, (b'', 0)
        for index, offset in wanted(run['want']):
            while at < index:
                at, found = at + 1, next(known, (b'', 0))
            answer.line(b'file', number, index, offset)
            send_file(answer, tree, *found, offset)
        tree.close()


def wanted(ranges):
    """Each (index, offset), ascending: `3` and `5-9` are whole files, `4+100` is one without its first 100 bytes."""
    for part in b','.join(ranges).split(b','):
        part, _, offset = part.partition(b'+')
        first, _, last = part.partition(b'-')
        for index in range(int(first), int(last or first) + 1):
            yield index, int(offset or 0)


def send_file(answer, tree, source, size, offset):
    """At most `size` bytes: what a log gained since the manifest comes next time."""
    try:
        file, status = tree.open(source)
    except OSError:
        answer.line(b'gone')
        return
    try:
        for count, block in contents(file, status, offset, size):
            if block:
                answer.text(b'data %d\n' % len(block), block)
            else:
                answer.line(b'zero', count)
        answer.line(b'done')
    except OSError:
        answer.line(b'gone')
    finally:
        os.close(file)


def parse(arguments):
    runs = []
    for name, value in zip(arguments[0::2], arguments[1::2]):
        if name == b'--run':
            several = 'results', 'only', 'moving', 'have', 'contents', 'want'
            runs.append({'folder': value, 'list': b'', **{name: [] for name in several}})
        elif name == b'--list':
            runs[-1]['list'] = value
        else:
            name = {b'--result': 'results'}.get(name) or name[2:].decode()
            runs[-1][name].append(value)
    return runs


def main(mode, *arguments):
    answer = Answer(mode, arguments[0])
    if mode == b'manifest':
        manifest(answer, parse(arguments[3:]), int(arguments[1]), int(arguments[2]))
    else:
        send(answer, parse(arguments[1:]))
    answer.close()


try:
    main(*map(os.fsencode, sys.argv[1:]))
    os._exit(0)  # what has grown large need not be taken apart
except BrokenPipeError:
    os._exit(1)  # nobody listens any more
