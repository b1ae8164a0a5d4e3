"""What the log holds, and what the gateway knows, seen past all clients."""

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dualbus.log.contract import RecordedEvent
from dualbus.testing import Cluster
from tests.faults import seeing
from tests.raw import RawClient


def events(cluster: Cluster) -> list[RecordedEvent]:
    """Return every event."""
    return seeing.events(cluster.data)


def data(cluster: Cluster) -> list[str]:
    """Return the data of every event."""
    return [event.data for event in events(cluster)]


def logged(cluster: Cluster, text: str) -> int:
    """Return how many events hold the text as a value."""
    return sum(f'"{text}"' in one for one in data(cluster))


def under_way(cluster: Cluster) -> int:
    """Return how many requests the gateway has taken on and not answered."""
    with RawClient(cluster.front) as observer:
        count: int = seeing.status(observer)["gateway"]["under_way"]
    return count


@contextmanager
def held(cluster: Cluster, name: str) -> Iterator[None]:
    """Keep a process of the cluster stopped within the `with`."""
    process = cluster.process(name)
    process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send(signal.SIGCONT)


def order(**more: Any) -> dict[str, Any]:
    """Return the fields of a PlaceOrder that is accepted."""
    lines = [{"item": "lamp", "amount": 1}]
    return {
        "order": unique(),
        "price": "9.90",
        "due": "2026-01-31",
        "lines": lines,
        "email": f"{unique()}@a.bc",
        **more,
    }


def unique() -> str:
    """Return a text that no other test has used."""
    return str(uuid.uuid4())
