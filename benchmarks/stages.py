"""The cost of an item in each process, by stage: in a single process, without sockets, on warm caches.

Figures are microseconds per item.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import uuid_utils

from benchmarks import wire
from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.commandbus.batch import CommandBatch
from dualbus.commandbus.node import BATCH_COMMANDS_MAX, genesis
from dualbus.commandbus.state_cache import StateCache
from dualbus.gateway.router import Router
from dualbus.log.contract import RecordedEvent
from dualbus.log.identity import Identity
from dualbus.log.latest import LatestLog
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.protocol.batches import answer_batches, batch, batches, joined, packed_messages, read_batch
from dualbus.protocol.codec import pack, unpack_hostile
from dualbus.protocol.frames import DONE, EVENTS, REPLY, WORK
from dualbus.protocol.records import (
    NO_DETAILS,
    Job,
    Published,
    Registration,
    Response,
    read_done,
    read_published,
    read_work,
)
from dualbus.querybus.feed import EventFeed
from dualbus.querybus.responder import Responder
from dualbus.readmodel.applier import Applier
from dualbus.readmodel.file import create
from dualbus.readmodel.reader import ReadModelReader
from dualbus.readmodel.writer import ReadModelWriter

ITEMS, BATCHES = BATCH_COMMANDS_MAX, 60
LOG = Identity("log", "incarnation")
NOW = "2026-01-31T12:00:00.000000Z"
FAR = 1e9  # a deadline

Costs = dict[str, float]  # by stage: microseconds per item


class Stopwatch:
    """Time each stage some dozens of times and return the median."""

    def __init__(self) -> None:
        self._took: dict[str, list[float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = perf_counter()
        yield
        self._took.setdefault(name, []).append(perf_counter() - began)

    @property
    def costs(self) -> Costs:
        return {name: median(took) / ITEMS * 1e6 for name, took in self._took.items()}


def gateway() -> Costs:
    """Measure a command and its reply in the gateway."""
    watch, envelopes = Stopwatch(), wire.commands()
    router = Router(5000, 1 << 47, lambda id_: f"abcdefghijklmnop/{id_:x}")
    router.register(b"worker", Registration("commandbus", "life", 1, 1, ["CreateUser"], ITEMS, LOG, 0), 0.0)
    body = pack({"type": "command_result", "in_reply_to": 1, "success": True, "events": [{"payload": "x" * 120}]})
    for _ in range(BATCHES):
        frame = b"".join(wire.messages(list(islice(envelopes, wire.ITEMS_A_MESSAGE))))
        frames = [frame] * (ITEMS // wire.ITEMS_A_MESSAGE)
        with watch.stage("read messages"):
            for one in frames:
                router.accept(b"client", unpack_hostile(packed_messages([one])), 1.0)
        with watch.stage("dispatch work"):
            given = [batches(WORK, work) for _, work in router.dispatch(1.0)]
        work = [item for messages in given for message in messages for item in read_batch([message])[1]]
        done = joined(DONE, [pack((1, 2, 3)), *[pack((item[0], 5, body, NO_DETAILS)) for item in work]])
        with watch.stage("receive responses"):
            worker = router.workers.worker(b"worker")
            assert worker
            responses, times = read_done(read_batch([done])[1], 1)
            router.workers.done(worker, responses, 1.0, times)
        with watch.stage("pack replies"):
            client = router.clients.of(b"client")
            while part := client.next_part():
                joined(REPLY, part)
                client.sent(len(part))
    return watch.costs


def commandbus(folder: Path) -> Costs:
    """Measure a command in commandbus, from the received frame to the frames of event and response."""
    watch, app, states = Stopwatch(), load("users:app"), StateCache()
    log = SqliteLog(folder, lambda secret: genesis(app, secret))
    for frame in islice(_work("CreateUser", "payload", _person), BATCHES):
        with watch.stage("unpack"):
            jobs = read_work(read_batch([frame])[1], FAR)
        with watch.stage("look the keys up"):
            known = log.outcomes([job.key for job in jobs if job.key])
        command_batch = CommandBatch(app, log, states, NOW, _new_id, known)
        with watch.stage("decide"):
            for job in jobs:
                command_batch.decide(job)
        with watch.stage("append, with the fsync"):
            appended = log.append(command_batch.decisions)
        with watch.stage("pack the events"):
            batch(EVENTS, [Published(LOG, appended.events[0].position - 1, appended.events, True)])
        with watch.stage("pack the answers"):
            answer_batches(command_batch.responses(appended))
    log.close()
    return watch.costs


def projector(folder: Path) -> Costs:
    """Measure an event in projector, from the received frame to the row."""
    watch, app = Stopwatch(), load("users:app")
    projecting, model = Applier(app), ReadModelWriter(_read_model(folder, app))
    for frame in _events(app, folder / "log"):
        with watch.stage("unpack"):
            [published] = read_published(read_batch([frame])[1])
        model.begin()
        with watch.stage("project"):
            for event in published.events:
                projecting.apply(event, model)
        with watch.stage("commit"):
            model.commit(published.events[-1].position, published.events[-1].hash)
    model.close()
    return watch.costs


def querybus(folder: Path) -> Costs:
    """Measure a query in querybus, from the received frame to the frame of the response."""
    watch, app, path = Stopwatch(), load("users:app"), folder / "read.db"
    ids = _filled(folder, app)
    answering, reader = Responder(app, EventFeed(app, LatestLog(path.parent).open)), ReadModelReader(path)
    for frame in islice(_work("GetUser", "params", lambda number: {"user_id": ids[number % len(ids)]}), BATCHES):
        with watch.stage("unpack"):
            jobs: list[Job] = read_work(read_batch([frame])[1], FAR)
        with watch.stage("answer"):
            position = reader.begin().position
            answers: list[Response] = [(job.id, position, *answering.answer(job, reader)) for job in jobs]
            reader.end()
        with watch.stage("pack the answers"):
            answer_batches(answers)
    reader.close()
    return watch.costs


def _work(type_: str, fields: str, make: Callable[[int], dict[str, Any]]) -> Iterator[bytes]:
    """Yield frames of work in the format of the gateway."""
    number = 0
    while True:
        numbers = range(number, number + ITEMS)
        number += ITEMS
        items = [
            (
                one,
                1,
                "client",
                5000,
                f"abcdefghijklmnop/{one:012x}",
                0,
                {"type": type_, "msg_id": one, fields: make(one)},
            )
            for one in numbers
        ]
        yield batch(WORK, items)


def _person(number: int) -> dict[str, Any]:
    return {"name": f"user {number:08d}", "email": f"{number:08d}@example.com"}


def _events(app: App, folder: Path) -> Iterator[bytes]:
    """Yield frames of events in the format of commandbus."""
    log = SqliteLog(folder, lambda secret: genesis(app, secret))
    events = list(_created(app, log))
    log.close()
    for first in range(0, len(events), ITEMS):
        yield batch(EVENTS, [Published(LOG, events[first].position - 1, events[first : first + ITEMS], True)])


def _created(app: App, log: SqliteLog) -> Iterator[RecordedEvent]:
    for frame in islice(_work("CreateUser", "payload", _person), BATCHES):
        command_batch = CommandBatch(app, log, StateCache(), NOW, _new_id, {})
        for job in read_work(read_batch([frame])[1], FAR):
            command_batch.decide(job)
        yield from log.append(command_batch.decisions).events


def _filled(folder: Path, app: App) -> list[str]:
    """Fill a read model; return the ids of its users."""
    model, ids = ReadModelWriter(_read_model(folder, app)), []
    model.begin()
    for number in range(1000):
        ids.append(_new_id())
        model.execute("INSERT INTO users (id, name) VALUES (?, ?)", (ids[-1], f"user {number}"))
    model.commit(1, bytes(16))
    model.close()
    return ids


def _read_model(folder: Path, app: App) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    create(folder / "read.db", app.projections, LOG)
    return folder / "read.db"


def _new_id() -> str:
    return str(uuid_utils.uuid7())
