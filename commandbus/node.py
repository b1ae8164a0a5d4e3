"""The process: receive commands, decide a batch, append, answer, publish."""

import logging
import os
import time
from contextlib import closing
from itertools import chain
from typing import Any, NamedTuple

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.log.commits import OutcomeUnknown, SharedLog
from dualbus.log.contract import GENESIS, Appended, CommitFailed, Decision, Log, LogUnavailable
from dualbus.log.engine import open_log, open_shared_log
from dualbus.log.tags import Tagger, check_privacy
from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, error
from dualbus.protocol.records import NO_DETAILS, Job, Response
from dualbus.runtime.errors import EXIT_DATA, EXIT_OK
from dualbus.runtime.files import lock_name, make_folder
from dualbus.runtime.settings import ONE_MACHINE, Settings
from dualbus.runtime.signals import Stop
from dualbus.telemetry.histogram import EVENTS, SECONDS, Histogram
from dualbus.telemetry.tracing import open_tracer
from dualbus.transport.keys import load_cluster_keys
from dualbus.transport.poller import Poll
from dualbus.transport.sockets import Sockets
from dualbus.worker.attendant import Attendant
from dualbus.worker.interrupt import Interrupt
from dualbus.worker.link import WorkerLink
from dualbus.worker.links import WorkerLinks

from .batch import CommandBatch
from .clock import Clock
from .loaded_code import LoadedCode
from .publisher import Publisher
from .spans import BatchSpans
from .state_cache import StateCache
from .state_folder import StateFolder

LATE = "The deadline passed before the command was decided; nothing was written."
SLOW_TYPES_MAX = 100
GIVE_UP_SECONDS = 30.0  # beyond its deadline, for a decision to finish reading a long history into the cache
BATCH_SECONDS = 0.02  # of deciding, for one commit
BATCH_COMMANDS_MAX = 512  # half of the credit: the gateway sends the other half during the commit
CONFLICTS_MAX = 10  # in a row, for one command: another writer appended events first

logger = logging.getLogger(__name__)


def serve(settings: Settings, stop: Stop) -> int:
    """Run the command bus until a stop is requested, or the log fails."""
    app = load(settings.app)
    make_folder(settings.data)
    shared = None
    if settings.log == ONE_MACHINE:
        log = open_log(settings.data, lambda secret: genesis(app, secret))
    else:
        log = shared = open_shared_log(
            settings.log, settings.data, lambda secret: genesis(app, secret), settings.host
        )
    stored = log.types()
    app.check_stored(stored)
    check_privacy(app, log, chain.from_iterable(stored.values()))
    with closing(log), Sockets(load_cluster_keys(settings.keys)) as sockets:
        publisher = Publisher(sockets.publisher(settings.events), log)
        types = sorted(app.command_types)
        backs = (settings.back, *settings.other_backs)
        lock = "" if shared else lock_name(settings.data, "log")
        links = [WorkerLink(sockets.dealer(back), "commandbus", types, lock) for back in backs]
        link = links[0] if len(links) == 1 else WorkerLinks(links)
        position = log.head().position + 1
        logger.info("Writing the log in %s from position %d on (pid %d).", settings.data, position, os.getpid())
        states = StateCache(files=StateFolder(settings.data, log, LoadedCode(settings.app)))
        return CommandBus(app, log, publisher, link, states, shared).run(stop)


def genesis(app: App, secret: bytes, now: str | None = None) -> Decision:
    """Return the first decision of a new log, at the time of the machine or another time."""
    tagger = Tagger(app.private_tags, secret)
    events = [tagger.new_event(event) for event in app.genesis]
    return Decision(GENESIS, now or Clock(_wall).now(), events)


class CommitResult(NamedTuple):
    """The result of a group commit."""

    appended: Appended
    answers: list[Response]
    requeued: list[Job]  # for the next batch, after a conflict


