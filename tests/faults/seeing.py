"""What a test looks at from outside: the log, the read model, the memory of a process, the status."""

import json
from pathlib import Path
from typing import Any

from dualbus.application.app import App
from dualbus.log.contract import RecordedEvent
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.readmodel.file import file_name
from dualbus.readmodel.reader import ReadModelReader
from dualbus.testing import Cluster
from tests.raw import STATUS, Envelope, RawClient


def events(data: Path) -> list[RecordedEvent]:
    """Return everything in a log."""
    log = SqliteLogReader(data)
    try:
        return log.read(0, 1 << 62)
    finally:
        log.close()


def fields(data: Path) -> list[dict[str, Any]]:
    """Return what the events of a log say."""
    return [json.loads(event.data) for event in events(data)]


def rows(data: Path, app: App, sql: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the position of a read model, and rows of it, from one snapshot; position -1 if there is none."""
    path = data / file_name(app.projections)
    if not path.exists():
        return -1, []
    reader = ReadModelReader(path)
    try:
        return reader.begin().position, reader.all(sql)
    finally:
        reader.end()
        reader.close()


def memory_mb(pid: int) -> float:
    """Return how much memory a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def stopped(pid: int) -> bool:
    """Tell whether a signal has stopped a process."""
    return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()


def status(client: RawClient) -> dict[str, Any]:
    """Ask the gateway how the cluster is."""
    [reply] = client.ask(STATUS)
    data: dict[str, Any] = reply["data"]
    return data


def process_status(client: RawClient, name: str) -> dict[str, Any]:
    """Return what Status says of the process of that name; empty if it says nothing of it."""
    return next((one for one in status(client)["processes"] if one["name"] == name), {})


def wait_ready(client: RawClient) -> None:
    """Wait until commands and queries are answered."""
    probe = {"src": "ready", "body": {"type": "Nothing of that name"}}
    assert client.ask({**probe, "dest": "commandbus"}, {**probe, "dest": "querybus"})


def not_caught_up(client: RawClient, asked: Envelope) -> bool:
    """Tell whether querybus refuses a query because the read model is behind; a busy one may refuse it too late."""
    [body] = client.ask({**asked, "timeout_ms": 200})
    assert body["type"] == "error", body
    return body["code"] == 11 and "not caught up" in body["text"]


def said(cluster: Cluster, name: str) -> str:
    """Return what the processes of that name have said so far."""
    return "".join(process.stderr_text for process in cluster.processes if process.name == name)
