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


class Proxy:
    """Forwards connections; `drops(payload)` decides which messages to the client are lost."""

    def __init__(self, port: int, drops: Callable[[bytes], bool]) -> None:
        self._server = "127.0.0.1", port
        self._drops = drops
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.dropped = 0
        self.bytes_per_second = 0  # to the client; 0: no limit
        self.answers: list[bytes] = []  # to the next publications, instead of those of the server
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            threading.Thread(target=self._filter, args=(server, client), daemon=True).start()

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()
        for connected in self._open:
            connected.close()


class SilentProxy:
    """Forwards connections to a socket in the file system, until their peer is silent: as if its host were gone."""

    def __init__(self, server: Path) -> None:
        self._server = str(server)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.silent = False  # for new connections
        self._open: list[socket.socket] = []
        self._muted: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def mute(self) -> None:
        """Drop all bytes of the present connections from now on."""
        self._muted.update(self._open)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._open += [client, server]
            if self.silent:
                self.mute()
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                if source not in self._muted:
                    target.sendall(data)
            if source not in self._muted:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()
        for connected in self._open:
            connected.close()