class CommandBus:
    """The only writer of the log; of a shared log, the active writer or a standby."""

    def __init__(
        self,
        app: App,
        log: Log,
        publisher: Publisher,
        link: WorkerLink | WorkerLinks,
        states: StateCache,
        shared: SharedLog | None = None,
    ) -> None:
        self._app = app
        self._log = log
        self._shared = shared  # the same log, if shared
        self._active_since: int | None = None if shared else 0
        self._publisher = publisher
        self._link = link
        self._states = states
        self._start_clock()
        self._interrupt = Interrupt()
        self._attendant = Attendant(
            link,
            self._interrupt,
            self._status,
            handler="decision",
            give_up_seconds=GIVE_UP_SECONDS,
            attend=self._attend,
        )
        self._tracer = open_tracer("commandbus", app.command_types)
        self._spans = BatchSpans(self._tracer) if self._tracer else None
        self._slow_types: set[str] = set()
        self._conflicts = 0
        self._failed = False
        self._fsync, self._events_per_commit = Histogram(SECONDS), Histogram(EVENTS)
        self._counters = {"decided": 0, "commits": 0, "events": 0, "expired": 0, "retaken": 0}

    def run(self, stop: Stop) -> int:
        """Serve until a stop is requested; return EXIT_DATA after a failed commit: the log must be opened again."""
        link = self._link
        self._report_head()
        self._attendant.start()
        self._link.register(self._active_since)
        poll = Poll(*(found.socket for found in link.links), *self._wakeup(), stop=stop)
        while not (self._failed or link.finished(stop)):
            link.wait(poll, 0 if link.jobs else self._idle_seconds())
            link.receive()
            if self._shared:
                self._follow(self._shared)
            if link.jobs:
                self._process_batch()
            if not link.jobs:
                self._log.when_idle()
                self._states.save_next()
            self._publisher.repeat_head()
            link.send_heartbeat(self._status)
        self._attendant.stop()
        if self._shared:
            self._publisher.set_role(active=False)
            self._publisher.repeat_head()
            self._shared.leave()
        if self._tracer:
            self._tracer.close()
        return EXIT_DATA if self._failed else EXIT_OK

    def _attend(self) -> None:
        """Announce this writer while a long decision delays the loop. Runs in the attendant's thread."""
        if self._shared:
            self._shared.stay_active()
        self._publisher.repeat_head()

    def _start_clock(self) -> None:
        """Continue after the last event, which another machine may have appended."""
        last = self._log.read(self._log.head().position - 1, 1)
        self._clock = Clock(_wall, last[0].time if last else None)

    def _wakeup(self) -> list[int]:
        return [self._shared.wakeup] if self._shared else []

    def _idle_seconds(self) -> float:
        seconds = min(self._link.seconds_to_heartbeat, self._publisher.seconds_to_head)
        return min(seconds, self._shared.seconds_to_turn) if self._shared else seconds

    def _status(self) -> dict[str, Any]:
        histograms = {"fsync_s": self._fsync.as_dict(), "events_per_commit": self._events_per_commit.as_dict()}
        status = {"queue": len(self._link.jobs), **self._counters, **self._attendant.status()}
        shared = self._shared.status() if self._shared else {}
        return {**status, **shared, "histograms": histograms}

    def _follow(self, shared: SharedLog) -> None:
        """Follow the other writers, publish their events, and register again after a change of the role."""
        events = shared.turn()
        if events or shared.since != self._active_since:
            self._report_head()
        if shared.since != self._active_since:
            self._active_since = shared.since
            self._start_clock()
            self._link.register(self._active_since)
        # A reactor acts on the role: an active commandbus that cannot append is perhaps active no more.
        self._publisher.set_role(active=shared.since is not None and shared.reachable)
        self._publisher.publish(events)

    def _process_batch(self) -> None:
        """Decide queued commands for a while and append the decisions in one commit; then answer and publish."""
        queued = self._link.jobs
        jobs = [queued.popleft() for _ in range(min(len(queued), BATCH_COMMANDS_MAX))]
        known = self._log.outcomes([job.key for job in jobs if job.key])
        batch = CommandBatch(
            self._app, self._log, self._states, self._clock.now(), self._clock.new_id, known, self._interrupt
        )
        deciding = _wall()
        with self._link.handling():
            number = self._decide(batch, jobs)
        decided, appending = _wall(), time.monotonic()
        result = self._commit(batch, jobs[:number])
        committed, appended = _wall() if result.appended.decisions else 0, time.monotonic()
        self._requeue(result.requeued + jobs[number:])
        self._link.answer(result.answers, (deciding, decided, committed))
        # The answers are on their way: clients do not wait for the rest.
        batch.update_states(result.appended)
        self._count(result.appended)
        self._publisher.publish(result.appended.events)
        if self._spans:
            self._spans.record(appending, appended, committed=committed > 0)

    def _requeue(self, jobs: list[Job]) -> None:
        """Put jobs at the front of the queue; discard those of earlier registrations."""
        self._link.jobs.extendleft(reversed([job for job in jobs if self._link.is_current(job)]))

    def _decide(self, batch: CommandBatch, jobs: list[Job]) -> int:
        """Decide jobs until the time of the batch is over; return their number.

        Refuse a job after its deadline: late commands never reach the log. But a known key is answered at any time:
        the gateway sends an executed command again if the first answer was lost.
        """
        link, interrupt = self._link, self._interrupt
        registration = link.registration
        began = now = time.monotonic()
        number = 0
        for job in jobs:
            if link.registration != registration or now - began > BATCH_SECONDS:
                break
            if number and job.what in self._slow_types:
                break  # so that earlier commands are committed first
            number += 1
            if job.deadline <= now and not batch.knows(job):
                self._counters["expired"] += 1
                batch.refuse(job, Code.UNAVAILABLE, LATE)
                continue
            interrupt.running = job
            before, decisions = now, len(batch.decisions)
            batch.decide(job)
            now = time.monotonic()
            if self._spans:
                self._spans.add(job, before, now, decided=len(batch.decisions) > decisions)
        interrupt.running = None
        self._record_throughput(jobs[number - 1], number, now - began)
        return number

    def _record_throughput(self, last: Job, number: int, seconds: float) -> None:
        """Record the time of decisions, and which command types are slow."""
        self._link.credit.record(number, seconds)
        if seconds > BATCH_SECONDS and len(self._slow_types) < SLOW_TYPES_MAX:
            self._slow_types.add(last.what)
        elif number == 1:
            self._slow_types.discard(last.what)

    def _commit(self, batch: CommandBatch, jobs: list[Job]) -> CommitResult:
        """Append the decisions of a batch."""
        nothing = Appended(0, [])
        try:
            appended = self._log.append(batch.decisions) if batch.decisions else nothing
        except (LogUnavailable, OutcomeUnknown) as problem:
            logger.error("%s", problem)
            full = isinstance(problem, LogUnavailable)
            code, text = (Code.UNAVAILABLE, "") if full else (Code.CRASH, " The outcome is not known.")
            head = self._log.head().position  # a kept answer may have the position of decisions of this batch
            answers = [
                (id_, min(at, head), body, details)
                if job.key in batch.known
                else _failure(job, code, f"{problem}{text}")
                for job, (_, (id_, at, body, details)) in zip(jobs, batch.answers, strict=True)
            ]
            return CommitResult(nothing, answers, [])
        except CommitFailed as failed:
            # Commands may be in the log or not: do not answer with either, but end; the next start reads the log.
            logger.error("%s Open the log again to find out whether the last commands are in it.", failed)
            self._failed = True
            unknown = [_failure(job, Code.CRASH, f"{failed} The outcome is not known.") for job in jobs]
            return CommitResult(nothing, unknown, [])
        answers = batch.responses(appended)
        if appended.decisions == len(batch.decisions):
            self._conflicts = 0
            return CommitResult(appended, answers, [])
        return self._conflict(appended, answers, jobs[len(answers) :])

    def _conflict(self, appended: Appended, answers: list[Response], jobs: list[Job]) -> CommitResult:
        """Requeue the jobs after a conflict with another writer; after many conflicts in a row, refuse the first."""
        self._counters["retaken"] += len(jobs)
        if self._shared and self._shared.since is None:
            # The other writer may have executed the commands: the next registration returns them to the gateway.
            return CommitResult(appended, answers, jobs)
        self._conflicts = 0 if answers else self._conflicts + 1
        if self._conflicts == CONFLICTS_MAX:
            self._conflicts = 0
            text = f"Other writers came first {CONFLICTS_MAX} times; nothing was written. Try again."
            answers.append(_failure(jobs[0], Code.UNAVAILABLE, text))
            jobs = jobs[1:]
        return CommitResult(appended, answers, jobs)

    def _count(self, appended: Appended) -> None:
        if appended.decisions:
            self._counters["decided"] += appended.decisions
            self._counters["commits"] += 1
            self._counters["events"] += len(appended.events)
            self._fsync.observe(appended.sync_seconds)
            self._events_per_commit.observe(len(appended.events))
        self._report_head()

    def _report_head(self) -> None:
        self._link.report(self._log.identity, self._log.head().position)


def _failure(job: Job, code: Code, text: str) -> Response:
    return job.id, 0, pack(error(job.body["msg_id"], code, text)), NO_DETAILS


def _wall() -> int:
    return time.time_ns() // 1000
