"""Answers of NATS are lost: each commit is stored once, and none is called unknown."""

import itertools
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dualbus.log.commits import CommitLogUnreachable, OutcomeUnknown
from dualbus.log.contract import Appended
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.log.sqlite.shared import SharedLog
from dualbus.testing import until
from dualbus.testing.log_contract import GENESIS, decided, event
from tests.machines.proxy import Proxy
from tests.machines.servers import Servers, needs_nats

pytestmark = needs_nats
COMMITS = 24


def every_third() -> Callable[[bytes], bool]:
    numbers = itertools.count(1)
    return lambda payload: next(numbers) % 3 == 0


def for_three_seconds() -> Callable[[bytes], bool]:
    end = time.monotonic() + 3
    return lambda payload: time.monotonic() < end


@pytest.mark.parametrize("loss", [every_third, for_three_seconds])
def test_a_lost_acknowledgement_is_resolved_to_the_own_commit(
    folder: Path, one_server: Servers, loss: Callable[[], Callable[[bytes], bool]]
) -> None:
    direct = one_server.new_url()
    NatsCommitLog(read_address(direct), create=True).close()
    with Proxy(one_server.port, loss()) as proxy:
        address = read_address(direct.replace(f":{one_server.port}/", f":{proxy.port}/"))
        commits = NatsCommitLog(address, create=False)
        with closing(SharedLog(folder / "one", commits, lambda secret: GENESIS, "one")) as log:
            for number in range(COMMITS):
                appended = log.append([decided(f"c{number}", event("a"))])
                assert [found.command_id for found in appended.events] == [f"c{number}"]
            assert proxy.dropped > 0
            assert commits.resolved > 0
            assert [found.command_id for found in log.read(1, 100)] == [f"c{number}" for number in range(COMMITS)]
            with closing(NatsCommitLog(read_address(direct), create=False)) as other:
                assert len(other.get(0, 1000)) == COMMITS + 1


def test_a_lost_refusal_is_resolved_to_the_commit_of_the_other_writer(folder: Path, one_server: Servers) -> None:
    direct = one_server.new_url()
    refusals = iter([True, True])
    with Proxy(one_server.port, lambda payload: b"10071" in payload and next(refusals, False)) as proxy:
        address = read_address(direct.replace(f":{one_server.port}/", f":{proxy.port}/"))
        one = SharedLog(folder / "one", NatsCommitLog(address, create=True), lambda secret: GENESIS, "one")
        commits = NatsCommitLog(read_address(direct), create=False)
        with closing(one), closing(SharedLog(folder / "two", commits, lambda secret: GENESIS, "two")) as two:
            two.append([decided("c1", event("a"))])

            assert one.append([decided("c1", event("b"))]) == Appended(0, [])
            assert one.outcomes(["c1"]) == two.outcomes(["c1"])


def test_a_large_commit_arrives_over_a_slow_link_and_silence_still_ends_soon(one_server: Servers) -> None:
    direct = one_server.new_url()
    body = bytes(6 << 20)
    with closing(NatsCommitLog(read_address(direct), create=True)) as log:
        assert log.put(1, body, 20)
        assert log.put(2, b"second", 20)
    with Proxy(one_server.port, lambda payload: False) as proxy:
        address = read_address(direct.replace(f":{one_server.port}/", f":{proxy.port}/"))
        with closing(NatsCommitLog(address, create=False)) as log:
            assert log._client
            proxy.bytes_per_second = len(body) // 6
            assert log.get(0, 10) == [body, b"second"]
            assert log._client.stats["reconnects"] == 0

            proxy.bytes_per_second = 100
            began = time.monotonic()
            with pytest.raises(CommitLogUnreachable):
                log.get(0, 10)
            assert time.monotonic() - began < 10


def test_a_leader_that_stores_nothing_for_long_is_replaced(
    three_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualbus.log.nats.commit_log.LEADER_SECONDS", 1.0)
    url = three_servers.new_url()
    name = read_address(url).name
    NatsCommitLog(read_address(url), create=True).close()
    before = three_servers.leader(name)
    with Proxy(three_servers.port, lambda payload: True) as proxy:
        query = f"replicas=3&monitor={three_servers.servers[0].monitor}"
        address = read_address(f"nats://127.0.0.1:{proxy.port}/{name}?{query}")
        with closing(NatsCommitLog(address, create=False)) as log:
            with pytest.raises(OutcomeUnknown):
                log.put(1, b"first", 1.0)
            until(lambda: three_servers.leader(name) is not before)
    with closing(NatsCommitLog(read_address(url), create=False)) as log:
        assert log.put(1, b"first", 20)
        assert log.get(0, 10) == [b"first"]
