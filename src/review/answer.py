"""What a run left behind: listed, then sent.

git-agile starts it on a server as `python3 -c PROGRAM MODE ARGUMENT...`, Python 3.6 or later:

    manifest NONCE MAX_FILE MAX_FILES (--run RUNDIR (--result PATTERN)* (--only PATTERN)* OPTION*)+
    send NONCE (--run RUNDIR --list ID (--result PATTERN)* (--only PATTERN)* (--want RANGES)*)+

An OPTION is `--moving yes`, `--have STATE` or `--contents yes`. This file, list.py and send.py are one program. What it
answers is described in src/review/wire.rs, which reads it: change both together.
"""
import bisect
import errno
import hashlib
import os
import re
import stat
import sys
import time
import zlib


class Zstd:
    """libzstd, where the system has it. What comes out can be unpacked up to there."""

    def __init__(self):
        import ctypes  # takes a while, and is needed only here

        class Buffer(ctypes.Structure):
            _fields_ = [('at', ctypes.c_void_p), ('size', ctypes.c_size_t), ('done', ctypes.c_size_t)]
        for name in 'libzstd.so.1', 'libzstd.1.dylib':
            try:
                self.library = ctypes.CDLL(name)
                break
            except OSError:
                pass
        else:
            raise OSError('no libzstd')
        self.ctypes, self.buffer = ctypes, Buffer
        self.library.ZSTD_createCCtx.restype = ctypes.c_void_p
        self.library.ZSTD_CCtx_setParameter.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        self.library.ZSTD_compressStream2.restype = ctypes.c_size_t
        buffer = ctypes.POINTER(Buffer)
        self.library.ZSTD_compressStream2.argtypes = [ctypes.c_void_p, buffer, buffer, ctypes.c_int]
        self.out, self.room = None, 0
        self.state = self.library.ZSTD_createCCtx()
        # The level, and a window of 4 MiB: runs print much alike.
        for parameter, value in (100, 3), (101, 22):
            self.library.ZSTD_CCtx_setParameter(self.state, parameter, value)

    def pack(self, block):
        room = len(block) + (len(block) >> 7) + 1024
        if self.room < room:
            self.out, self.room = self.ctypes.create_string_buffer(room), room
        given = self.buffer(self.ctypes.cast(block, self.ctypes.c_void_p), len(block), 0)
        got = self.buffer(self.ctypes.cast(self.out, self.ctypes.c_void_p), self.room, 0)
        left = self.library.ZSTD_compressStream2(self.state, got, given, 1)  # ZSTD_e_flush
        if left or given.done != len(block):
            raise OSError('zstd failed')
        return self.ctypes.string_at(self.out, got.done)


class Deflate:
    """What every Python has."""

    def __init__(self):
        self.state = zlib.compressobj(4, zlib.DEFLATED, -15, 9)

    def pack(self, block):
        return self.state.compress(block) + self.state.flush(zlib.Z_SYNC_FLUSH)


def packer():
    """A way to pack, with its name in a frame."""
    try:
        return b'zstd', Zstd()
    except (ImportError, AttributeError, OSError):
        return b'deflate', Deflate()


