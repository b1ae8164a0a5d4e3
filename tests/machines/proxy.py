"""A proxy between a client and a NATS server that drops answers to publications."""

import re
import socket
import threading
from collections.abc import Callable
from typing import Self

_MESSAGE = re.compile(rb"MSG \S+ \S+ (?:\S+ )?(\d+)\r\n")
ACKNOWLEDGEMENTS = (b'{"stream":', b'{"error":')  # the begin of an answer of JetStream to a publication


class Proxy:
    """Forwards connections; `drops(payload)` decides which messages to the client are lost."""

    def __init__(self, port: int, drops: Callable[[bytes], bool]) -> None:
        self._server = "127.0.0.1", port
        self._drops = drops
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.dropped = 0
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
                if payload.startswith(ACKNOWLEDGEMENTS) and self._drops(payload):
                    self.dropped += 1
                else:
                    target.sendall(line + payload)
        except (OSError, ValueError):
            pass
        finally:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()
        for connected in self._open:
            connected.close()
