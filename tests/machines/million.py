"""A log of a million events moves to three servers, and a new host copies it: python -m tests.machines.million."""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Self

from dualbus import Client
from dualbus.application.errors import DualbusError
from dualbus.commandbus.fingerprint import fingerprint
from dualbus.commandbus.node import genesis
from dualbus.log.contract import Decision
from dualbus.log.engine import open_commit_log, open_log, open_reader
from dualbus.log.tags import Tagger
from dualbus.operations.moving import fill
from dualbus.testing import Cluster, until
from tests import keyring
from tests.conftest import ROOT
from tests.machines.servers import running_servers
from users import app
from users.messages import UserCreated

COMMIT_COMMANDS = 256
HOSTS = ("other", "new")
BEFORE_SECONDS = 10
TIME = "2026-01-31T12:00:00.000000Z"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    with tempfile.TemporaryDirectory(prefix="db") as name, running_servers(Path(name), 3) as servers:
        folder, url = Path(name), servers.url()
        (folder / "one").mkdir()
        write(folder / "one" / "data", events)
        began = time.monotonic()
        with closing(open_commit_log(url, create=True)) as commits:
            fill(commits, folder / "one" / "data", lambda done, total: None)
        print(f"{events} events moved in {time.monotonic() - began:.1f} s", flush=True)
        for host in HOSTS:
            (folder / host).mkdir()
        other, new = (Cluster(folder / host, cwd=ROOT, log=url, host=host, timeout_ms="15000") for host in HOSTS)
        for cluster, peer in ((other, new), (new, other)):
            cluster.environ["DUALBUS_BACK"] = f"{cluster.addresses['back']},{peer.addresses['back']}"
        with ExitStack() as stack:
            stack.enter_context(other).start()  # which creates the keys
            stack.enter_context(new)
            client, caller = stack.enter_context(Client(new.front)), stack.enter_context(Caller(other.front))
            until(lambda: answers(caller.client, events), 600)
            before = caller.rate(lambda: time.sleep(BEFORE_SECONDS))
            began = time.monotonic()
            new.start()
            during = caller.rate(lambda: until(lambda: answers(client, events), 600))
            print(f"a new host answers {time.monotonic() - began:.1f} s after its start", flush=True)
            print(f"the other host writes {before:.0f} commands/s before, and {during:.0f} meanwhile", flush=True)
            middle = events // 2
            again = client.command("CreateUser", payload_of(middle), idempotency_key=f"k{middle}")
            print(f"a key of the log gets its first answer: {again.events[0]['payload']['id'] == f'u{middle}'}")
        heads = set()
        for host in ("one", *HOSTS):
            with closing(open_reader(folder / host / "data")) as log:
                heads.add(log.read(events, 1)[0].hash)
        print(f"equal hashes at position {events + 1}: {len(heads) == 1}")


class Caller:
    """One caller that sends a host one command after another."""

    def __init__(self, front: str) -> None:
        self.client = Client(front)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def rate(self, wait: Callable[[], object]) -> float:
        """Return the commands per second of one caller until `wait` returns."""
        ended = threading.Event()
        done: list[int] = []
        thread = threading.Thread(target=self._write, args=(ended, done))
        began = time.monotonic()
        thread.start()
        wait()
        ended.set()
        thread.join()
        return sum(done) / (time.monotonic() - began)

    def _write(self, ended: threading.Event, done: list[int]) -> None:
        while not ended.is_set():
            self.client.command("CreateUser", {"name": "x", "email": "x@example.com"})
            done.append(1)


def write(folder: Path, events: int) -> None:
    """Write a log of one machine."""
    with closing(open_log(folder, lambda secret: genesis(app, secret))) as log:
        tagger = Tagger(app.private_tags, log.secret)
        for first in range(0, events, COMMIT_COMMANDS):
            numbers = range(first, min(first + COMMIT_COMMANDS, events))
            log.append([decision(n, tagger) for n in numbers])


def decision(number: int, tagger: Tagger) -> Decision:
    """Return the decision of a command with a key."""
    payload = payload_of(number)
    event = tagger.new_event(UserCreated(id=f"u{number}", **payload))
    mark = fingerprint("CreateUser", payload, None)
    return Decision(f"k{number}", TIME, [event], fingerprint=mark)


def payload_of(number: int) -> dict[str, str]:
    """Return the payload of a command."""
    return {"name": f"name {number}", "email": "u@example.com"}


def answers(client: Client, events: int) -> bool:
    """Return whether a query finds the last user."""
    with suppress(DualbusError):
        return client.query("GetUser", user_id=f"u{events - 1}") is not None
    return False


if __name__ == "__main__":
    main()
