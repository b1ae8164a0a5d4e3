"""The script of docs/erasure.md: a person's data is in no file of the new data folder, and the rest is unchanged."""

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from dualbus.application.loader import load
from dualbus.commandbus.node import genesis
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.transport.keys import load_cluster_keys
from tests.conftest import ROOT
from tests.drain import Bus
from tests.history import project

PAGE = (ROOT / "docs" / "erasure.md").read_text()
users = load("users:app")


def create(name: str, key: str) -> dict[str, Any]:
    payload = {"name": name, "email": f"{name.lower()}@example.org"}
    return {"type": "CreateUser", "payload": payload, "idempotency_key": key, "metadata": {"browser": name}}


def run(folder: Path, commands: str) -> str:
    """Run shell commands in a folder; return the output."""
    environ = os.environ | {"DUALBUS_APP": "users:app", "DUALBUS_DATA": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(["sh", "-ec", commands], cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def files_with(folder: Path, text: str) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_person_is_erased_from_an_export_and_nothing_else_changes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with closing(SqliteLog(data, lambda secret: genesis(users, secret))) as log:
        bus = Bus(log, users)
        bus.send(create("Quirinius", "k1"), create("Bob", "k2"))
        rename = {"type": "RenameUser", "payload": {"user_id": "id-1", "name": "Quirinius II"}}
        bus.send({**rename, "idempotency_key": "k3"})
        before = log.read(0, 100)
    load_cluster_keys(data / "keys")
    keys = (data / "keys" / "cluster.key").read_text()
    [script] = re.findall(r"```python title=erase.py\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "erase.py").write_text(script)
    [commands] = re.findall(r"```sh\n(dualbus export .*?)```", PAGE, re.DOTALL)

    said = run(tmp_path, commands.replace("user-17", "id-1"))

    with closing(SqliteLogReader(data)) as log:
        project(data, users, log)
        after = log.read(0, 100)
    assert "whole" in said
    assert (data / "keys" / "cluster.key").read_text() == keys
    assert files_with(tmp_path / "data.before", "uirinius") != []
    assert files_with(data, "uirinius") == []
    assert [one[:2] + one[3:5] for one in after] == [one[:2] + one[3:5] for one in before]  # all but data and hash
    changed = [json.loads(new.data) for new, old in zip(after, before, strict=True) if new.data != old.data]
    assert changed == [
        {"id": "id-1", "name": "erased", "email": "erased@example.invalid"},
        {"id": "id-1", "name": "erased"},
    ]
    with closing(SqliteLog(data, lambda secret: genesis(users, secret))) as log:
        [answer] = Bus(log, users).send(create("Bob", "k2"))
        assert answer["success"]