class Frames:
    """Bytes to standard output, in frames as src/review/wire.rs describes them. A thread packs and writes them
    while the next are read; it packs what becomes smaller, and only as long as the line is slower than that."""
    SIZE = 1 << 18
    # A frame holds no more, for wire.rs takes 1 MiB; it begins with what waited, and a whole file may follow.
    MOST = 1 << 19
    # Packing is tried, or given up for a while, after so many bytes on the line; its buffers swallow less.
    TRIAL = 8 << 20

    def __init__(self):
        self.waiting, self.size = [], 0
        self.failed = None
        self.kind, self.packer = None, None
        self.packs, self.since, self.was_blocked = True, 0, False
        self.packed, self.packing = 0, 1e-9
        self.sent, self.sending = 0.0, 1e-9
        self.thread = None

    def write(self, data):
        self.waiting.append(data)
        self.size += len(data)
        if self.size >= self.SIZE:
            self.flush()

    def flush(self):
        if self.failed:
            raise self.failed
        if self.size:
            self.start()
            data = b''.join(self.waiting)
            for at in range(0, len(data), self.MOST):
                self.blocks.put(data[at:at + self.MOST])
        self.waiting, self.size = [], 0

    def start(self):
        if not self.thread:
            import queue  # these take a while, and a short answer needs none
            import threading
            self.blocks = queue.Queue(4)
            self.thread = threading.Thread(target=self.work, daemon=True)
            self.thread.start()

    def close(self):
        if not self.thread:
            self.send(b''.join(self.waiting))
            return
        self.flush()
        self.blocks.put(None)
        self.thread.join()
        if self.failed:
            raise self.failed

    def work(self):
        block = self.blocks.get()
        while block is not None:
            try:
                if not self.failed:
                    self.send(block)
            except OSError as error:
                self.failed = error
            block = self.blocks.get()

    def send(self, block):
        share = self.share(block)
        if self.is_worth(share):
            begun = time.monotonic()
            if not self.packer:
                self.kind, self.packer = packer()
            packed = self.packer.pack(block)
            self.packing += time.monotonic() - begun
            self.packed += len(block)
            frame = b'%s %d %d\n%s' % (self.kind, len(packed), len(block), packed)
        else:
            frame = b'raw %d\n%s' % (len(block), block)
        begun = time.monotonic()
        write_all(1, frame)
        took = time.monotonic() - begun
        self.was_blocked = self.was_blocked or took > 0.001
        self.sent = self.sent * 0.9 + len(frame)
        self.sending = self.sending * 0.9 + took
        self.since += len(frame)

    def share(self, block):
        """About how much would be left of a block: from three places of it."""
        if len(block) < 1024:
            return 1
        third = len(block) // 3
        sample = b''.join(block[i * third:i * third + 1024] for i in range(3))
        return len(zlib.compress(sample, 1)) / len(sample)

    def is_worth(self, share):
        if self.since > self.TRIAL:
            if not self.packs:
                gained = (1 - share) * self.packed / self.packing
                self.packs = self.was_blocked and gained > self.sent / self.sending
            elif not self.was_blocked:
                self.packs = False  # the line waits for the packing
            self.since, self.was_blocked = 0, False
        return self.packs and share < 0.9


def write_all(file, data):
    data = memoryview(data)
    while data:
        data = data[os.write(file, data):]


class Answer:
    """Lines to standard output, counted and hashed; the last one proves that none is missing."""

    def __init__(self, mode, nonce):
        # What start-up files print may lack its line feed.
        write_all(1, b'\ngit-agile-results 3 %s %s\n' % (mode, nonce))
        self.out = Frames()
        self.digest = hashlib.sha256()
        self.lines = 0
        self.nonce = nonce

    def line(self, *words):
        self.text(b' '.join([w if isinstance(w, bytes) else b'%d' % w for w in words]) + b'\n')

    def text(self, line, data=b''):
        """A line as it is, and bytes after it."""
        self.digest.update(line)
        self.lines += 1
        self.out.write(line + data)

    def close(self):
        digest = self.digest.hexdigest().encode()
        self.out.write(b'end %s %d %s\n' % (self.nonce, self.lines, digest))
        self.out.close()


PLAIN_TEXT = bytes(byte for byte in range(33, 127) if byte != 37)


def plain_text(data):
    """Bytes as one word of printable ASCII."""
    if not data.translate(None, PLAIN_TEXT):
        return data
    return re.sub(rb'[^!-$&-~]', lambda m: b'%%%02X' % m.group()[0], data)


def from_text(word):
    """The bytes that plain_text made a word of."""
    if b'%' not in word:
        return word
    return re.sub(rb'%(..)', lambda m: bytes([int(m.group(1), 16)]), word)
