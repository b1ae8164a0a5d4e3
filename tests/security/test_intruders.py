"""Peers without the right key: at every address, in every role, with and without ZeroMQ.

Each attack also runs against a cluster with keys off, where it must succeed: otherwise its failure proves nothing.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from dualbus import Client, Unavailable
from dualbus.testing import Cluster, until
from dualbus.transport.curve import new_pair, secure_client
from dualbus.transport.keys import Keys, load_cluster_keys, load_keys
from tests.raw import SECONDS, RawClient, create

from .zmtp import READY, connect, greeting, message

ON, OFF = pytest.param(True, id="keys"), pytest.param(False, id="control")
DEFENDED = pytest.mark.parametrize("defended", [ON, OFF])
SILENT_MS = 1500  # an intruder who hears nothing for so long hears nothing


@pytest.fixture
def city(keyed: Cluster, defended: bool) -> Cluster:
    """A cluster with keys, or the control without."""
    if not defended:
        keyed.environ["DUALBUS_KEYS"] = "off"
    return keyed


@pytest.fixture
def context() -> Iterator["zmq.Context[Any]"]:
    with zmq.Context() as made:
        yield made


def client_of(cluster: Cluster) -> Client:
    keys = cluster.environ.get("DUALBUS_KEYS", cluster.data / "keys")
    until(lambda: keys == "off" or Path(keys, "cluster.key").exists())
    return Client(cluster.front, keys=keys, timeout=30)


def ready(cluster: Cluster) -> None:
    """Wait until the cluster has answered a query."""
    with client_of(cluster) as client:
        assert client.query("GetUser", user_id="user-123")["name"] == "John Doe"


def stranger(context: "zmq.Context[Any]", kind: int, address: str, keys: Keys | None = None) -> "zmq.Socket[bytes]":
    """Connect without keys, or with those of somebody else."""
    made: zmq.Socket[bytes] = context.socket(kind)
    made.linger = 0
    if keys:
        secure_client(made, keys.gateway, keys.public, keys.secret)
    if kind == zmq.SUB:
        made.subscribe(b"")
    made.connect(address)
    return made


@DEFENDED
@pytest.mark.parametrize("name", ["events", "progress"])
def test_a_stranger_hears_no_events(city: Cluster, context: "zmq.Context[Any]", name: str, defended: bool) -> None:
    city.start()
    ready(city)
    spy = stranger(context, zmq.SUB, city.addresses[name])
    with client_of(city) as client:
        until(lambda: bool(client.command("CreateUser", name="Ada", email="secret@example.org")))
    heard = spy.poll(SILENT_MS)
    spy.close()
    assert bool(heard) is not defended


def registration(dest: str, types: list[str], identity: list[str] | None) -> bytes:
    packed: bytes = msgpack.packb(["ready", [[dest, "intruder", 1, 1, types, 100, identity, 1, 0, ""]]])
    return packed


@DEFENDED
@pytest.mark.parametrize("dest", ["commandbus", "querybus", "projector"])
def test_a_stranger_registers_as_no_worker(
    city: Cluster, context: "zmq.Context[Any]", dest: str, defended: bool
) -> None:
    city.start("gateway")
    until(lambda: Path(city.addresses["back"].removeprefix("ipc://")).exists())
    fake = stranger(context, zmq.DEALER, city.addresses["back"])
    fake.send(registration(dest, ["CreateUser"], ["log", "life"]))
    heard = fake.poll(SILENT_MS)  # the gateway's heartbeat to its worker
    fake.close()
    assert bool(heard) is not defended


@DEFENDED
@pytest.mark.parametrize("name", ["front", "back"])
def test_an_impostor_in_the_place_of_the_gateway_gets_nothing(
    city: Cluster, context: "zmq.Context[Any]", name: str, defended: bool
) -> None:
    # Given somebody who listens where the gateway should, with a pair of keys of their own
    thief = context.socket(zmq.ROUTER)
    thief.linger = 0
    if defended:
        thief.curve_server, thief.curve_secretkey = True, new_pair()[1].encode()
    thief.bind(city.addresses[name])
    # When a client or a worker of the cluster connects
    if name == "back":
        [worker] = city.start("querybus")
        until(lambda: "Answering from" in worker.stderr_text)
    else:
        if defended:
            load_cluster_keys(city.data / "keys")
        with Client(city.front, keys=city.environ.get("DUALBUS_KEYS", city.data / "keys"), timeout=1) as client:
            with pytest.raises(Exception) as failed:
                client.command("CreateUser", name="Ada", email="secret@example.org")
            # Then the client notices
            assert isinstance(failed.value, Unavailable) is defended
    heard = thief.poll(SILENT_MS if defended else SECONDS * 1000)
    thief.close()
    assert bool(heard) is not defended


@DEFENDED
def test_an_impostor_in_the_place_of_the_publisher_is_not_heard(
    city: Cluster, context: "zmq.Context[Any]", defended: bool
) -> None:
    # Given somebody who publishes where commandbus should
    liar = context.socket(zmq.XPUB)
    liar.linger = 0
    if defended:
        liar.curve_server, liar.curve_secretkey = True, new_pair()[1].encode()
    city.environ["DUALBUS_EVENTS"] = "tcp://127.0.0.1:15996"
    liar.bind(city.environ["DUALBUS_EVENTS"])
    [_, projector, commandbus] = city.start("gateway", "projector", "commandbus")
    assert commandbus.wait() == 69  # and says that the address is taken
    subscribed = liar.poll(SILENT_MS if defended else SECONDS * 1000)
    assert projector.running
    liar.close()
    assert bool(subscribed) is not defended


@DEFENDED
def test_the_wrong_key_opens_no_door(city: Cluster, defended: bool) -> None:
    # Given own keys with each public key of this cluster, and keys of another cluster
    city.start()
    ready(city)
    own = load_keys(city.data / "keys", 30) if defended else None
    tried = (
        [Keys(own.gateway, *new_pair()), Keys(own.public, *new_pair()), Keys(*new_pair(), own.public)]
        if own
        else [None]
    )
    for keys in tried:
        with RawClient(city.front, keys, plain=keys is None) as client:
            client.send(create("Eve"))
            assert bool(client.receive(SILENT_MS / 1000 if defended else SECONDS)) is not defended
    with client_of(city) as reader:
        until(lambda: len(reader.query("ListUsers")) == (1 if defended else 2))


@DEFENDED
def test_a_key_of_a_client_opens_only_the_door_for_clients(
    city: Cluster, context: "zmq.Context[Any]", key_of: Any, defended: bool
) -> None:
    shop = key_of("shop", "--commands", "*") if defended else None
    city.start()
    ready(city)
    own = load_keys(city.data / "keys", 30) if defended else None
    for server in (shop.gateway, own.public) if shop and own else ("",):  # also if the cluster's public key leaks
        keys = shop._replace(gateway=server) if shop else None
        back = stranger(context, zmq.DEALER, city.addresses["back"], keys)
        spy = stranger(context, zmq.SUB, city.addresses["events"], keys)
        back.send(registration("querybus", ["GetUser"], None))
        heard = [back.poll(SILENT_MS), spy.poll(SILENT_MS)]
        back.close()
        spy.close()
        assert list(map(bool, heard)) == [not defended] * 2


def recorded(address: str, keys: Keys | None, folder: Path) -> list[bytes]:
    """Return the chunks that a client sends to the gateway for one command, as a relay between them sees them."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "relay"))
    listener.listen()
    sent: list[bytes] = []
    with RawClient(f"ipc://{folder}/relay", keys, plain=keys is None) as client:
        client.send(create("Ada", 1))
        theirs, _ = listener.accept()
        ours = connect(address)
        theirs.setblocking(False)
        ours.setblocking(False)

        def answered() -> bool:
            for source, sink in ((theirs, ours), (ours, theirs)):
                try:
                    data = source.recv(1 << 16)
                except BlockingIOError:
                    continue
                sink.sendall(data)
                sent.extend([data] if source is theirs else [])
            client.receive()
            return 1 in client.replies

        until(answered)
        assert client.replies[1]["body"]["success"]
    for each in (listener, theirs, ours):
        each.close()
    return sent


