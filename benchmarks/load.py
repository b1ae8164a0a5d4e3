"""Load generators. Each runs in a separate process as a client."""

import random
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from time import perf_counter, process_time
from typing import Literal, NamedTuple, get_args

from benchmarks import clock, open_loop, wire
from benchmarks.client import Client, Traffic
from benchmarks.histogram import Latencies

Work = Literal["create", "get"]
WORKS: tuple[Work, ...] = get_args(Work)
USERS = 1_000  # number of distinct users in queries
FILL_WINDOW = 2_048
PATIENCE_MS = 60_000
SESSIONS = 31  # odd, so the requests of each session alternate between commands and queries


class Throughput(NamedTuple):
    per_second: float
    lag_ms: float  # from the last reply until a query returns the last user
    answered: int  # number of replies
    cpu_seconds: float  # of the client


class Filled(NamedTuple):
    last_user_id: str
    position: int  # of the log: the number of events


def throughput(front: str, work: Work, clients: int, window: int, seconds: float) -> Throughput:
    with _clients(front, clients) as connected:
        began = process_time()
        traffic = Traffic(connected, _requests(work, connected[0]), window)
        per_second = clock.per_second(traffic.trade, seconds)
        traffic.finish()
        spent = process_time() - began
        return Throughput(per_second, _lag_ms(connected[0]) if work == "create" else 0.0, traffic.answered, spent)


def one_at_a_time(front: str, work: Work, seconds: float) -> float:
    """Return the median latency of a request in milliseconds."""
    with _clients(front, 1) as [client]:
        return clock.median_ms(_asking(client, _requests(work, client)), seconds)


def in_turns(fronts: list[str], turns: int, requests: int) -> list[dict[str, float]]:
    """Return for each turn the median latencies in milliseconds, by work and cluster: "create 0", "get 1", …"""
    with ExitStack() as stack:
        asking: dict[str, Callable[[], object]] = {}
        for number, front in enumerate(fronts):
            [client] = stack.enter_context(_clients(front, 1))
            for work in WORKS:
                asking[f"{work} {number}"] = _asking(client, _requests(work, client))
        found = []
        for _ in range(turns):
            in_some_order = random.sample(list(asking), len(asking))
            found.append({name: clock.median_of(asking[name], requests) for name in in_some_order})
        return found


def _asking(client: Client, requests: Iterator[bytes]) -> Callable[[], object]:
    return lambda: wire.refuse_unless_good(client.ask(next(requests)))


def command_then_query(front: str, seconds: float) -> float:
    """Return the median latency of a command plus a query for the new user, in milliseconds."""
    with _clients(front, 1) as [client]:
        commands = wire.commands()

        def write_and_read() -> None:
            user_id = wire.created_id(client.ask(next(commands)))
            wire.refuse_unless_good(client.ask(wire.pack_query(user_id)))

        return clock.median_ms(write_and_read, seconds)


def fill(front: str, number: int) -> Filled:
    """Create `number` users and wait until a query returns the last user."""
    with _clients(front, 1) as [client]:
        traffic = Traffic([client], islice(wire.commands(), number), FILL_WINDOW)
        traffic.run_out()
        user_id = _last_id(client)
        reply = client.ask(wire.pack_query(user_id, timeout_ms=PATIENCE_MS), PATIENCE_MS)
        wire.refuse_unless_good(reply)
        return Filled(user_id, reply["position"])


def spread(front: str, rate: float, seconds: float) -> dict[Work, str]:
    """Return histograms of the latencies of alternating commands and queries at `rate` requests per second."""
    with _clients(front, 1) as [client]:
        ids = _create_users(client)

        def send(numbers: range) -> None:
            client.send(_for_session(number, ids) for number in numbers)

        def receive(seconds: float) -> list[int]:
            frames = list(client.received())
            if not frames:
                # The poll of zmq counts whole milliseconds: longer than the latency of a reply.
                select.select([client.socket], [], [], seconds)
                frames = list(client.received())
            return [_number(reply) for frame in frames for reply in wire.unpack(frame)]

        took = open_loop.latencies(rate, seconds, send, receive)
        return {"create": Latencies(took[0::2]).text, "get": Latencies(took[1::2]).text}


def _for_session(number: int, ids: list[str]) -> bytes:
    src = f"client-{number % SESSIONS}"
    if number % 2:
        return wire.pack_query(ids[number % len(ids)], src, number)
    payload = {"name": f"open loop {number}", "email": f"open.loop.{number}@example.com"}
    return wire.pack_command(payload, src, number)


def _number(reply: wire.Reply) -> int:
    wire.refuse_unless_good(reply)
    return int(reply["body"]["in_reply_to"])


@contextmanager
def _clients(front: str, number: int) -> Iterator[list[Client]]:
    clients = [Client(front) for _ in range(number)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def _requests(work: Work, client: Client) -> Iterator[bytes]:
    return wire.commands() if work == "create" else wire.queries(_create_users(client))


def _create_users(client: Client) -> list[str]:
    """Create users visible to every client; return the ids."""
    ids: list[str] = []
    client.send(islice(wire.commands(), USERS))
    while len(ids) < USERS:
        ids += [wire.created_id(reply) for reply in wire.unpack(client.wait())]
    wire.refuse_unless_good(client.ask(wire.pack_query(ids[-1])))
    return ids


def _last_id(client: Client) -> str:
    return wire.created_id(wire.unpack(client.last)[-1])


def _lag_ms(client: Client) -> float:
    asked = perf_counter()
    wire.refuse_unless_good(client.ask(wire.pack_query(_last_id(client), timeout_ms=PATIENCE_MS), PATIENCE_MS))
    return (perf_counter() - asked) * 1000
