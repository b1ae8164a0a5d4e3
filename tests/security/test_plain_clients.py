"""The clients of docs/protocol.md: plain libzmq with a key file, in Python and in C."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import zmq

from dualbus.testing import Cluster
from dualbus.transport.keys import load_keys
from tests.conftest import ROOT
from tests.faults.needs import need
from tests.raw import RawClient, query
from tests.test_docs import PROTOCOL, blocks

from .test_permissions import KeyOf

HEADER = """
enum { ZMQ_DEALER = 5, ZMQ_SNDMORE = 2, ZMQ_CURVE_PUBLICKEY = 48, ZMQ_CURVE_SECRETKEY, ZMQ_CURVE_SERVERKEY };
void *zmq_ctx_new(void);
void *zmq_socket(void *, int);
int zmq_setsockopt(void *, int, const void *, size_t);
int zmq_connect(void *, const char *);
int zmq_send(void *, const void *, size_t, int);
int zmq_recv(void *, void *, size_t, int);
"""


def prepared(keyed: Cluster, key_of: KeyOf) -> Path:
    """Start the cluster; return the key file of a client, once everything answers."""
    key_of("shop", "--commands", "RenameUser", "--queries", "GetUser")
    keyed.start()
    with RawClient(keyed.front, load_keys(keyed.data / "keys", 30)) as own:
        own.ask(query("GetUser", user_id="user-123"))
    return keyed.folder / "shop.key"


def test_the_client_in_python_is_answered(keyed: Cluster, key_of: KeyOf) -> None:
    key_file = prepared(keyed, key_of)
    [program] = [block for block in blocks(PROTOCOL, "python") if "curve_serverkey" in block]
    assert "dualbus" not in program
    command = [sys.executable, "-c", program, keyed.front, str(key_file)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    renamed, found = map(json.loads, ran.stdout.splitlines())
    assert renamed["success"]
    assert found["data"] == {"id": "user-123", "name": "Jane"}


def test_the_client_in_c_is_answered(keyed: Cluster, key_of: KeyOf, tmp_path: Path) -> None:
    # The library of pyzmq stands for libzmq, and its declarations for zmq.h, where that is not installed.
    libraries = Path(zmq.__file__).parents[1] / "pyzmq.libs"
    library = next(libraries.glob("libzmq*.so*"), None)
    need("A C compiler", there=shutil.which("cc") is not None and library is not None)
    [program] = blocks(PROTOCOL, "c")
    (tmp_path / "client.c").write_text(program)
    if subprocess.run(["cc", "-E", "-xc", "-"], input="#include <zmq.h>", text=True, capture_output=True).returncode:
        (tmp_path / "zmq.h").write_text(HEADER)
    options = ["-D_GNU_SOURCE", "-Wall", "-Werror", "-I", str(tmp_path), f"-Wl,-rpath,{libraries}"]
    options += ["-Wl,--allow-shlib-undefined", str(library), "-o", str(tmp_path / "client")]
    subprocess.run(["cc", str(tmp_path / "client.c"), *options], check=True)

    command = [str(tmp_path / "client"), keyed.front, str(prepared(keyed, key_of))]
    ran = subprocess.run(command, capture_output=True, check=True, timeout=60)
    kind, [reply] = msgpack.unpackb(ran.stdout)
    assert kind == "reply"
    assert reply["body"]["data"] == {"id": "user-123", "name": "John Doe"}
