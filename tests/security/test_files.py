"""Files of a cluster: private from the start, and no link in the data folder hands anything over."""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dualbus import Client
from dualbus.runtime.files import Lock
from dualbus.testing import Cluster, until
from dualbus.transport.keys import Keys, load_keys
from tests.conftest import ROOT
from tests.raw import RawClient, create, query

from .conftest import Operator

SECRET = "secret.address@example.org"
PATHS = ["/", "/events", "/metrics", "/queries/ListUsers", "/page/cluster", "/page/rates", "/page/events"]
PATHS += ["/page/events/2", "/page/commands", "/page/rows", "/page/application", "/openapi.json"]


def test_every_file_and_socket_is_private_also_with_an_open_umask(keyed: Cluster, operator: Operator) -> None:
    for name, line in keyed.commands.items():
        keyed.commands[name] = ["sh", "-c", f"umask 0; exec {shlex.join(line)}"]
    keyed.start()
    with RawClient(keyed.front, load_keys_when_there(keyed)) as client:
        client.ask(create("Ada"), query("GetUser", user_id="user-123"))
        operator("keys", "add", "shop")
        operator("backup", str(keyed.folder / "copy.db"))
        own = [*keyed.data.rglob("*"), keyed.folder / "shop.key", keyed.folder / "copy.db"]
        own += [Path(address.removeprefix("ipc://")) for address in keyed.addresses.values()]
        open_ones = [path for path in own if path.stat().st_mode & 0o077]
    assert open_ones == []
    assert stat.S_IMODE(keyed.data.stat().st_mode) == 0o700


def load_keys_when_there(keyed: Cluster) -> Keys | None:
    until((keyed.data / "keys" / "cluster.key").exists)
    return load_keys(keyed.data / "keys", 30)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707, 0o702])
def test_a_data_folder_that_everyone_can_write_is_refused(keyed: Cluster, mode: int) -> None:
    keyed.data.mkdir()
    keyed.data.chmod(mode)
    for process in keyed.start():
        assert process.wait() == 78
        assert "can be written by every user: run chmod 700" in process.stderr_text
    assert list(keyed.data.iterdir()) == []


@pytest.mark.parametrize("name", ["log.lock", "projector.lock", "log.head", "log.head.new"])
def test_a_link_in_the_data_folder_changes_no_other_file(keyed: Cluster, name: str) -> None:
    victim = keyed.folder / "victim"
    victim.write_text("precious")
    keyed.data.mkdir(mode=0o700)
    (keyed.data / name).symlink_to(victim)
    process = "projector" if name == "projector.lock" else "commandbus"
    [started] = keyed.start(process)
    assert started.wait() in (74, 78)
    assert victim.read_text() == "precious"


def test_a_link_in_the_place_of_a_key_file_being_written_changes_no_other_file(keyed: Cluster) -> None:
    victim = keyed.folder / "victim"
    victim.write_text("precious")
    (keyed.data / "keys").mkdir(mode=0o700, parents=True)
    (keyed.data / "keys" / ".cluster.key.new").symlink_to(victim)
    keyed.start("gateway")
    until((keyed.data / "keys" / "cluster.key").exists)
    assert victim.read_text() == "precious"


def test_control_a_lock_that_follows_links_empties_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, link = tmp_path / "victim", tmp_path / "log.lock"
    victim.write_text("precious")
    link.symlink_to(victim)
    with pytest.raises(OSError):
        Lock(link, "test")
    monkeypatch.setattr(os, "O_NOFOLLOW", 0)
    Lock(link, "test").release()
    assert "precious" not in victim.read_text()


LOCK_AND_REMOVE = """
import sys
from pathlib import Path
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.runtime.files import Lock

path, held = Path(sys.argv[1]), 0
print(flush=True)
sys.stdin.readline()
while held < 1000:
    try:
        lock = Lock(path, "test")
    except AlreadyRunningError:
        continue
    held += 1
    path.unlink()  # raises if another process has removed the file of this lock
    lock.release()
"""


def test_a_lock_whose_file_was_removed_before_is_no_lock(tmp_path: Path) -> None:
    processes = [lock_and_remove(tmp_path / "test.lock") for _ in range(2)]
    for process in processes:
        assert process.stdout
        process.stdout.readline()  # both have started
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()

    assert [process.communicate()[1] for process in processes] == ["", ""]


def lock_and_remove(path: Path) -> subprocess.Popen[str]:
    """Start a process that locks and removes a file again and again, after a line to its standard input."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LOCK_AND_REMOVE, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_an_export_without_private_fields_has_all_else_and_no_hash_of_them(
    keyed: Cluster, operator: Operator
) -> None:
    keyed.start()
    with Client(keyed.front, keys=keyed.data / "keys") as client:
        client.command("CreateUser", name="Ada", email=SECRET, idempotency_key="k")
    lines = [json.loads(line) for line in operator("export", "--without-private").splitlines()]

    assert [line["data"].keys() for line in lines if "data" in line] == [{"id", "name"}] * 2
    assert [line["fingerprint"] for line in lines if "fingerprint" in line] == [None, None]
    command = [sys.executable, "-m", "dualbus", "import"]
    imported = subprocess.run(
        command,
        env={**keyed.environ, "DUALBUS_DATA": str(keyed.folder / "other"), "PYTHONPATH": str(ROOT)},
        cwd=keyed.folder,
        input="\n".join(map(json.dumps, lines)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert imported.returncode == 1
    assert "cannot read position 1" in imported.stderr
