"""The sockets of the command bus, and its loop: drain, decide, append, answer, publish."""

import logging
import time
from collections import deque
from contextlib import closing

from commandbus.clock import Clock
from commandbus.deciding import Drain
from commandbus.folds import Folds
from commandbus.publisher import Publisher
from dualbus.app import App, load
from dualbus.fault import EXIT_DATA, EXIT_OK
from dualbus.files import make_folder
from dualbus.link import Link
from dualbus.log import Appended, CommitFailed, Decision, Log, LogUnavailable, NewEvent, Outcome
from dualbus.peers import Job
from dualbus.poll import Poll
from dualbus.process import Stop
from dualbus.settings import Settings
from dualbus.sockets import Sockets
from dualbus.sqlite_log import GENESIS, SqliteLog
from dualbus.tags import Tagger
from dualbus.wire import Code, Done, error, pack

DRAIN_SECONDS = 0.02  # how long one commit may gather decisions
DRAIN_COMMANDS = 512  # and how many: half of what we are given, so that the other half can come meanwhile
RETAKES_MAX = 10  # how often a command is decided again because another writer came first

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the command bus until it is told to stop, or its log fails."""
    app = load(settings.app)
    make_folder(settings.data)
    log = SqliteLog(settings.data, lambda secret: genesis(app, secret))
    app.check_stored(log.types())
    with closing(log), Sockets() as sockets:
        publisher = Publisher(sockets.publisher(settings.events), log)
        link = Link(sockets.dealer(settings.back), "commandbus", sorted(app.command_types))
        logger.info("Writing the log in %s from position %d on.", settings.data, log.head().position + 1)
        return CommandBus(app, log, publisher, link).run(stop)


def genesis(app: App, secret: bytes) -> Decision:
    """Return the decision that begins a new log."""
    tagger = Tagger(app.private_tags, secret)
    events = [NewEvent(type(event).__name__, event.data(), tagger.tags(event.tags())) for event in app.genesis]
    return Decision(GENESIS, Clock(_wall).now(), events)


class CommandBus:
    """The only writer of the log."""

    def __init__(self, app: App, log: Log, publisher: Publisher, link: Link) -> None:
        self._app = app
        self._log = log
        self._publisher = publisher
        self._link = link
        self._folds = Folds()
        last = log.read(log.head().position - 1, 1)
        self._clock = Clock(_wall, last[0].time if last else None)
        self._queue: deque[Job] = deque()
        self._retakes = 0
        self._failed = False
        self._counters = {"decided": 0, "commits": 0, "events": 0, "expired": 0, "retaken": 0}

    def run(self, stop: Stop) -> int:
        """Serve until told to stop; EXIT_DATA if a commit failed, since only a new start knows the truth."""
        self._show_head()
        self._link.announce()
        poll = Poll(self._link.socket, stop=stop)
        while not (self._failed or self._link.finished(stop)):
            idle = min(self._link.seconds_to_beat, self._publisher.seconds_to_head)
            self._link.wait(poll, 0 if self._queue else idle)
            self._queue.extend(self._link.receive())
            if self._queue:
                self._drain()
            if not self._queue:
                self._log.when_idle()
            self._publisher.repeat_head()
            self._link.beat(lambda: {"queue": len(self._queue), **self._counters})
        return EXIT_DATA if self._failed else EXIT_OK

    def _drain(self) -> None:
        """Decide what is there, for a while; append it in one commit; then, and not before, answer and publish."""
        jobs = [self._queue.popleft() for _ in range(min(len(self._queue), DRAIN_COMMANDS))]
        known = self._log.outcomes([job.key for job in jobs if job.key])
        expired, jobs = self._expired(jobs, known)
        drain = Drain(self._app, self._log, self._folds, self._clock.now(), self._clock.new_id, known)
        taken = self._decide(drain, jobs)
        self._queue.extendleft(reversed(jobs[taken:]))
        appended, answers = self._append(drain, jobs[:taken])
        self._link.answer(expired + answers)
        # Whoever asked has the answer on its way, and waits for nothing of this.
        if appended.decisions == len(drain.decisions):
            drain.appended()
        self._count(appended)
        self._publisher.publish(appended.events)

    def _expired(self, jobs: list[Job], known: dict[str, Outcome]) -> tuple[list[Done], list[Job]]:
        """Part what is too late from what is not: late work never reaches the log.

        What is in the log, and was sent again because its answer was lost, is not late but done.
        """
        now = time.monotonic()
        late = [job for job in jobs if job.deadline <= now and job.key not in known]
        if not late:
            return [], jobs
        self._counters["expired"] += len(late)
        text = "The deadline passed before the command was decided; nothing was written."
        return [_failure(job, Code.UNAVAILABLE, text) for job in late], [
            job for job in jobs if job.deadline > now or job.key in known
        ]

    def _decide(self, drain: Drain, jobs: list[Job]) -> int:
        """Decide jobs until the drain has had its time; return how many."""
        began = time.monotonic()
        for number, job in enumerate(jobs, 1):
            drain.decide(job)
            if (seconds := time.monotonic() - began) > DRAIN_SECONDS or number == len(jobs):
                self._link.took(number, seconds)
                return number
        return 0

    def _append(self, drain: Drain, jobs: list[Job]) -> tuple[Appended, list[Done]]:
        """Append what was decided; return what came into the log, and the answers."""
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
            # Perhaps it is in the log and perhaps it is not: say neither, and let a new start find out.
            logger.error("%s Whether the last commands are in it, only opening it again will tell.", failed)
            self._failed = True
            return nothing, [_failure(job, Code.CRASH, f"{failed} The outcome is not known.") for job in jobs]
        if appended.decisions < len(drain.decisions):
            return appended, self._retake(drain, jobs, appended.decisions)
        self._retakes = 0
        return appended, [done for _, done in drain.answers]

    def _retake(self, drain: Drain, jobs: list[Job], standing: int) -> list[Done]:
        """Another writer came first: answer what stands, and decide the rest again on what is there now."""
        self._folds.forget()
        answers = [done for rests_on, done in drain.answers if rests_on <= standing]
        again = jobs[len(answers) :]
        self._counters["retaken"] += len(again)
        self._retakes = 0 if answers else self._retakes + 1
        if self._retakes > RETAKES_MAX:
            self._retakes = 0
            text = f"Other writers came first {RETAKES_MAX} times; nothing was written. Try again."
            answers.append(_failure(again.pop(0), Code.UNAVAILABLE, text))
        self._queue.extendleft(reversed(again))
        return answers

    def _count(self, appended: Appended) -> None:
        self._counters["decided"] += appended.decisions
        self._counters["commits"] += 1 if appended.decisions else 0
        self._counters["events"] += len(appended.events)
        self._show_head()

    def _show_head(self) -> None:
        self._link.identity, self._link.position = self._log.identity, self._log.head().position


def _failure(job: Job, code: Code, text: str) -> Done:
    return job.id, 0, pack(error(job.body["msg_id"], code, text))


def _wall() -> int:
    return time.time_ns() // 1000
