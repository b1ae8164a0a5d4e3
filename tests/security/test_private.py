"""Private values and secrets through every exit: also of an application whose functions raise with a message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from dualbus import Client, DualbusError
from dualbus.testing import Cluster, until
from dualbus.transport.keys import load_cluster_keys, load_keys
from tests.raw import RawClient, command, query
from tests.telemetry.collector import Collector
from tests.web.conftest import wait_until_serving

from .conftest import Operator
from .leaking import Save, Saved

SECRET = "secret.address@example.org"
VALUES: dict[str, Any] = {"item": "a", "secret": SECRET}
PATHS = [
    "/",
    "/events",
    "/metrics",
    "/queries/List",
    "/page/cluster",
    "/page/rates",
    "/page/events",
    "/page/events/1",
]
PATHS += ["/page/commands", "/page/commands/find?find=1", "/page/rows", "/page/application", "/docs", "/openapi.json"]
PATHS += ["/readyz", "/queries/Find?secret=x"]
NAMES = ("gateway", "commandbus", "projector", "querybus", "reactor", "web")


def exits(cluster: Cluster, operator: Operator, collector: Collector) -> dict[str, Callable[[], str]]:
    """Return the ways by which values leave a cluster, without `export` and `backup`."""

    def answered() -> str:
        events = {"src": "t", "body": {"type": "Events", "params": {}}}
        timeline = {"src": "t", "dest": "gateway", "body": {"type": "Timeline", "params": {"key": "k"}}}
        with RawClient(cluster.front, load_keys(cluster.data / "keys", 30)) as client:
            sent = [events, timeline, command("Save", key="k", **VALUES), command("Spoil", **VALUES)]
            return json.dumps(client.ask(*sent, query("List")))

    def served() -> str:
        with httpx.Client(base_url=cluster.http, headers=cluster.http_headers, timeout=60) as http:
            found = [http.get(path) for path in PATHS]
            found.append(http.post("/commands/Save", json=VALUES, headers={"Idempotency-Key": "k"}))
            found.append(http.post("/commands/Spoil", json=VALUES))
            assert {answer.status_code for answer in found} <= {200, 303, 500, 503, 504}, [
                each.status_code for each in found
            ]
            with http.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
                streamed = next(line for line in stream.iter_lines() if line.startswith("data:"))
        return streamed + "".join(answer.text + str(answer.headers) for answer in found)

    def traced() -> str:
        until(lambda: "commandbus decide Spoil" in collector.text)  # of the request over HTTP
        return collector.text

    def seen_by_the_system() -> str:
        folders = [Path("/proc", str(process.pid)) for process in cluster.processes if process.running]
        return "".join((folder / name).read_text() for folder in folders for name in ("environ", "cmdline", "comm"))

    return {
        "replies": answered,
        "pages": served,
        "status": lambda: operator("status", "--json"),
        "timeline": lambda: operator("timeline", "k"),
        "events": lambda: operator("events") + operator("events", "--json"),
        "parked": lambda: operator("parked", "list", "--json") + operator("parked", "list"),
        "describe": lambda: operator("describe"),
        "verify": lambda: operator("verify"),
        "export without private": lambda: operator("export", "--without-private"),
        "traces": traced,
        "system": seen_by_the_system,
        "logs": lambda: "".join(process.stderr_text for process in cluster.processes),
        "repr": lambda: f"{Save(**VALUES)!r} {Saved(**VALUES)!r} {Saved(**VALUES)}",
    }


def test_a_private_value_and_a_secret_leave_by_no_exit_but_export_and_backup(
    keyed: Cluster, operator: Operator
) -> None:
    keyed.environ |= {"DUALBUS_APP": "tests.security.leaking:app", "DUALBUS_LOG_FORMAT": "json"}
    keyed.environ |= {"DUALBUS_TIMEOUT_MS": "2000"}  # of queries that wait for the stopped projection
    keyed.environ |= {"PYTHONHASHSEED": "0"}  # so that the processes are not forked: /proc shows their environment
    load_cluster_keys(keyed.data / "keys")
    with Collector() as collector, Client(keyed.front, keys=keyed.data / "keys", timeout=60) as client:
        keyed.environ |= collector.settings
        keyed.start(*NAMES)
        wait_until_serving(keyed)
        # Given an event, a decision, a reaction and a query that raise, and at last a stopped projection
        client.command("Save", **VALUES, idempotency_key="k")
        assert client.query("List") == [{"item": "a"}]
        for failing in (lambda: client.command("Spoil", **VALUES), lambda: client.query("Find", secret=SECRET)):
            with pytest.raises(DualbusError):
                failing()
        until(lambda: '"mail"' in operator("parked", "list", "--json"))
        client.command("Stop", **VALUES)
        until(lambda: "cannot apply" in keyed.process("projector").stderr_text)
        # The control: the value is in the log, and in what has it on purpose
        assert SECRET in operator("export")
        operator("backup", str(keyed.folder / "copy.db"))
        assert SECRET.encode() in (keyed.folder / "copy.db").read_bytes()

        read = {name: exit_() for name, exit_ in exits(keyed, operator, collector).items()}

    keys = load_keys(keyed.data / "keys", 30)
    assert keys
    token = keyed.http_headers["authorization"].removeprefix("Bearer ")
    private = {"value": SECRET, "key": keys.secret, "gateway's key": keys.gateway_secret, "token": token}
    assert [(what, name) for what, value in private.items() for name, text in read.items() if value in text] == []
    # The control: each exit has something of the same messages
    for name, part in {
        "traces": "Save",
        "parked": "mail",
        "verify": "The read model",
        "repr": "Save(",
        "events": "Saved",
    }.items():
        assert part in read[name], name
