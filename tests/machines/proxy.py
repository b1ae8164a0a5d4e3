"""Proxies between a client and a server: to NATS, with lost or other answers; to PostgreSQL, with silence."""

import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

_MESSAGE = re.compile(rb"MSG \S+ \S+ (?:\S+ )?(\d+)\r\n")
CHUNK_BYTES = 1 << 16
ACKNOWLEDGEMENTS = (b'{"stream":', b'{"error":')  # the begin of an answer of JetStream to a publication


class Forwarder:
    """Listens on a port of this machine, and connects each client to a server."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            self._open += [client, server]
            self._connected(client, server)

    def _connected(self, client: socket.socket, server: socket.socket) -> None:
        """Begin to forward in both directions."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()
        for connected in self._open:
            connected.close()


def in_background(function: Callable[[socket.socket, socket.socket], None], *pair: socket.socket) -> None:
    threading.Thread(target=function, args=pair, daemon=True).start()


class Proxy(Forwarder):
    """Forwards connections; `drops(payload)` decides which messages to the client are lost."""

    def __init__(self, port: int, drops: Callable[[bytes], bool]) -> None:
        self._drops = drops
        self.dropped = 0
        self.bytes_per_second = 0  # to the client; 0: no limit
        self.answers: list[bytes] = []  # to the next publications, instead of those of the server
        super().__init__(lambda: socket.create_connection(("127.0.0.1", port)))

    def _connected(self, client: socket.socket, server: socket.socket) -> None:
        in_background(self._forward, client, server)
        in_background(self._filter, server, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass

    def _filter(self, source: socket.socket, target: socket.socket) -> None:
        """Forward the messages of the server, without those that are lost."""
        stream = source.makefile("rb")
        try:
            while line := stream.readline():
                payload = b""
                if match := _MESSAGE.fullmatch(line):
                    payload = stream.read(int(match[1]) + 2)
                elif line.startswith(b"HMSG"):
                    payload = stream.read(int(line.split()[-1]) + 2)
                acknowledged = payload.startswith(ACKNOWLEDGEMENTS)
                if acknowledged and self._drops(payload):
                    self.dropped += 1
                else:
                    if acknowledged and self.answers:
                        answer = self.answers.pop(0)
                        line = b"%s %d\r\n" % (line.rsplit(b" ", 1)[0], len(answer))
                        payload = answer + b"\r\n"
                    self._send(target, line + payload)
        except (OSError, ValueError):
            pass
        finally:
            stream.close()

    def _send(self, target: socket.socket, data: bytes) -> None:
        for first in range(0, len(data), CHUNK_BYTES):
            target.sendall(data[first : first + CHUNK_BYTES])
            if self.bytes_per_second:
                time.sleep(min(CHUNK_BYTES, len(data) - first) / self.bytes_per_second)


class SilentProxy(Forwarder):
    """Forwards connections to a socket in the file system, until their peer is silent: as if its host were gone."""

    def __init__(self, server: Path) -> None:
        self._path = str(server)
        self.silent = False  # for new connections
        self._muted: set[socket.socket] = set()
        super().__init__(self._to_server)

    def _to_server(self) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._path)
        return server

    def mute(self) -> None:
        """Drop all bytes of the present connections from now on."""
        self._muted.update(self._open)

    def _connected(self, client: socket.socket, server: socket.socket) -> None:
        if self.silent:
            self.mute()
        in_background(self._forward, client, server)
        in_background(self._forward, server, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                if source not in self._muted:
                    target.sendall(data)
            if source not in self._muted:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
