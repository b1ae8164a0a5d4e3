"""A data folder or an address that cannot be used: a sentence and an exit code, from every process and caller."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from dualbus import AsyncClient, Client
from dualbus.runtime.errors import ConfigError
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.needs import need
from tests.raw import RawClient, create, query

WITH_DATA = ("commandbus", "projector", "querybus")
READERS = (["events"], ["verify"], ["export"], ["backup", "copy.db"])
WRITERS = (["restore", "backup.db"], ["import", "lines.json"])
UNPRIVILEGED = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]  # root without root's passkey


class Trouble(NamedTuple):
    """A path for the data that cannot be used, and how it is reported."""

    path: Path
    code: int
    reason: str


def a_file(folder: Path) -> Trouble:
    (folder / "file").write_text("not a folder")
    return Trouble(folder / "file", 78, "it is a file")


def under_a_file(folder: Path) -> Trouble:
    (folder / "file").write_text("not a folder")
    return Trouble(folder / "file" / "data", 78, "Not a directory")


def a_dangling_link(folder: Path) -> Trouble:
    (folder / "link").symlink_to("nowhere")
    return Trouble(folder / "link", 78, "it is a link to nowhere, which does not exist")


def a_link_to_itself(folder: Path) -> Trouble:
    (folder / "link").symlink_to("link")
    return Trouble(folder / "link", 78, "Too many levels of symbolic links")


def a_name_that_is_too_long(folder: Path) -> Trouble:
    return Trouble(folder / ("x" * 256), 78, "File name too long")


NO_FOLDERS = [a_file, under_a_file, a_dangling_link, a_link_to_itself, a_name_that_is_too_long]


def closed_to_this_user(folder: Path) -> Trouble:
    (folder / "closed").mkdir(mode=0)
    return Trouble(folder / "closed", 78, "Permission denied")


def not_to_be_written_by_this_user(folder: Path) -> Trouble:
    (folder / "closed").mkdir(mode=0o500)
    return Trouble(folder / "closed", 78, "Permission denied")


def within_what_is_closed(folder: Path) -> Trouble:
    (folder / "closed").mkdir(mode=0)
    return Trouble(folder / "closed" / "data", 78, "Permission denied")


def not_to_be_made_by_this_user(folder: Path) -> Trouble:
    (folder / "closed").mkdir(mode=0o500)
    return Trouble(folder / "closed" / "data", 78, "Permission denied")


CLOSED = [
    closed_to_this_user,
    not_to_be_written_by_this_user,
    within_what_is_closed,
    not_to_be_made_by_this_user,
]


def names(cases: Sequence[Callable[[Path], Trouble]]) -> list[str]:
    return [case.__name__.replace("_", " ") for case in cases]


@pytest.fixture
def unprivileged(cluster: Cluster) -> Cluster:
    """A cluster whose processes are bound by the permissions of files, also where root runs the tests."""
    if os.geteuid() == 0:
        done = subprocess.run([*UNPRIVILEGED, "true"], check=False, capture_output=True)
        need("setpriv", there=done.returncode == 0)
        cluster.commands = {name: [*UNPRIVILEGED, *line] for name, line in cluster.commands.items()}
    return cluster


def check_refusals(cluster: Cluster, trouble: Trouble, *processes: str) -> None:
    """Every process ends at once, with the code and one sentence."""
    for process in cluster.start(*processes, DUALBUS_DATA=str(trouble.path)):
        assert process.wait() == trouble.code, process.stderr_text
        [sentence] = process.stderr_text.splitlines()
        assert f" ERROR {process.name}: " in sentence
        assert str(trouble.path) in sentence
        assert f"({trouble.reason})" in sentence


def dualbus(environ: dict[str, str], *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    prefix = UNPRIVILEGED if os.geteuid() == 0 else []
    command = [*prefix, sys.executable, "-m", "dualbus", *arguments]
    found = {"PYTHONPATH": str(ROOT), **environ}
    return subprocess.run(command, env=found, cwd=cwd, capture_output=True, text=True, timeout=30, check=False)


def check_commands(cluster: Cluster, trouble: Trouble, *commands: list[str]) -> None:
    environ = {**cluster.environ, "DUALBUS_DATA": str(trouble.path)}
    (cluster.folder / "backup.db").touch()
    (cluster.folder / "lines.json").touch()
    for command in commands:
        done = dualbus(environ, *command, cwd=cluster.folder)
        assert (done.returncode, done.stdout) == (2 if trouble.code == 78 else 1, "")
        [sentence] = done.stderr.splitlines()
        assert str(trouble.path) in sentence
        assert f"({trouble.reason})" in sentence


@pytest.mark.parametrize("case", NO_FOLDERS, ids=names(NO_FOLDERS))
def test_what_cannot_be_a_data_folder_is_refused(cluster: Cluster, case: Callable[[Path], Trouble]) -> None:
    trouble = case(cluster.folder)
    check_refusals(cluster, trouble)
    check_commands(cluster, trouble, *READERS, *WRITERS)


@pytest.mark.parametrize("case", CLOSED, ids=names(CLOSED))
def test_a_data_folder_that_is_not_this_users_is_refused(
    unprivileged: Cluster, case: Callable[[Path], Trouble]
) -> None:
    trouble = case(unprivileged.folder)
    check_refusals(unprivileged, trouble, *WITH_DATA)
    check_commands(unprivileged, trouble, *WRITERS)


@pytest.mark.parametrize("case", [closed_to_this_user, within_what_is_closed])
def test_the_log_in_a_folder_that_cannot_be_read_is_not_taken_for_no_log(
    unprivileged: Cluster, case: Callable[[Path], Trouble]
) -> None:
    check_commands(unprivileged, case(unprivileged.folder), *READERS)


@pytest.fixture
def mounted(cluster: Cluster) -> Iterator[Path]:
    """A small disk of its own; needs the right to mount."""
    path = cluster.folder / "disk"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(path)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("This user may not mount a disk.")
    yield path
    for process in cluster.processes:
        process.end()
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize("there", [True, False], ids=["there", "to be made"])
def test_a_data_folder_on_a_disk_that_is_read_only_is_refused(cluster: Cluster, mounted: Path, there: bool) -> None:
    data = mounted / "data"
    if there:
        data.mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    trouble = Trouble(data, 74, "Read-only file system")
    check_refusals(cluster, trouble, *WITH_DATA)
    check_commands(cluster, trouble, *WRITERS)


def fill(folder: Path, room: int) -> None:
    """Leave so many bytes of a disk."""
    disk = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes(disk.f_bavail * disk.f_frsize - room))


SIGNS = {  # of a process that has started, or that waits for room
    "commandbus": ["from position"],
    "projector": ["is at position", "until this is fixed"],
}


@pytest.mark.parametrize("kib", [*range(0, 208, 16)])
def test_a_full_disk_at_the_first_start_is_reported_and_with_room_the_cluster_starts(
    cluster: Cluster, mounted: Path, kib: int
) -> None:
    # Given a disk with little or no room, and a log beside which there is no room for a read model
    cluster.environ["DUALBUS_DATA"] = str(mounted / "data")
    fill(mounted, kib * 1024)

    # When the writers start, then each runs, or ends with a sentence
    for name, signs in SIGNS.items():
        [process] = cluster.start(name)
        if name == "commandbus" or (mounted / "data" / "log.db").exists():
            until(lambda: not process.running or any(sign in process.stderr_text for sign in signs))  # noqa: B023
        if not process.running:
            assert process.wait() == 74, process.stderr_text
            sentences = process.stderr_text.splitlines()
            assert sum("room" in one or "space" in one for one in sentences) == 1
            assert len([one for one in sentences if "(pid " not in one]) == 1
        assert "Traceback" not in process.stderr_text

    # When there is room, then what has ended starts
    (mounted / "ballast").unlink()
    cluster.start("gateway", "querybus", *(one.name for one in cluster.processes if not one.running))
    with RawClient(cluster.front) as client:
        assert client.ask(create("Ada"))[0]["success"] is True
        assert {row["name"] for row in client.ask(query("ListUsers"))[0]["data"]} == {"John Doe", "Ada"}


def test_a_querybus_makes_the_folder_and_waits_and_a_gateway_does_not_need_it(cluster: Cluster) -> None:
    cluster.start("gateway", "querybus")
    with RawClient(cluster.front) as client:
        client.send({**query("ListUsers", 1), "timeout_ms": 9000})
        cluster.start("projector", "commandbus")
        assert client.wait_for([1])[0]["body"]["data"][0]["name"] == "John Doe"


def test_a_tilde_is_the_home_folder(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a data folder and addresses below ~
    monkeypatch.setenv("HOME", str(cluster.folder))
    cluster.environ |= {"HOME": str(cluster.folder), "DUALBUS_DATA": "~/mine"}
    cluster.environ |= {f"DUALBUS_{name.upper()}": f"ipc://~/{name}" for name in cluster.addresses}
    cluster.start()

    # Then all is there, for clients and the command line too
    with Client("ipc://~/front") as client:
        client.command("CreateUser", name="Ada", email="ada@example.org")
        assert len(client.query("ListUsers")) == 2
    assert (cluster.folder / "mine" / "log.db").exists()
    assert (cluster.folder / "front").is_socket()
    assert len(dualbus(cluster.environ, "events").stdout.splitlines()) == 2


ADDRESSES = {
    "too long": ("ipc:///tmp/" + "x" * 103, "has 108 bytes"),
    "too long in bytes": ("ipc:///tmp/" + "é" * 52, "has 109 bytes"),
    "of an unknown home": ("ipc://~nobody-of-this-name/x", "no such user"),
    "a folder": ("ipc:///tmp/", "not the path of a socket"),
    "a wildcard": ("ipc://*", "not the path of a socket"),
    "not text": ("ipc:///tmp/\udcff", "cannot be printed"),
}


@pytest.mark.parametrize(("address", "reason"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_that_no_socket_can_have_is_refused_by_every_process(
    cluster: Cluster, address: str, reason: str
) -> None:
    for process in cluster.start(DUALBUS_BACK=address):
        assert process.wait() == 78, process.stderr_text
        [sentence] = process.stderr_text.splitlines()
        assert f" ERROR {process.name}: DUALBUS_BACK is {address!r}" in sentence
        assert reason in sentence


@pytest.mark.parametrize(("address", "reason"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_that_no_socket_can_have_is_refused_by_clients_and_commands(
    cluster: Cluster, address: str, reason: str
) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(ConfigError, match=reason):
            client(address)
    done = dualbus({**cluster.environ, "DUALBUS_FRONT": address}, "status")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert reason in done.stderr


def test_a_client_connects_to_a_path_of_107_characters(cluster: Cluster) -> None:
    path = f"{cluster.folder}/".ljust(107, "x")
    cluster.environ["DUALBUS_FRONT"] = f"ipc://{path}"
    cluster.start()
    with Client(cluster.front) as client:
        assert len(client.query("ListUsers")) == 1

    async def ask() -> int:
        async with AsyncClient(cluster.front) as other:
            return len(await other.query("ListUsers"))

    assert asyncio.run(ask()) == 1


LISTENERS = {"gateway": "FRONT", "commandbus": "EVENTS", "projector": "PROGRESS"}


def refused_address(cluster: Cluster, address: str) -> Iterator[tuple[int, str]]:
    """Yield exit code and sentence of each process that is to listen on an address."""
    for name, variable in LISTENERS.items():
        cluster.environ[f"DUALBUS_{variable}"] = address
        [process] = cluster.start(name)
        code = process.wait()
        *_, sentence = process.stderr_text.splitlines()
        assert "Traceback" not in process.stderr_text
        yield code, sentence.partition(f"{name}: ")[2]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing/x", "No such file or directory"),
        ("file/x", "Not a directory"),
        ("file", "is not a socket"),
        ("folder", "is not a socket"),
    ],
)
def test_a_path_that_cannot_be_listened_on_is_a_wrong_setting(cluster: Cluster, path: str, reason: str) -> None:
    (cluster.folder / "file").write_text("kept")
    (cluster.folder / "folder").mkdir()
    address = f"ipc://{cluster.folder}/{path}"
    for code, sentence in refused_address(cluster, address):
        assert code == 78
        assert sentence.startswith(f"{address} cannot be listened on (")
        assert reason in sentence
        assert "stop" not in sentence
    assert (cluster.folder / "file").read_text() == "kept"


def test_a_folder_of_sockets_that_is_not_this_users_is_a_wrong_setting(unprivileged: Cluster) -> None:
    (unprivileged.folder / "closed").mkdir(mode=0o500)
    address = f"ipc://{unprivileged.folder}/closed/x"
    for code, sentence in refused_address(unprivileged, address):
        assert code == 78
        assert sentence.startswith(f"{address} cannot be listened on (Permission denied)")
