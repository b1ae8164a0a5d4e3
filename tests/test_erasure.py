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
from tests.conftest import ROOT
from tests.drain import Bus
from tests.history import project

PAGE = (ROOT / "docs" / "erasure.md").read_text()
users = load("users:app")


def create(name: str, key: str) -> dict[str, Any]:
    payload = {"name": name, "email": f"{name.lower()}@example.org"}
    return {"type": "CreateUser", "payload": payload, "idempotency_key": key, "metadata": {"browser": name}}


def run(folder: Path, *arguments: str, stdin: str = "") -> str:
    environ = os.environ | {"DUALBUS_APP": "users:app", "DUALBUS_DATA": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environ, input=stdin, capture_output=True, text=True, check=True
    ).stdout


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
    [script] = re.findall(r"```python title=erase.py\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "erase.py").write_text(script)

    exported = run(tmp_path, "-m", "dualbus", "export")
    erased = run(tmp_path, "erase.py", "id-1", stdin=exported)
    data.rename(tmp_path / "before")
    run(tmp_path, "-m", "dualbus", "import", stdin=erased)

    with closing(SqliteLogReader(data)) as log:
        project(data, users, log)
        after = log.read(0, 100)
    assert "whole" in run(tmp_path, "-m", "dualbus", "verify")
    assert files_with(tmp_path / "before", "uirinius") != []
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
