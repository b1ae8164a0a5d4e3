"""A seeded mix of all faults under load, for as long as it is told: python -m tests.faults.soak --minutes 10

Rounds of some twenty seconds, each with a cluster of its own: processes are killed, paused and restarted, commandbus
is stopped around the deadlines of commands, its disk is slow, handlers last, clients are hostile, commands are sent
again under their keys, the power is cut under copies of the log, and at the end of a round the judge holds what
clients recorded against what is there. Prints one table; exit 1 if anything was lost, doubled, stale, skipped or
untrue, or otherwise wrong.
"""

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NoReturn

from dualbus.log.contract import LogDamaged, LogError
from dualbus.log.head import FILE_NAME as HEAD_FILE_NAME
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.reactions.store import FILE_NAME as REACTOR_FILE_NAME
from dualbus.reactions.store import Counts, ReactionStore
from dualbus.readmodel.file import file_name
from dualbus.readmodel.reader import ReadModelReader
from dualbus.runtime.errors import DataError
from dualbus.testing import Cluster, Process, until
from tests import keyring
from tests.conftest import ROOT
from tests.faults.apps.greeting import app
from tests.faults.judge import Answer, Fault, chain, judge, read_log
from tests.faults.judge_reactions import reactions
from tests.faults.load import Load, Mix
from tests.faults.recording import Recording, slow_file
from tests.faults.rude import RudeClient

ROUND_SECONDS = 20.0
SETTLE_SECONDS = 60.0
FAULTS_SECONDS = 0.4  # between two faults, about
NAMES = ("gateway", "commandbus", "commandbus", "commandbus", "projector", "projector", "querybus", "reactor")
STARTED = ("gateway", "commandbus", "projector", "querybus", "querybus", "querybus", "reactor")
FAULTS = ("kills", "pauses", "restarts", "stops", "slow disks", "hostile", "power cuts", "lost files")
COLUMNS = ("acknowledged", "sent again", "slow", *FAULTS, "lost", "doubled", "stale", "skipped", "untrue")
BROKEN = ("lost", "doubled", "stale", "skipped", "untrue", "reordered", "broken")
# Deadlines around the time after which the gateway gives a silent worker up.
MIX = Mix(timeouts_ms=(300, 2500), again=0.05, slow=0.005)


