"""The origin of a command: from standard input, ZeroMQ and clients into the log, and out of it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from dualbus import AsyncClient, Client, Rejected
from dualbus.application.loader import load
from dualbus.commandbus.node import genesis
from dualbus.gateway.access import CLUSTER
from dualbus.gateway.envelope import BadEnvelope, read_request
from dualbus.log.contract import Decision, NewEvent, Origin
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.operations.verify import verify
from dualbus.protocol.codes import WireError
from dualbus.protocol.records import read_work
from dualbus.testing import Cluster, until
from tests.cli.conftest import Run
from tests.cli.conftest import run as run  # a fixture
from tests.conftest import ROOT
from tests.faults.seeing import events
from tests.journal import ReadJournal, Write
from tests.raw import RawClient
from users import app

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TIME = "2026-01-31T12:00:00.000000Z"


def create(number: int, **more: Any) -> dict[str, Any]:
    payload = {"name": f"Ada {number}", "email": "ada@example.org"}
    return {"type": "CreateUser", "msg_id": number, "payload": payload, **more}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metadata": ["a"]}, "metadata must be an object whose values are text."),
        ({"metadata": {"a": 1}}, "metadata must be an object whose values are text."),
        ({"metadata": None}, "metadata must be an object whose values are text."),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata has 17 entries: at most 16 are possible."),
        ({"metadata": {"a": "é" * 2048}}, "metadata is longer than 4096 bytes."),
        ({"trace": 5}, "trace must be a W3C traceparent, such as 00-"),
        ({"trace": TRACE.upper()}, "trace must be a W3C traceparent"),
        ({"trace": TRACE + "\n"}, "trace must be a W3C traceparent"),
        ({"trace": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, "trace must be a W3C traceparent"),
        ({"trace": "ff" + TRACE[2:]}, "trace must be a W3C traceparent"),
    ],
)
def test_invalid_metadata_and_an_invalid_trace_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(BadEnvelope) as refused:
        read_request({"dest": "commandbus", "body": create(7, **more)}, CLUSTER)

    assert said in str(refused.value)
    assert refused.value.msg_id == 7
    with pytest.raises(WireError):  # and by commandbus
        read_work([[1, 1, "", 1000, "k", 0, create(7, **more)]], 0.0)


def test_metadata_at_its_limits_is_accepted() -> None:
    metadata = {f"{number:02}": "x" * 254 for number in range(16)}

    assert read_request({"body": create(1, metadata=metadata, trace=TRACE)}, CLUSTER).key is None


def test_metadata_and_trace_reach_the_log_and_are_shown(cluster: Cluster, run: Run) -> None:
    cluster.start()
    with RawClient(cluster.front) as raw:
        wire = create(1, metadata={"tenant": "t-1"}, trace=TRACE, idempotency_key="wire")
        [reply] = raw.ask({"dest": "commandbus", "body": wire})
        assert reply["success"]
    with Client(cluster.front) as client:
        client.command("CreateUser", name="Bob", email="b@example.org", metadata={"ip": "::1"}, idempotency_key="k2")
        with pytest.raises(Rejected, match="metadata must be an object whose values are text"):
            client.command("CreateUser", name="Bob", email="b@example.org", metadata={"ip": 1})  # type: ignore[dict-item]
    asyncio.run(by_async_client(cluster.front))

    lines = [json.loads(line) for line in run("events", "--json", data=cluster.data).out.splitlines()]

    nothing = {"type": "CreateUser", "actor": None, "cause": None, "trace": None}
    assert [line["origin"] for line in lines] == [
        {**nothing, "type": None, "correlation": "genesis", "metadata": {}},
        {**nothing, "correlation": "wire", "trace": TRACE, "metadata": {"tenant": "t-1"}},
        {**nothing, "correlation": "k2", "metadata": {"ip": "::1"}},
        {**nothing, "correlation": "k3", "metadata": {"a": ""}},
    ]
    assert "tenant" not in run("events", data=cluster.data).out


async def by_async_client(front: str) -> None:
    async with AsyncClient(front) as client:
        fields = {"name": "Cyd", "email": "c@example.org"}
        await client.command("CreateUser", fields, metadata={"a": ""}, idempotency_key="k3")


def test_a_projection_receives_the_origin_of_each_event_also_when_it_is_built_again(folder: Path) -> None:
    with Cluster(folder, "tests.journal:app", cwd=ROOT) as cluster:
        cluster.start()
        with Client(cluster.front) as client:
            client.command(Write(line="a", copies=2), metadata={"tenant": "t-1"}, idempotency_key="first")
            wire = {"type": "Write", "msg_id": 1, "payload": {"line": "b"}, "trace": TRACE, "idempotency_key": "wire"}
            with RawClient(cluster.front) as raw:
                assert raw.ask({"dest": "commandbus", "body": wire})[0]["success"]
            until(lambda: len(client.query(ReadJournal())) == 4)
            rows = client.query(ReadJournal())

        head = ["position", "key", "command", "correlation", "trace", "metadata"]
        assert [[row[name] for name in head] for row in rows] == [
            [1, "genesis", "", "genesis", None, "{}"],
            [2, "first", "Write", "first", None, '{"tenant":"t-1"}'],
            [3, "first", "Write", "first", None, '{"tenant":"t-1"}'],
            [4, "wire", "Write", "wire", TRACE, "{}"],
        ]
        assert [(row["actor"], row["cause"]) for row in rows] == [(None, None)] * 4
        assert [row["time"] for row in rows] == [f"{event.time}" for event in events(cluster.data)]

        cluster.stop("projector")
        [model] = cluster.data.glob("read-*.db")
        for path in cluster.data.glob("read-*"):
            path.unlink()
        cluster.start("projector")
        with Client(cluster.front) as client:
            until(model.exists)
            assert client.query(ReadJournal(), after=4) == rows
        assert verify(cluster.data, load("tests.journal:app")).position == 4


@pytest.fixture
def chain(tmp_path: Path) -> None:
    """A log in which event 2 has caused 4 and 5, and 5 has caused a refusal and 7."""
    with_chain = SqliteLog(tmp_path / "data", lambda secret: genesis(app, secret))
    for position, key, cause, errors in [
        (2, "first", None, ()),
        (3, "other", None, ()),
        (4, "r/2/0", 2, ()),
        (5, "r/2/1", 2, ()),
        (6, "another", None, ()),
        (None, "r/5/0", 5, ("User does not exist",)),
        (7, "r/5/1", 5, ()),
        (None, "taken", None, ({"text": "Email is taken", "code": "email_taken", "field": "email"},)),
    ]:
        data = f'{{"id":"u-{position}","name":"Ada","email":"a@example.org"}}'
        events = [] if errors else [NewEvent("UserCreated", data, (f"user:u-{position}",))]
        origin = Origin("CreateUser", cause=cause, correlation="first" if cause else "")
        with_chain.append([Decision(key, TIME, events, errors, origin=origin)])
    with_chain.close()


def positions(text: str) -> list[int]:
    return [int(line.split()[0]) for line in text.splitlines()]


@pytest.mark.usefixtures("chain")
def test_events_are_found_by_their_command_and_by_their_cause(run: Run) -> None:
    assert positions(run("events", "--of-command", "r/2/1").out) == [5]
    assert positions(run("events", "--caused-by", 2).out) == [4, 5, 7]
    assert positions(run("events", "--caused-by", 5).out) == [7]
    assert positions(run("events", "--caused-by", 2, "--from", 5).out) == [5, 7]
    assert positions(run("events", "--caused-by", 3).out) == []
    [line] = run("events", "--of-command", "r/5/1", "--json").out.splitlines()
    assert json.loads(line)["origin"] | {"cause": 5, "correlation": "first"} == json.loads(line)["origin"]
    refused = run("events", "--of-command", "r/5/0")
    assert (refused.code, refused.out, refused.err) == (0, "", "The command was rejected: User does not exist.\n")
    assert run("events", "--of-command", "taken").err == "The command was rejected: Email is taken.\n"


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--of-command", "never"], 1, "The log has no command with the key 'never'.\n"),
        (["--caused-by", "99"], 1, "The log has positions 1 to 7: 99 is not in the log.\n"),
        (["--caused-by", "2", "--follow"], 2, "--of-command and --caused-by cannot be combined with"),
        (["--of-command", "first", "--tag", "user:u-2"], 2, "--of-command and --caused-by cannot be combined with"),
    ],
)
def test_a_command_or_a_cause_that_is_not_in_the_log_is_reported(
    run: Run, arguments: list[str], code: int, said: str
) -> None:
    found = run("events", *arguments)

    assert (found.code, found.out) == (code, "")
    assert found.err.startswith(said)
