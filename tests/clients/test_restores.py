"""A subscription after the log was restored to an earlier position: refused, never silently without events."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from dualbus import Client, Rejected
from dualbus.cli.main import main
from dualbus.protocol.feed import EVENTS
from dualbus.testing import Cluster, until
from tests.clients.notes import Note
from tests.raw import SECONDS

APP = "tests.clients.notes:app"


def write(client: Client, *texts: str) -> None:
    for text in texts:
        client.command(Note(text=text))


def texts(found: Any, count: int) -> list[str]:
    return [record.payload["text"] for record in islice(found, count)]


def pages(client: Client) -> int:
    """Return the number of requests for events with an answer of a querybus."""
    counted = [one["outcomes"] for one in client.status()["requests"] if one["type"] == EVENTS]
    return sum(sum(outcomes.values()) for outcomes in counted)


@pytest.mark.parametrize("stopped", [["commandbus", "projector", "querybus"], ["commandbus", "projector"]])
def test_a_subscriber_learns_that_a_restored_log_lacks_events_that_it_has_received(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: list[str]
) -> None:
    # Given a subscriber with an event that the backup lacks
    cluster.environ["DUALBUS_APP"] = APP
    monkeypatch.setenv("DUALBUS_DATA", str(cluster.data))
    monkeypatch.setenv("DUALBUS_APP", APP)
    cluster.start()
    with Client(cluster.front, timeout=SECONDS) as client:
        write(client, "kept")
        assert main(["backup", str(tmp_path / "backup.db")]) == 0
        write(client, "lost")
        subscription = client.events()
        kept, lost = islice(subscription, 2)

        # When the backup is restored, while the gateway runs on, and the log passes the position of the subscriber
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(lambda: next(subscription))
            for name in stopped:
                cluster.stop(name)
            for path in cluster.data.glob("log.db*"):
                path.rename(tmp_path / path.name)
            assert main(["restore", str(tmp_path / "backup.db")]) == 0
            if "querybus" not in stopped:  # it reads the restored log before the gateway knows it
                before = pages(client)
                until(lambda: pages(client) > before + 1)
            cluster.start(*stopped)
            with Client(cluster.front, timeout=SECONDS) as writer:
                write(writer, "after 1", "after 2")

            # Then it does not continue behind events that it has not received
            with pytest.raises(Rejected, match="The log has other events up to position 2") as refused:
                following.result(SECONDS)
        assert [(problem.field, problem.code) for problem in refused.value.problems] == [
            ("after_hash", "log_restored")
        ]

    # And a subscriber that resumes from a stored position is refused only if the log lacks its event
    with Client(cluster.front, timeout=SECONDS) as client:
        assert texts(client.events(kept.position, after_hash=kept.hash), 2) == ["after 1", "after 2"]
        with pytest.raises(Rejected, match="continue from"):
            next(client.events(lost.position, after_hash=lost.hash))
        assert texts(client.events(lost.position), 1) == ["after 2"]  # without the hash, nobody can know
