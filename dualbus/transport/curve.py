"""CURVE: encryption of sockets, and authentication of the peers by ZAP (https://rfc.zeromq.org/spec/27/).

A ZAP handler is a thread, so that a busy main thread does not delay handshakes. libzmq sends the handler the public
key of each peer during the handshake, and closes the connection if the handler refuses the key.
"""

import logging
import re
import threading
from collections.abc import Callable

import zmq
from zmq.utils import z85

KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # Z85 of 32 bytes
KEY_CHARS = 40
HANDSHAKE_MS = 10_000  # a connection without a finished handshake closes
CLIENTS, CLUSTER = "clients", "cluster"  # ZAP domains
_VERSION = b"1.0"

logger = logging.getLogger(__name__)

Admits = Callable[[str, str], bool]  # domain, public key


def new_pair() -> tuple[str, str]:
    """Return a new key pair, public and secret."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def secure_server(socket: "zmq.Socket[bytes]", secret: str, domain: str) -> None:
    """Encrypt the connections of a bound socket. Without a running ZAP handler, every peer is refused."""
    socket.curve_server = True
    socket.curve_secretkey = secret.encode()
    socket.zap_domain = domain.encode()
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.handshake_ivl = HANDSHAKE_MS


def secure_client(socket: "zmq.Socket[bytes]", server: str, public: str, secret: str) -> None:
    """Encrypt the connection of a connecting socket. A server without the secret of `server` cannot connect."""
    socket.curve_serverkey = server.encode()
    socket.curve_publickey = public.encode()
    socket.curve_secretkey = secret.encode()
    socket.handshake_ivl = HANDSHAKE_MS


class ZapHandler:
    """Answers the authentication requests of a context, until the context is terminated."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", admits: Admits) -> None:
        self._admits = admits
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind("inproc://zeromq.zap.01")
        threading.Thread(target=self._run, name="zap", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                request = self._socket.recv_multipart()
                if reply := self._reply(request):
                    self._socket.send_multipart(reply)
        except zmq.ContextTerminated:
            self._socket.close()

    def _reply(self, request: list[bytes]) -> list[bytes] | None:
        """Return the reply to a request. The user id of an admitted peer is its public key."""
        if len(request) < 8 or request[2] != _VERSION:
            return None
        address, delimiter, _, id_, domain, _, _, mechanism, *credentials = request
        status, text, user = b"400", b"This key is not among the keys of this cluster.", b""
        if mechanism == b"CURVE" and len(credentials) == 1 and len(credentials[0]) == 32:
            user = z85.encode(credentials[0])
            try:
                if self._admits(domain.decode(errors="replace"), user.decode()):
                    status, text = b"200", b"OK"
            except Exception:  # without this thread, nobody could connect any more
                logger.exception("A key could not be checked, and its connection is refused.")
        return [address, delimiter, _VERSION, id_, status, text, user, b""]
