"""Three hosts: any of them may fail, and clients see what one machine shows them."""

import re
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from dualbus import Client
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import until
from tests.faults.load import Load
from tests.machines.hosts import NUMBER, Hosts, running_hosts, seeded
from tests.machines.servers import needs_nats
from tests.raw import RawClient, command, create, query

SLEEPY = "tests.faults.apps.sleepy:app"  # the users application, with slow messages
HOUR_NS = 3_600_000_000_000
SLOW_CLOCK = [
    *(sys.executable, "-c"),
    "import runpy, time; now = time.time_ns; "
    f"time.time_ns = lambda: now() - {HOUR_NS}; runpy.run_module('dualbus.commandbus', run_name='__main__')",
]
pytestmark = [needs_nats, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Three hosts for all tests: each test leaves them running."""
    with tempfile.TemporaryDirectory(prefix="db") as folder, running_hosts(Path(folder), app=SLEEPY) as found:
        yield found


def test_each_gateway_serves_the_same_log_and_a_session_reads_its_writes_at_any(hosts: Hosts) -> None:
    hosts.active()
    position = 0
    for number, host in enumerate(hosts.hosts * 2):
        other = hosts.hosts[(number + 1) % 3]
        with RawClient(host.front) as client, RawClient(other.front) as reader:
            client.send(create(f"user {number}", "c"))
            [reply] = client.wait_for(["c"])
            assert reply["body"]["success"], reply
            assert reply["position"] > position
            position = reply["position"]
            [event] = reply["body"]["events"]
            [found] = reader.ask(query("GetUser", user_id=event["payload"]["id"]) | {"after": position})
            assert found["data"] == event["payload"]
    hosts.check_same()


def test_the_page_shows_the_machines_their_roles_and_the_leader_of_the_stream(hosts: Hosts) -> None:
    active = hosts.active()
    hosts.hosts[0].start("web")

    def rows() -> dict[str, str]:
        try:
            text = httpx.get(hosts.hosts[0].http, headers=hosts.hosts[0].http_headers, timeout=5).text
        except httpx.TransportError:
            return {}
        found = dict(re.findall(r'<th scope="row">(h\d)</th>\s*<td>(\w+)</td>', text))
        assert re.search(r"The server n\d leads the stream", text)
        assert "has stopped" not in text
        return found

    shown = until(lambda: len(rows()) == NUMBER and rows())
    hosts.hosts[0].stop("web")
    assert shown == {f"h{host.number}": "active" if host is active else "standby" for host in hosts.hosts}


def test_an_active_commandbus_that_is_killed_is_replaced_without_a_loss(hosts: Hosts) -> None:
    seed, chance = seeded()
    longest = 0.0
    with Load(hosts.fronts, seed, timeout_ms=15_000, name=f"{seed}.") as load:
        for _ in range(3):
            load.more(chance.randrange(20, 100))
            host = hosts.active()
            began = time.monotonic()
            host.restart("commandbus")
            load.more(1)
            longest = max(longest, time.monotonic() - began)
        load.more(100)
    hosts.judge(load)
    print(f"longest gap {longest:.1f} s")


def gap(load: Load) -> float:
    """Return the seconds until the load receives the next acknowledgement."""
    began = time.monotonic()
    load.more(1)
    return time.monotonic() - began


def test_a_stopped_active_commandbus_is_replaced_and_its_next_commit_is_refused(hosts: Hosts) -> None:
    seed, chance = seeded()
    with Load(hosts.fronts, seed, timeout_ms=15_000, name=f"{seed}.") as load:
        for _ in range(2):
            load.more(chance.randrange(20, 100))
            host = hosts.active()
            process = host.process("commandbus")
            process.send(signal.SIGSTOP)
            load.more(200)  # more than it has answered before it stops: another one is active
            process.send(signal.SIGCONT)
            until(lambda host=host: hosts.active() is not host, 60)  # type: ignore[misc]
            assert process.running
        load.more(100)
    hosts.judge(load)


def test_an_active_commandbus_stays_active_during_a_slow_decision(hosts: Hosts) -> None:
    active = hosts.active()
    with RawClient(active.front) as client:
        [reply] = client.ask(command("Dawdle", name="slow", email="s@example.com", ms=3000))
        assert reply["success"]
    assert hosts.active() is active


def test_a_host_that_is_killed_is_replaced_and_comes_back(hosts: Hosts) -> None:
    seed, chance = seeded()
    with Load(hosts.fronts, seed, timeout_ms=15_000, name=f"{seed}.") as load:
        for _ in range(2):
            load.more(chance.randrange(20, 100))
            host = hosts.active()
            leads = hosts.servers.leader() is host.server
            host.kill_all()
            print(f"h{host.number} killed, led the stream: {leads}; next acknowledgement after {gap(load):.1f} s")
            load.more(50)
            host.start_all()
            hosts.active()
        load.more(100)
    hosts.judge(load)


def test_an_active_commandbus_that_is_stopped_orderly_is_replaced_at_once_without_an_error(hosts: Hosts) -> None:
    seed, chance = seeded()
    with Load(hosts.fronts, seed, timeout_ms=15_000, name=f"{seed}.") as load:
        for _ in range(1):
            load.more(chance.randrange(20, 100))
            host = hosts.active()
            assert host.stop("commandbus") == 0
            print(f"next acknowledgement after {gap(load):.2f} s")
            host.start("commandbus")
            until(lambda: hosts.servers.leader() is hosts.active().server, 60)  # the leader follows the writer
    assert [found for found in load.refusals if found["type"] == "error"] == []
    hosts.judge(load)


def test_a_restart_of_one_host_after_another_fails_no_call_of_a_client(hosts: Hosts) -> None:
    hosts.active()
    ended = threading.Event()
    counts = [0] * len(hosts.hosts)

    def call(number: int) -> None:
        fronts = deque(host.front for host in hosts.hosts)
        fronts.rotate(number)
        with Client(",".join(fronts), timeout=15) as client:
            while not ended.is_set():
                [event] = client.command("CreateUser", name=f"r{number}", email="r@example.com").events
                assert client.query("GetUser", user_id=event["payload"]["id"]) == event["payload"]
                counts[number] += 1

    def failed(calling: list[Future[None]]) -> bool:
        return any(found.done() for found in calling)

    with ThreadPoolExecutor() as pool:
        calling = [pool.submit(call, number) for number in range(len(counts))]
        try:
            for host in hosts.hosts:
                host.stop_all()
                host.start_all()
                hosts.active()
                hosts.servers.wait()
                before = list(counts)
                until(lambda before=before: all(map(int.__gt__, counts, before)) or failed(calling))  # type: ignore[misc]
        finally:
            ended.set()
    for found in calling:
        found.result()
    hosts.check_same()


def test_times_never_go_back_when_the_clock_of_the_next_writer_is_an_hour_slow(hosts: Hosts) -> None:
    active = hosts.active()
    others = [host for host in hosts.hosts if host is not active]
    for host in others:
        host.kill("commandbus")
        command, host.commands["commandbus"] = host.commands["commandbus"], SLOW_CLOCK
        host.start("commandbus")
        host.commands["commandbus"] = command
    hosts.active()
    with RawClient(active.front) as client:
        client.ask(create("before"))
        active.stop("commandbus")
        [reply] = client.ask(create("after"))
    assert reply["success"]
    for host in (active, *others):
        if host is not active:
            host.kill("commandbus")
        host.start("commandbus")
    hosts.active()
    with closing(SqliteLogReader(active.data)) as log:
        times = [event.time for event in log.read(log.head().position - 2, 2)]
    assert times == sorted(times)
    assert times[0] < times[1]


def test_with_two_of_three_hosts_down_nothing_is_acknowledged_and_later_everything_is(hosts: Hosts) -> None:
    active = hosts.active()
    others = [host for host in hosts.hosts if host is not active]
    with RawClient(active.front) as client:
        client.ask(create("before"))
        for host in others:
            host.kill_all()
        client.send(*[create(f"n{n}", f"n{n}", key=f"n{n}") | {"timeout_ms": 3000} for n in range(10)])
        replies = client.wait_for([f"n{n}" for n in range(10)])
        assert {reply["body"]["code"] for reply in replies} <= {0, 11, 13}
        assert client.ask(query("GetUser", user_id="user-123"))[0]["data"]["id"] == "user-123"
        for host in others:
            host.start_all()
        hosts.active()
        for n in range(10):
            client.send(create(f"n{n}", f"again{n}", key=f"n{n}"))
        assert all(reply["body"]["success"] for reply in client.wait_for([f"again{n}" for n in range(10)]))
    hosts.check_same()


def test_a_client_with_three_addresses_reads_its_writes_while_its_gateways_are_killed(hosts: Hosts) -> None:
    hosts.active()
    with Client(hosts.fronts, timeout=30) as client:
        for number in range(6):
            host = hosts.hosts[number % 3]
            host.kill("gateway")
            result = client.command("CreateUser", name=f"u{number}", email="u@example.com")
            payload = result.events[0]["payload"]
            assert client.query("GetUser", user_id=payload["id"]) == payload
            host.start("gateway")
    hosts.check_same()
