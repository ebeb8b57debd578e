"""ssh's ProxyCommand: carries one connection, counts its bytes, and cuts it where it is told to.

relay.py HOST PORT RULE COUNTS

RULE is a file: `drop up N`, `stall down N` and so on, read at the start; absent or empty, the connection is left
alone. `up` is from the client to the server. `drop` ends the connection after exactly N bytes of that direction,
`stall` stops carrying anything from there on. COUNTS is a folder: each connection keeps one file there that says how
many bytes went up and down so far.
"""

import os
import selectors
import signal
import socket
import sys
import time

host, port, rule_path, counts_path = sys.argv[1:]
try:
    with open(rule_path) as file:
        kind, direction, limit = file.read().split()
except (FileNotFoundError, ValueError):
    kind, direction, limit = "pass", "", "0"
limit = int(limit)

server = socket.create_connection((host, int(port)))
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
name = f"{time.time_ns():020d}-{os.getpid()}"
counts = os.open(os.path.join(counts_path, name), os.O_WRONLY | os.O_CREAT, 0o600)
carried = {"up": 0, "down": 0}


def note():
    os.pwrite(counts, b"%20d %20d\n" % (carried["up"], carried["down"]), 0)


def carry(direction, data):
    if direction == "up":
        server.sendall(data)
    else:
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
    carried[direction] += len(data)
    note()


for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
    signal.signal(number, signal.SIG_DFL)

note()
ready = selectors.DefaultSelector()
ready.register(0, selectors.EVENT_READ, "up")
ready.register(server, selectors.EVENT_READ, "down")
while True:
    for key, _ in ready.select():
        data = os.read(0, 65536) if key.data == "up" else server.recv(65536)
        if not data:
            sys.exit(0)
        if kind != "pass" and key.data == direction and carried[direction] + len(data) >= limit:
            carry(direction, data[: limit - carried[direction]])
            if kind == "drop":
                sys.exit(0)
            while True:
                signal.pause()
        carry(key.data, data)