@DEFENDED
def test_a_recorded_conversation_that_is_replayed_or_cut_changes_nothing(
    city: Cluster, folder: Path, defended: bool
) -> None:
    city.start()
    ready(city)
    chunks = recorded(city.front, load_keys(city.data / "keys", 30) if defended else None, folder)
    assert any(b"Ada" in chunk for chunk in chunks) is not defended
    for count in range(1, len(chunks) + 1):
        replay(city.front, chunks[:count])
    with client_of(city) as client:
        if defended:
            assert len(client.query("ListUsers")) == 2
            return

        def executed() -> bool:
            """The control: the bytes of a conversation execute its command again."""
            replay(city.front, chunks)
            return len(client.query("ListUsers")) > 2

        until(executed)


def replay(address: str, chunks: list[bytes]) -> None:
    """Send recorded chunks, each after everything that the peer sends."""
    with connect(address) as made, suppress(ConnectionError):
        made.settimeout(0.1)
        for chunk in chunks:
            made.sendall(chunk)
            with suppress(TimeoutError):
                while made.recv(1 << 16):
                    pass


JUNK = [b"", bytes(1000), b"GET / HTTP/1.1\r\n\r\n", os.urandom(5000), b"\xff" * 64, greeting(b"")[:12]]
TAILS = [b"", READY, b"\x04\xc8\x05HELLO" + os.urandom(194), os.urandom(500), b"\x04\xff", b"\x00\x00" * 50]
COMMAND = message(msgpack.packb(["send", [create("Eve")]]))


@DEFENDED
def test_raw_bytes_at_each_address_stop_nobody_and_say_nothing(city: Cluster, defended: bool) -> None:
    city.start()
    ready(city)
    for address in city.addresses.values():
        for mechanism in (b"NULL", b"PLAIN", b"CURVE", b"GSSAPI"):
            for tail in TAILS:
                with connect(address) as raw:
                    raw.sendall(greeting(mechanism) + tail)
        for junk in JUNK:
            with connect(address) as raw:
                raw.sendall(junk)
    # The control: bytes alone are a client, where no key is needed
    with connect(city.front) as eve:
        eve.sendall(greeting(b"NULL") + READY)
        with suppress(ConnectionError):
            heard = b""
            while READY[-10:] not in heard and (data := eve.recv(1000)):
                heard += data
            eve.sendall(COMMAND)
        with client_of(city) as client:
            assert client.command("CreateUser", name="Ada", email="a@example.org").position > 1
            until(lambda: len(client.query("ListUsers")) == (2 if defended else 3))
    assert all(process.running for process in city.processes)
