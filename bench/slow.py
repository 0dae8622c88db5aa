"""Readers that ask for much and take one byte a second of it."""

import socket
import struct
import threading

FETCH, VERSION = 1, 4
READERS = 4
ASKED_BYTES = 50 << 20
ASKED_TIMES = 50


class SlowReaders:
    """`READERS` connections at work as long as the block runs, on partition 0 of a topic that has much to read."""

    def __init__(self, bootstrap, topic):
        self._done = threading.Event()
        host, port = bootstrap.rsplit(":", 1)
        self._sockets = [asking(host, int(port), topic) for _ in range(READERS)]
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        for reader in self._sockets:
            reader.close()

    def _read(self):
        while not self._done.wait(1):
            for reader in self._sockets:
                reader.recv(1)


def asking(host, port, topic):
    """A connection with more requests under way than it will ever take the answers of."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect((host, port))
    for correlation in range(ASKED_TIMES):
        request = struct.pack(">hhih", FETCH, VERSION, correlation, -1)
        request += struct.pack(">iiiibi", -1, 100, 1, ASKED_BYTES, 0, 1)
        request += struct.pack(">h", len(topic)) + topic.encode()
        request += struct.pack(">iiqi", 1, 0, 0, ASKED_BYTES)
        reader.sendall(struct.pack(">i", len(request)) + request)
    return reader
