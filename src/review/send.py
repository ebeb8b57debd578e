class Memory:
    """RUNDIR/fetch/ID, one for each list of names: what `send` counts by, and the digests that need not be
    computed again. A record: size mtime ctime inode digest source, and NUL."""

    def __init__(self, listing):
        self.folder = os.path.join(listing.folder, b'fetch')
        self.records, self.known = [], {}
        try:
            os.makedirs(self.folder, exist_ok=True)
            self.start()
            self.recall()
        except OSError:
            self.started = None  # a full or read-only disk: `send` lists again

    def start(self):
        """The time of this file system, before anything is read."""
        mark = os.path.join(self.folder, b'%d.part' % os.getpid())
        with open(mark, 'wb') as file:
            self.started = os.fstat(file.fileno()).st_mtime_ns
        os.unlink(mark)

    def recall(self):
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            when = os.lstat(path).st_mtime_ns
            if self.started - when > 86400 * 10**9:
                os.unlink(path)
                continue
            for seen, sha, source in read_records(path):
                # Within two seconds a file can change and keep its times.
                if sha != b'-' and int(seen.split()[2]) < when - 2 * 10**9:
                    self.known[source] = (seen, sha)

    def digest(self, source, seen):
        before, sha = self.known.get(source, (None, None))
        return sha if before == seen else None

    def add(self, source, seen, sha):
        self.records.append(b'%s %s %s\0' % (seen, sha, source))

    def save(self, name):
        if self.started is None:
            return
        try:
            times = (self.started, self.started)
            write_whole(os.path.join(self.folder, name), b''.join(self.records), times)
        except OSError:
            pass


def read_records(path):
    """Each (key, digest, source) of a file that Memory kept."""
    with open(path, 'rb') as file:
        for record in file.read().split(b'\0')[:-1]:
            size, mtime, ctime, inode, sha, source = record.split(b' ', 5)
            yield b' '.join((size, mtime, ctime, inode)), sha, source


def manifest(answer, runs, max_file, max_files):
    for run in runs:
        try:
            listing = Listing(run['folder'], run['results'])
        except OSError as error:
            answer.line(b'run', b'0' * 64)
            answer.line(b'failed', plain_text(os.fsencode(error.strerror or str(error))))
            continue
        answer.line(b'run', listing.id)
        if len(listing.files) + len(listing.folders) + len(listing.refused) > max_files:
            answer.line(b'failed', b'many')
            continue
        for path in listing.folders:
            answer.line(b'folder', plain_text(path))
        for reason, path in listing.refused:
            answer.line(b'refused', reason, plain_text(path))
        list_files(answer, listing, max_file)
        os.close(listing.top)


def list_files(answer, listing, max_file):
    memory = Memory(listing)
    for index, (path, source, seen, executable) in enumerate(listing.files):
        sha, reason = memory.digest(source, seen), None
        if size_of(seen) > max_file:
            sha, reason = b'-', b'large'
        elif sha is None:
            try:
                status, sha = digest(listing.top, source)
                seen, executable = key(status), is_executable(status)
            except OSError:
                sha, reason = b'-', b'unreadable'
            except EOFError:
                sha, reason = b'-', b'changed'
        memory.add(source, seen, sha)
        if reason:
            answer.line(b'refused', reason, plain_text(path))
        else:
            size, mtime, _, _ = seen.split()
            mode = b'x' if executable else b'-'
            answer.line(b'file', index, size, mtime, mode, sha, plain_text(path))
    memory.save(listing.id)


def size_of(seen):
    return int(seen.split(b' ', 1)[0])


def counted(run):
    """[(source, size)] in the order that the manifest numbered them."""
    try:
        path = os.path.join(run['folder'], b'fetch', run['list'])
        return [(source, size_of(seen)) for seen, _, source in read_records(path)]
    except OSError:
        listing = Listing(run['folder'], run['results'])
        if listing.id != run['list']:
            raise OSError('the results changed meanwhile')
        return [(source, size_of(seen)) for _, source, seen, _ in listing.files]


def send(answer, runs):
    for number, run in enumerate(runs):
        if not run['want']:
            continue
        try:
            known = counted(run)
            top = os.open(run['folder'], os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            answer.line(b'failed', number, plain_text(os.fsencode(error.strerror or str(error))))
            continue
        for index in wanted(run['want']):
            answer.line(b'file', number, index)
            send_file(answer, top, *known[index])
        os.close(top)


def wanted(ranges):
    for part in b','.join(ranges).split(b','):
        first, _, last = part.partition(b'-')
        yield from range(int(first), int(last or first) + 1)


def send_file(answer, top, source, size):
    """At most `size` bytes: what a log gained since the manifest comes next time."""
    try:
        file, _ = open_plain(top, source)
    except OSError:
        answer.line(b'gone')
        return
    try:
        while size:
            block = os.read(file, min(CHUNK, size))
            if not block:
                break
            answer.data(block)
            size -= len(block)
        answer.line(b'done')
    except OSError:
        answer.line(b'gone')
    finally:
        os.close(file)


def parse(arguments):
    runs = []
    for name, value in zip(arguments[0::2], arguments[1::2]):
        if name == b'--run':
            runs.append({'folder': value, 'results': [], 'list': b'', 'want': []})
        elif name == b'--list':
            runs[-1]['list'] = value
        else:
            runs[-1]['results' if name == b'--result' else 'want'].append(value)
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
except BrokenPipeError:
    os._exit(1)  # nobody listens any more
