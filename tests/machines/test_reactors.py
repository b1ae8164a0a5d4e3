"""The reactors of several hosts: one runs the reactions, and another continues where the log remembers."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dualbus import Client
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.reactions.store import STANDBY_NAME
from dualbus.reactor.marks import UNFINISHED
from dualbus.testing import until
from tests.machines.hosts import Host, Hosts, running_hosts
from tests.machines.servers import Servers, needs_nats, running_servers
from tests.raw import STATUS, RawClient
from tests.reactions.delivery import tried
from tests.reactions.effects import Send

pytestmark = [needs_nats, pytest.mark.timeout(120)]


@pytest.fixture
def hosts(one_server: Servers, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """Three hosts with a reactor each, and the office of the effects in tmp_path."""
    monkeypatch.setenv("OFFICE", str(tmp_path))
    with running_hosts(folder, one_server, "tests.reactions.effects:app") as found:
        for host in found.hosts:
            host.start("reactor")
        yield found


def state(host: Host) -> Any:
    """Return the state of the reactor of a host."""
    with RawClient(host.front) as client:
        [answer] = client.ask(STATUS)
    found = [one for one in answer["data"]["processes"] if one["name"] == "reactor"]
    return found[0].get("state") if found else None


def confirmed(host: Host) -> list[str]:
    """Return the confirmed parcels."""
    with closing(SqliteLogReader(host.data)) as log:
        return [json.loads(event.data)["parcel"] for event in log.read(0, 1000) if event.type == "Confirmed"]


def unfinished(host: Host) -> str:
    """Return the unfinished events of the last mark."""
    with closing(SqliteLogReader(host.data)) as log:
        found = [outcome.origin.metadata for outcome in log.commands(0, 1000)]
    marks = [metadata[UNFINISHED] for metadata in found if UNFINISHED in metadata]
    return marks[-1] if marks else "none"


def test_another_reactor_takes_over_with_the_parked_events_and_repeats_no_finished_effect(
    hosts: Hosts, tmp_path: Path
) -> None:
    # Given a reactor beside the active commandbus, with a parked and a finished event
    first = hosts.active()
    others = [host for host in hosts.hosts if host is not first]
    (tmp_path / "fail-a-0").touch()
    with Client(hosts.fronts) as client:
        client.command(Send(parcel="a"))
        client.command(Send(parcel="b"))
        until(lambda: confirmed(first) == ["b"], 30)
        until(lambda: [state(host) for host in (first, *others)] == ["following", "standing by", "standing by"])
        assert [(host.data / STANDBY_NAME).exists() for host in (first, *others)] == [False, True, True]
        until(lambda: tried(tmp_path, "a0") == 3 and unfinished(first) == "1", 30)

        # When its host fails
        for name in ("commandbus", "reactor"):
            first.kill(name)
        (tmp_path / "fail-a-0").unlink()
        client.command(Send(parcel="c"))

        # Then another reactor tries the parked event again, and repeats nothing
        until(lambda: sorted(confirmed(others[0])) == ["a", "b", "c"], 60)
        assert [tried(tmp_path, parcel) for parcel in ("a0", "b0", "c0")] == [4, 1, 1]

        # And when the first takes over in order with its old file, it repeats nothing either
        first.start("commandbus", "reactor")
        until(lambda: state(first) == "standing by", 30)
        for host in others:
            assert host.stop("commandbus") == 0
        client.command(Send(parcel="d"))
        until(lambda: confirmed(first)[-1] == "d", 60)
        assert [tried(tmp_path, parcel) for parcel in ("a0", "b0", "c0", "d0")] == [4, 1, 1, 1]


def test_a_reactor_stands_by_while_its_commandbus_cannot_append(folder: Path, tmp_path: Path) -> None:
    with running_servers(tmp_path, 1) as servers, running_hosts(folder, servers, "tests.reactions.shop:app") as hosts:
        for host in hosts.hosts:
            host.start("reactor")
        active = hosts.active()
        until(lambda: state(active) == "following", 30)

        servers.servers[0].kill()
        until(lambda: state(active) == "standing by", 30)

        servers.servers[0].start()
        until(lambda: [state(host) for host in hosts.hosts].count("following") == 1, 60)
