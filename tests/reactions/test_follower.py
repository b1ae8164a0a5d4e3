"""The events of a reaction: which of them run, when others fail or take long."""

import asyncio
from collections import defaultdict
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from dualbus.log.contract import GENESIS, Decision
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.log.tags import Tagger
from dualbus.reactions.store import Progress
from dualbus.reactor.attempts import Attempts
from dualbus.reactor.environment import Environment
from dualbus.reactor.follower import Follower
from dualbus.reactor.job import Failure, Job
from dualbus.reactor.running_event import RunningEvent
from dualbus.worker.interrupt import Interrupt
from tests.reactions.troubled import Noted, failing

NOW = "2026-11-27T12:00:00.000000Z"


class Steps:
    """Runs of events, each of which ends when the test says how."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self._ends: defaultdict[int, asyncio.Queue[bool]] = defaultdict(asyncio.Queue)

    async def run(self, job: Job) -> None:
        self.started.append(job.position)
        if not await self._ends[job.position].get():
            raise Failure("no", final=True)

    async def end(self, position: int, *, well: bool) -> None:
        """End a run of an event, and let all others go on as far as they can."""
        self._ends[position].put_nowait(well)
        for _ in range(10):
            await asyncio.sleep(0)


def test_an_event_that_an_operator_skips_does_not_start_again_meanwhile(tmp_path: Path) -> None:
    async def scenario(log: SqliteLog) -> None:
        steps = Steps()
        environment = Environment(Interrupt(), nullcontext, lambda: None, RunningEvent(tmp_path))
        attempts = Attempts("echo", lambda: None)
        follower = Follower(
            failing, log, failing.reactors["echo"], Progress(0, b"", 0), steps.run, attempts, environment
        )
        follower.feed(log.read(0, 10))
        # Given a skip while the event is under way: a failure must be awaited
        assert not follower.hold(1)
        await steps.end(1, well=False)
        follower.collect()

        # When the event is parked, and tries are due
        assert follower.hold(1)
        follower._retries[1] = 1
        follower.retry_due()
        await asyncio.sleep(0)
        assert steps.started == [1, 2] and follower.seconds_to_retry() > 0

        # Then only the skip ends the wait, and the event behind starts
        await steps.end(2, well=True)
        follower.collect()
        follower.skip(1)
        await asyncio.sleep(0)
        assert steps.started == [1, 2, 3]
        await follower.stop()

    with closing(SqliteLog(tmp_path, lambda secret: Decision(GENESIS, NOW))) as log:
        tagger = Tagger(frozenset(), log.secret)
        events = [tagger.new_event(Noted(item=item, text="")) for item in "aba"]
        log.append([Decision("c", NOW, events)])
        asyncio.run(scenario(log))


def test_the_next_try_comes_after_its_pause_also_if_the_clock_was_a_year_ahead(tmp_path: Path) -> None:
    moment = datetime(2027, 11, 27, 12, tzinfo=UTC)

    async def fail(job: Job) -> None:
        raise Failure("no")

    async def scenario(log: SqliteLog) -> None:
        nonlocal moment
        running = RunningEvent(tmp_path)
        environment = Environment(Interrupt(), nullcontext, lambda: None, running, lambda: moment)
        attempts = Attempts("echo", lambda: None)
        follower = Follower(failing, log, failing.reactors["echo"], Progress(0, b"", 0), fail, attempts, environment)
        follower.feed(log.read(0, 10))
        for _ in range(10):
            await asyncio.sleep(0)
        [parked] = follower.collect().parked
        follower.retry_due()
        pause = follower.seconds_to_retry()

        # When the clock is corrected, then the running reactor and a new one try as early as intended
        moment = datetime(2026, 11, 27, 12, tzinfo=UTC)
        follower.retry_due()
        assert pause <= follower.seconds_to_retry() < 1
        later = Follower(failing, log, failing.reactors["echo"], Progress(1, b"", 0), fail, attempts, environment)
        later.load([parked], [])
        assert 0 < pause <= later.seconds_to_retry() < 1
        await follower.stop()

    with closing(SqliteLog(tmp_path, lambda secret: Decision(GENESIS, NOW))) as log:
        event = Tagger(frozenset(), log.secret).new_event(Noted(item="a", text=""))
        log.append([Decision("c", NOW, [event])])
        asyncio.run(scenario(log))


def test_an_event_released_before_its_turn_waits_for_the_earlier_one_of_its_tag(
    tmp_path: Path,
) -> None:
    async def scenario(log: SqliteLog) -> None:
        steps = Steps()
        environment = Environment(Interrupt(), nullcontext, lambda: None, RunningEvent(tmp_path))
        attempts = Attempts("echo", lambda: None)
        follower = Follower(
            failing, log, failing.reactors["echo"], Progress(0, b"", 0), steps.run, attempts, environment
        )
        # Given an event that failed, one behind it, and between them one of another tag under way
        follower.feed(log.read(0, 10))
        await steps.end(1, well=False)
        follower.collect()
        assert (steps.started, follower.position) == ([1, 2], 1)

        # When the first fails once more, and then the one under way ends
        follower.retry(1)
        follower.retry_due()
        await steps.end(1, well=False)
        await steps.end(2, well=True)
        follower.collect()
        follower.retry_due()
        await asyncio.sleep(0)

        # Then the one behind waits, until the first has run well
        assert (steps.started, follower.position) == ([1, 2, 1], 3)
        follower.retry(1)
        follower.retry_due()
        await steps.end(1, well=True)
        assert steps.started == [1, 2, 1, 1, 3]
        await follower.stop()

    with closing(SqliteLog(tmp_path, lambda secret: Decision(GENESIS, NOW))) as log:
        tagger = Tagger(frozenset(), log.secret)
        events = [tagger.new_event(Noted(item=item, text="")) for item in "aba"]
        log.append([Decision("c", NOW, events)])
        asyncio.run(scenario(log))