class Round:
    """One cluster and what is done to it."""

    def __init__(self, folder: Path, seed: int, totals: Counter[str]) -> None:
        self.chance = random.Random(seed)
        self.faults: list[Fault] = []
        self._folder = folder
        self._totals = totals
        self._cuts = 0
        self._cluster = Cluster(folder, "tests.faults.apps.greeting:app", cwd=ROOT)
        self._cluster.environ["PYTHONFAULTHANDLER"] = "1"
        self._load = Load(self._cluster.front, seed, sessions=6, timeout_ms=1000, settle_seconds=60, mix=MIX)
        self._running: list[Process] = []
        self._hostile = ExitStack()

    def run(self, seconds: float) -> None:
        """Run for a while, let it come to rest, and judge."""
        acts = [self._kill, self._kill, self._pause, self._restart, self._cut_power]
        acts += [self._stop_around_deadlines, self._stop_around_deadlines, self._slow_disk, self._be_hostile]
        acts += [self._lose_file]
        with self._cluster, self._hostile:
            self._start()
            with self._load:
                self._load.more(1)
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    time.sleep(self.chance.uniform(0, 2 * FAULTS_SECONDS))
                    self.chance.choice(acts)()
                self._look()
            self._settle()
            self.faults += judge(self._load.history, self._cluster.data, app)
            self.faults += reactions(read_log(self._cluster.data))
        self._totals["acknowledged"] += self._load.acknowledged
        self._totals["sent again"] += self._load.sent_again
        self._totals["slow"] += self._load.slow
        self._totals.update(fault.kind for fault in self.faults)

    def _start(self) -> None:
        """Make the log, and record from then on what happens to its disk."""
        self._recorded = recorded = self._folder / "recorded"
        recorded.mkdir()
        self._cluster.start("commandbus")
        until((self._cluster.data / HEAD_FILE_NAME).exists)
        self._cluster.stop("commandbus")
        self._recording = Recording(recorded, self._cluster.data)
        self._cluster.commands["commandbus"] = [sys.executable, "-m", "tests.faults.recording", str(recorded)]
        self._running = self._cluster.start(*STARTED)

    def _one(self) -> Process:
        name = self.chance.choice(NAMES)
        return self.chance.choice([one for one in self._running if one.name == name])

    def _replace(self, process: Process) -> None:
        time.sleep(self.chance.choice((0.0, 0.0, 0.1, 0.5)))
        self._running.remove(process)
        self._running += self._cluster.start(process.name)

    def _kill(self) -> None:
        process = self._one()
        process.send(signal.SIGKILL)
        process.wait()
        self._totals["kills"] += 1
        self._replace(process)

    def _lose_file(self) -> None:
        """The reactor loses its file, and derives it from the log."""
        process = next(one for one in self._running if one.name == "reactor")
        process.send(signal.SIGKILL)
        process.wait()
        for path in self._cluster.data.glob(f"{REACTOR_FILE_NAME}*"):
            path.unlink()
        self._totals["lost files"] += 1
        self._replace(process)

    def _pause(self) -> None:
        process = self._one()
        process.send(signal.SIGSTOP)
        time.sleep(self.chance.choice((0.05, 0.2, 1.0, 2.5)))
        process.send(signal.SIGCONT)
        self._totals["pauses"] += 1

    def _stop_around_deadlines(self) -> None:
        """Stop commandbus until some of the commands it was sent have expired, and the gateway has given it up."""
        process = self._commandbus
        process.send(signal.SIGSTOP)
        time.sleep(self.chance.choice((self.chance.uniform(1.5, 2.5), self.chance.uniform(0.8, 6.0))))
        process.send(signal.SIGCONT)
        self._totals["stops"] += 1

    def _slow_disk(self) -> None:
        slow = slow_file(self._recorded)
        slow.touch()
        time.sleep(self.chance.uniform(0.5, 3.0))
        slow.unlink()
        self._totals["slow disks"] += 1

    def _be_hostile(self) -> None:
        """Let a hostile client at the gateway; it stays until the next one replaces it, or the round ends."""
        self._hostile.close()
        self._hostile.enter_context(RudeClient(self._cluster.front, self.chance))
        self._totals["hostile"] += 1

    @property
    def _commandbus(self) -> Process:
        return next(one for one in self._running if one.name == "commandbus")

    def _restart(self) -> None:
        process = self._one()
        process.send(signal.SIGTERM)
        try:
            code = process.wait()
        except subprocess.TimeoutExpired:
            process.send(signal.SIGABRT)  # it says where it is
            code = process.wait()
        if code != 0 and process.stderr_text:  # until it says something, it has not even begun
            self._wrong(f"{process.name}, told to stop, ended with {code}: {process.stderr_text[-2000:]}")
        self._totals["restarts"] += 1
        self._replace(process)

    def _cut_power(self) -> None:
        """What was acknowledged by now must be in what a power cut would leave of the log now."""
        acknowledged = self._acknowledged()
        self._recording.catch_up()
        self._cuts += 1
        left = self._folder / f"cut{self._cuts}"
        self._recording.disk.cut(self.chance, left)
        self._totals["power cuts"] += 1
        try:
            log = SqliteLog(left, _no_genesis)
        except LogError as unreadable:
            self.faults.append(Fault("lost", f"A power cut left a log that does not open: {unreadable}"))
            return
        position = log.head().position
        log.close()
        self.faults += chain(read_log(left))
        if position < acknowledged:
            text = f"A power cut left {position} of {acknowledged} acknowledged positions."
            self.faults.append(Fault("lost", text))

    def _acknowledged(self) -> int:
        written = (one for one in self._load.history if not one.query and one.answer is Answer.ACKNOWLEDGED)
        return max((one.position for one in written), default=0)

    def _look(self) -> None:
        """Nobody ends without being told to."""
        for process in self._running:
            if not process.running:
                self._wrong(f"{process.name} ended by itself: {process.stderr_text[-500:]}")

    def _settle(self) -> None:
        """Everything that has a key is known, and the read model has all there is."""
        if self._load.unknown:
            keys = self._load.unknown
            known = [one for one in self._load.history if one.key in keys][-5:]
            self._wrong(f"{len(keys)} keys never came to anything: {known}, after {self._load.refusals[-3:]}")
        path = self._cluster.data / file_name(app.projections)

        def caught_up() -> bool:
            log, model = SqliteLogReader(self._cluster.data), ReadModelReader(path)
            try:
                return model.checkpoint().position == log.head().position
            finally:
                log.close()
                model.close()

        def reacted() -> bool:
            store, log = ReactionStore(self._cluster.data), SqliteLogReader(self._cluster.data)
            try:
                progress, counts = store.progress().get("greeting"), store.counts()
                return bool(progress and progress.position == log.head().position and counts["greeting"] == Counts())
            finally:
                log.close()
                store.close()

        for at_rest, what in ((reacted, "reactions"), (caught_up, "read model")):
            try:
                until(partial(_holds, at_rest), SETTLE_SECONDS)
            except AssertionError:
                states = "".join(
                    one.stderr_text[-1500:] for one in self._running if one.name in ("reactor", "projector")
                )
                self.faults.append(Fault("skipped", f"The {what} never came to the end of the log: {states}"))

    def _wrong(self, text: str) -> None:
        self.faults.append(Fault("broken", text))


def _holds(at_rest: Callable[[], bool]) -> bool:
    """Return a condition; False while a process has lost its file, and has not created another."""
    try:
        return at_rest()
    except DataError:
        return False


def _no_genesis(secret: bytes) -> NoReturn:
    raise LogDamaged("A power cut left no log at all.")


def table(totals: Counter[str]) -> str:
    """Return the one table."""
    columns = [*COLUMNS, *(kind for kind in BROKEN if kind not in COLUMNS and totals[kind])]
    cells = [f"{totals[column]:,}" for column in columns]
    widths = [max(len(column), len(cell)) for column, cell in zip(columns, cells, strict=True)]

    def line(texts: list[str]) -> str:
        return "| " + " | ".join(text.rjust(width) for text, width in zip(texts, widths, strict=True)) + " |"

    return "\n".join([line(columns), "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|", line(cells)])


def main() -> int:
    """Soak; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    given = parser.parse_args()
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)
    seeds = random.Random(given.seed)
    totals: Counter[str] = Counter()
    end = time.monotonic() + given.minutes * 60
    while (left := end - time.monotonic()) > 0:
        seed = seeds.randrange(1 << 32)
        with tempfile.TemporaryDirectory(prefix="soak") as folder:
            one = Round(Path(folder), seed, totals)
            one.run(min(left, ROUND_SECONDS))
        for fault in one.faults:
            print(f"{fault.kind}: {fault.text}", file=sys.stderr)
        print(f"{left / 60:.1f} minutes left, {totals['acknowledged']:,} acknowledged", file=sys.stderr)
    shutil.rmtree(keyring.FOLDER)
    print(f"python -m tests.faults.soak --minutes {given.minutes:g} --seed {given.seed}\n\n{table(totals)}")
    return 1 if any(totals[kind] for kind in BROKEN) else 0


if __name__ == "__main__":
    sys.exit(main())
