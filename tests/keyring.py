"""The keys of the tests' clusters, for sockets that tests make by hand."""

import os
import tempfile
from pathlib import Path
from typing import Any

import zmq

from dualbus.transport.curve import CLUSTER, ZapHandler, secure_client, secure_server
from dualbus.transport.keys import Keys, load_cluster_keys

# Of all clusters and clients of the tests; a process that a test starts inherits the variable.
FOLDER = Path(os.environ.get("DUALBUS_KEYS") or tempfile.mkdtemp(prefix="dbkeys"))


def keys() -> Keys:
    """Return the keys of all clusters of the tests."""
    found = load_cluster_keys(FOLDER)
    assert found
    return found


def as_client(socket: "zmq.Socket[bytes]", own: Keys | None = None) -> None:
    """Let a socket connect to a gateway's address for clients, with the keys of a client or of the cluster."""
    own = own or keys()
    secure_client(socket, own.gateway, own.public, own.secret)


def as_process(socket: "zmq.Socket[bytes]") -> None:
    """Let a socket connect to any other address of a cluster, as one of its processes."""
    own = keys()
    secure_client(socket, own.public, own.public, own.secret)


def as_server(*sockets: "zmq.Socket[bytes]", context: "zmq.Context[Any]", front: bool = False) -> None:
    """Let sockets be bound in the place of the cluster's; call this once for a context."""
    own = keys()
    for socket in sockets:
        secure_server(socket, own.gateway_secret if front else own.secret, CLUSTER)
    ZapHandler(zmq.Context.shadow(context), lambda domain, key: key == own.public)
