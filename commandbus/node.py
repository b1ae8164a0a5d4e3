"""The sockets of the command bus, and its loop: receive, decide, append, answer, publish."""

import logging
import time
from contextlib import closing
from typing import Any

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.log.contract import Appended, CommitFailed, Decision, Log, LogUnavailable, NewEvent
from dualbus.log.sqlite.schema import GENESIS
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.log.tags import Tagger
from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, error
from dualbus.protocol.records import Job, Response
from dualbus.runtime.errors import EXIT_DATA, EXIT_OK
from dualbus.runtime.files import make_folder
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import Stop
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Sockets
from dualbus.worker.attendant import Attendant
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink

from .batch import CommandBatch
from .clock import Clock
from .publisher import Publisher
from .state_cache import StateCache

LATE = "The deadline passed before the command was decided; nothing was written."
SLOW_TYPES_MAX = 100
GIVE_UP_SECONDS = 30.0  # past its deadline, a decision may finish reading a long history for the next decision
DRAIN_SECONDS = 0.02  # of deciding, for one commit
DRAIN_COMMANDS = 512  # in one commit: half of the maximal credit, so that the other half can arrive meanwhile
RETAKES_MAX = 10  # how often a command is decided again because another writer came first

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the command bus until a stop is requested, or its log fails."""
    app = load(settings.app)
    make_folder(settings.data)
    log = SqliteLog(settings.data, lambda secret: genesis(app, secret))
    app.check_stored(log.types())
    with closing(log), Sockets() as sockets:
        publisher = Publisher(sockets.publisher(settings.events), log)
        link = WorkerLink(sockets.dealer(settings.back), "commandbus", sorted(app.command_types))
        logger.info("Writing the log in %s from position %d on.", settings.data, log.head().position + 1)
        return CommandBus(app, log, publisher, link).run(stop)


def genesis(app: App, secret: bytes) -> Decision:
    """Return the decision with the first events of a new log."""
    tagger = Tagger(app.private_tags, secret)
    events = [NewEvent(type(event).__name__, event.data(), tagger.tags(event.tags())) for event in app.genesis]
    return Decision(GENESIS, Clock(_wall).now(), events)


class CommandBus:
    """The only writer of the log."""

    def __init__(self, app: App, log: Log, publisher: Publisher, link: WorkerLink) -> None:
        self._app = app
        self._log = log
        self._publisher = publisher
        self._link = link
        self._folds = StateCache()
        last = log.read(log.head().position - 1, 1)
        self._clock = Clock(_wall, last[0].time if last else None)
        self._interrupt = Interrupt()
        self._attendant = Attendant(
            link, self._interrupt, self._status, handler="decision", give_up_seconds=GIVE_UP_SECONDS
        )
        self._slow_types: set[str] = set()
        self._retakes = 0
        self._failed = False
        self._counters = {"decided": 0, "commits": 0, "events": 0, "expired": 0, "retaken": 0}

    def run(self, stop: Stop) -> int:
        """Serve until a stop is requested; EXIT_DATA after a failed commit: only a restart determines its outcome."""
        link = self._link
        self._show_head()
        self._attendant.start()
        link.announce()
        poll = Poll(link.socket, stop=stop)
        while not (self._failed or link.finished(stop)):
            idle = min(link.seconds_to_beat, self._publisher.seconds_to_head)
            link.wait(poll, 0 if link.jobs else idle)
            link.receive()
            if link.jobs:
                self._drain()
            if not link.jobs:
                self._log.when_idle()
            self._publisher.repeat_head()
            link.beat(self._status)
        self._attendant.stop()
        return EXIT_DATA if self._failed else EXIT_OK

    def _status(self) -> dict[str, Any]:
        return {"queue": len(self._link.jobs), **self._counters, **self._attendant.status()}

    def _drain(self) -> None:
        """Decide received commands, for a limited time; append them in one commit; then answer and publish."""
        waiting = self._link.jobs
        jobs = [waiting.popleft() for _ in range(min(len(waiting), DRAIN_COMMANDS))]
        known = self._log.outcomes([job.key for job in jobs if job.key])
        drain = CommandBatch(
            self._app, self._log, self._folds, self._clock.now(), self._clock.new_id, known, self._interrupt
        )
        with self._link.handling():
            taken = self._decide(drain, jobs)
        self._put_back(jobs[taken:])
        appended, answers = self._append(drain, jobs[:taken])
        self._link.answer(answers)
        # The answers are on their way: no client waits for the rest.
        if appended.decisions == len(drain.decisions):
            drain.appended()
        self._count(appended)
        self._publisher.publish(appended.events)

    def _put_back(self, jobs: list[Job]) -> None:
        """Return commands to the queue; those of an ended registration are discarded."""
        current = self._link.registration
        self._link.jobs.extendleft(reversed([job for job in jobs if job.registration == current]))

    def _decide(self, drain: CommandBatch, jobs: list[Job]) -> int:
        """Decide commands until the time of the batch is over; return how many.

        Commands past their deadlines are refused: late work never reaches the log. A command with a known key is not
        late: the outcome exists, and only the answer was lost.
        """
        link, interrupt = self._link, self._interrupt
        registration = link.registration
        began = now = time.monotonic()
        number = 0
        for job in jobs:
            if link.registration != registration or now - began > DRAIN_SECONDS:
                break
            if number and job.what in self._slow_types:
                break  # no other command's commit waits for a slow one
            number += 1
            if job.deadline <= now and not drain.knows(job):
                self._counters["expired"] += 1
                drain.refuse(job, Code.UNAVAILABLE, LATE)
                continue
            interrupt.running = job
            drain.decide(job)
            now = time.monotonic()
        interrupt.running = None
        self._note_pace(jobs[number - 1], number, now - began)
        return number

    def _note_pace(self, last: Job, number: int, seconds: float) -> None:
        """Note the duration of decisions, and the type of a command that delays all others."""
        self._link.credit.record(number, seconds)
        if seconds > DRAIN_SECONDS and len(self._slow_types) < SLOW_TYPES_MAX:
            self._slow_types.add(last.what)
        elif number == 1:
            self._slow_types.discard(last.what)

    def _append(self, drain: CommandBatch, jobs: list[Job]) -> tuple[Appended, list[Response]]:
        """Append the decisions of a batch; return the appended events, and the answers."""
        nothing = Appended(0, [])
        try:
            appended = self._log.append(drain.decisions) if drain.decisions else nothing
        except LogUnavailable as full:
            logger.error("%s", full)
            self._folds.forget()
            return nothing, [
                done if job.key in drain.known else _failure(job, Code.UNAVAILABLE, str(full))
                for job, (_, done) in zip(jobs, drain.answers, strict=True)
            ]
        except CommitFailed as failed:
            # The commit is in the log or is not: the outcome is unknown until the next start.
            logger.error("%s Whether the last commands are in it, only opening it again will tell.", failed)
            self._failed = True
            return nothing, [_failure(job, Code.CRASH, f"{failed} The outcome is not known.") for job in jobs]
        if appended.decisions < len(drain.decisions):
            return appended, self._retake(drain, jobs, appended.decisions)
        self._retakes = 0
        return appended, [done for _, done in drain.answers]

    def _retake(self, drain: CommandBatch, jobs: list[Job], standing: int) -> list[Response]:
        """Another writer came first: answer the valid decisions, and decide the others again."""
        self._folds.forget()
        answers = [done for rests_on, done in drain.answers if rests_on <= standing]
        again = jobs[len(answers) :]
        self._counters["retaken"] += len(again)
        self._retakes = 0 if answers else self._retakes + 1
        if self._retakes > RETAKES_MAX:
            self._retakes = 0
            text = f"Other writers came first {RETAKES_MAX} times; nothing was written. Try again."
            answers.append(_failure(again.pop(0), Code.UNAVAILABLE, text))
        self._put_back(again)
        return answers

    def _count(self, appended: Appended) -> None:
        self._counters["decided"] += appended.decisions
        self._counters["commits"] += 1 if appended.decisions else 0
        self._counters["events"] += len(appended.events)
        self._show_head()

    def _show_head(self) -> None:
        self._link.identity, self._link.position = self._log.identity, self._log.head().position


def _failure(job: Job, code: Code, text: str) -> Response:
    return job.id, 0, pack(error(job.body["msg_id"], code, text))


def _wall() -> int:
    return time.time_ns() // 1000
