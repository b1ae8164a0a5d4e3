"""The files of the keys: created by the first process, private from the start, refused when others can read them."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dualbus import Client, Unavailable
from dualbus.protocol.permissions import Permissions
from dualbus.runtime.errors import ConfigError
from dualbus.testing import Cluster, until
from dualbus.transport.keys import NamedClient, load_cluster_keys, load_keys, write_clients
from tests.conftest import ROOT
from tests.raw import RawClient, create, query

from .conftest import Operator


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_whoever_is_first_makes_the_keys_and_all_use_them_without_a_setting(
    keyed: Cluster, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed.start()
    monkeypatch.delenv("DUALBUS_KEYS")
    monkeypatch.setenv("DUALBUS_DATA", str(keyed.data))
    until(lambda: (keyed.data / "keys" / "cluster.key").exists())

    with Client(keyed.front) as client:
        client.command("CreateUser", name="Ada", email="ada@example.org")
        assert len(client.query("ListUsers")) == 2

    assert '"name": "John Doe"' in operator("query", "GetUser", "user_id=user-123")
    assert (mode(keyed.data), mode(keyed.data / "keys")) == (0o700, 0o700)
    assert [(path.name, mode(path)) for path in (keyed.data / "keys").iterdir()] == [("cluster.key", 0o600)]


def test_five_processes_that_start_at_once_agree_on_the_keys(folder: Path) -> None:
    code = "import sys; from dualbus.transport.keys import *; print(load_cluster_keys(Path(sys.argv[1])).public)"
    for attempt in range(4):
        path = folder / str(attempt) / "keys"
        command = [sys.executable, "-c", code, str(path)]
        racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(5)]
        found = {process.communicate()[0] for process in racing}
        assert len(found) == 1
        assert os.listdir(path) == ["cluster.key"]


def test_a_process_that_was_killed_while_it_made_the_keys_hinders_nobody(folder: Path) -> None:
    (folder / "keys").mkdir(mode=0o700)
    (folder / "keys" / ".cluster.key.new").write_text("half")

    assert load_cluster_keys(folder / "keys") == load_cluster_keys(folder / "keys")


def test_a_secret_is_in_no_log_no_status_no_environment_and_no_repr(keyed: Cluster, operator: Operator) -> None:
    keyed.environ["PYTHONHASHSEED"] = "0"  # so that the processes are not forked: /proc shows their environment
    keyed.start()
    until(lambda: (keyed.data / "keys" / "cluster.key").exists())
    with RawClient(keyed.front, keys := load_keys(keyed.data / "keys", 30)) as client:
        client.ask(query("GetUser", user_id="user-123"))
    status = operator("status", "--json")
    assert keys

    shown = status + operator("keys", "list") + repr(keys)
    for process in keyed.processes:
        proc = Path("/proc", str(process.pid))
        shown += process.stderr_text + proc.joinpath("environ").read_text() + proc.joinpath("cmdline").read_text()
    assert keys.secret not in shown
    assert keys.gateway_secret not in shown
    assert keys.gateway in shown


@pytest.mark.parametrize("bits", [0o604, 0o640, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(folder: Path, bits: int) -> None:
    load_cluster_keys(folder)
    (folder / "cluster.key").chmod(bits)

    with pytest.raises(ConfigError, match="is open to other users: run chmod 600") as refused:
        load_cluster_keys(folder)
    assert refused.value.exit_code == 78


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"gateway": 1}', '{"gateway": "' + "x" * 40 + '"}', "\xff", "[" * 100_000]
)
def test_a_damaged_key_is_named(folder: Path, text: str) -> None:
    load_cluster_keys(folder)
    (folder / "cluster.key").write_text(text)

    with pytest.raises(ConfigError, match=r"cluster\.key is not"):
        load_cluster_keys(folder)


def test_a_key_that_is_no_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "cluster.key", 0o600)

    with pytest.raises(ConfigError, match="is not a file"):
        load_cluster_keys(folder)


def test_the_key_of_a_client_starts_no_process(keyed: Cluster, operator: Operator) -> None:
    operator("keys", "add", "shop")
    [gateway] = keyed.start("gateway", DUALBUS_KEYS=str(keyed.folder / "shop.key"))

    assert gateway.wait() == 78
    assert "is the key of a client" in gateway.stderr_text


def test_keys_that_are_off_are_said_at_the_start_and_only_on_this_machine(keyed: Cluster) -> None:
    [gateway] = keyed.start("gateway", DUALBUS_KEYS="off")
    until(lambda: "DUALBUS_KEYS is off: every user of this machine can connect" in gateway.stderr_text)
    assert not (keyed.data / "keys").exists()

    [refused] = keyed.start("gateway", DUALBUS_KEYS="off", DUALBUS_FRONT="tcp://0.0.0.0:5999")
    assert refused.wait() == 78
    assert "other machines can reach, and DUALBUS_KEYS is off" in refused.stderr_text


def test_an_address_that_other_machines_can_reach_serves_those_with_keys(keyed: Cluster) -> None:
    keyed.environ["DUALBUS_FRONT"] = "tcp://0.0.0.0:15997"
    keyed.start()
    until(lambda: (keyed.data / "keys" / "cluster.key").exists())

    with RawClient("tcp://127.0.0.1:15997", load_keys(keyed.data / "keys", 30)) as client:
        [created] = client.ask(create("Ada"))
    assert created["success"]


def test_a_client_with_other_keys_is_told_how_to_get_the_right_ones(keyed: Cluster, folder: Path) -> None:
    keyed.start("gateway")
    until(lambda: Path(keyed.front.removeprefix("ipc://")).exists())

    load_cluster_keys(folder / "others")
    refused = pytest.raises(Unavailable, match="do not accept each other's keys: set DUALBUS_DATA")
    with Client(keyed.front, timeout=1.0, keys=folder / "others") as client, refused:
        client.query("ListUsers")


def test_the_operator_adds_lists_rotates_and_removes_keys(keyed: Cluster, operator: Operator) -> None:
    operator("keys", "add", "shop", "--commands", "Create*", "--commands", "Rename*", "--queries", "*")
    first = json.loads((keyed.folder / "shop.key").read_text())
    assert mode(keyed.folder / "shop.key") == 0o600
    assert first.keys() == {"gateway", "public", "secret"}
    [listed] = [json.loads(line) for line in operator("keys", "list", "--json").splitlines()]
    expected = {"commands": ["Create*", "Rename*"], "queries": ["*"], "events": []}
    assert listed == {"name": "shop", "public": first["public"], **expected}

    operator("keys", "rotate", "shop", "--file", "new.key")
    assert json.loads((keyed.folder / "new.key").read_text())["public"] in operator("keys", "list")
    assert first["public"] not in operator("keys", "list")
    assert first["secret"] not in (keyed.data / "keys" / "clients.json").read_text()
    operator("keys", "remove", "shop")

    assert operator("keys", "list", "--json") == ""
    assert mode(keyed.data / "keys" / "clients.json") == 0o600
    assert "exists: move the file" in operator("keys", "add", "shop", code=2)
    assert "shop has no key" in operator("keys", "remove", "shop", code=2)
    assert "is not a name" in operator("keys", "add", "../shop", code=2)


def test_a_key_is_listed_as_it_is_also_if_it_looks_like_markup(keyed: Cluster, operator: Operator) -> None:
    operator("keys", "list")  # creates the keys of the cluster
    public = "[red]:ok:vCKu!kl4u8[aG9K3Qx]:bug:xBnz[/]"
    write_clients(keyed.data / "keys", {"shop": NamedClient("shop", public, Permissions((), (), ()))})

    assert public in operator("keys", "list")


def test_a_client_creates_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DUALBUS_KEYS", "")
    with pytest.raises(ConfigError, match=r"There are no keys in data/keys: start the cluster, or set DUALBUS_DATA"):
        Client(timeout=0.1)
    with pytest.raises(ConfigError, match=r"There are no keys in /nowhere\.key: start"):
        Client(keys="/nowhere.key", timeout=0.1)
    assert list(tmp_path.iterdir()) == []
