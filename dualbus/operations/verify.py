"""Proof that nothing was lost, changed or skipped: the log walked, folded again, and the read model compared.

Log and read model are opened read-only, and the cluster may run meanwhile: as for every reader, SQLite keeps its
locks in the -shm files beside them, and makes those (and an empty -wal) where they are not. Where the cluster
writes on while we read, we read on up to where the read model is, and compare there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dualbus.application.app import App
from dualbus.application.messages import Event
from dualbus.log.contract import LogDamaged, RecordedEvent
from dualbus.log.head import FILE_NAME as HEAD_FILE_NAME
from dualbus.log.head import Acknowledged, read_head
from dualbus.log.sqlite.audit import LogAudit, VerificationError
from dualbus.readmodel.file import Checkpoint, Damaged, ReadModelBusyError, file_name
from dualbus.readmodel.replay import Comparison, ReadModelSnapshot, Replay

REPORT_EVENTS = 500

Progress = Callable[[int, int], None]  # positions done, positions there are


class VerificationReport(NamedTuple):
    """What was proven."""

    position: int
    commits: int
    commands: int  # genesis is none
    refused: int
    acknowledged: int | None  # the position in log.head; None where there is none
    read_model: int | None  # the position it was compared at; None where there is none
    compared: Comparison | None

    def __str__(self) -> str:
        log = (
            f"The log is whole: positions 1 to {self.position} without a hole, {_count(self.commits, 'commit')}, "
            f"{_count(self.commands, 'command')} ({self.refused} refused); every hash, tag and outcome is "
            "as it was written."
        )
        if self.acknowledged is None:
            log += f" There is no {HEAD_FILE_NAME} to compare it with: start commandbus, which makes it."
        else:
            log += f" {HEAD_FILE_NAME} has position {self.acknowledged} as acknowledged, and the log has that commit."
        if self.compared is None:
            return (
                f"{log} There is no read model of these projections to compare: start the projector, which makes it."
            )
        return (
            f"{log} The read model at position {self.read_model} is what the log gives: "
            f"{_count(self.compared.rows, 'row')} in {_count(self.compared.tables, 'table')}."
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def verify(folder: Path, app: App, progress: Progress = lambda done, total: None) -> VerificationReport:
    """Return what was proven, or raise Broken (or another LogError) that says what is wrong, and where first."""
    try:
        with Replay(app) as scratch:
            return _verify(folder, app, scratch, progress)
    except ReadModelBusyError as full:
        raise VerificationError(
            0, f"There is no room to fold the log again ({full}): set TMPDIR to a folder that has some."
        ) from None


def _verify(folder: Path, app: App, scratch: Replay, progress: Progress) -> VerificationReport:
    path = folder / file_name(app.projections)
    until = _position(path)  # asked before the log is looked at, so that the log is never behind it
    acknowledged = read_head(folder)  # as this is
    walk = LogAudit(folder, app)
    try:
        for recorded, event in walk.events():
            if recorded.position <= until:
                _fold(scratch, recorded, event)
            if recorded.position % REPORT_EVENTS == 0:
                progress(recorded.position, walk.end)
        progress(walk.position, walk.end)
        walk.check_file()
        _check_head(acknowledged, walk, folder)
        for other in sorted(set(folder.glob("read-*.db")) - {path}):
            with _live(other, walk) as live:
                _check_witness(other, live.checkpoint, walk)
        at, compared = _compare(path, walk, scratch) if path.exists() else (None, None)
    finally:
        walk.close()
    witnessed = acknowledged.head.position if acknowledged else None
    return VerificationReport(
        walk.position, walk.commits, walk.outcomes_seen - 1, walk.refused, witnessed, at, compared
    )


def _check_head(acknowledged: Acknowledged | None, walk: LogAudit, folder: Path) -> None:
    """Raise Broken if the log is not, or does not have, what commandbus has recorded as acknowledged."""
    if acknowledged is None:
        return
    try:
        acknowledged.check(walk, folder)
    except LogDamaged as damaged:
        position = min(acknowledged.head.position, walk.position + 1)
        raise VerificationError(position, str(damaged)) from None


def _position(path: Path) -> int:
    """Return how far a read model is; 0 where that cannot be read, which will come out later."""
    try:
        with ReadModelSnapshot(path) as live:
            return live.checkpoint.position
    except Damaged:
        return 0


def _fold(scratch: Replay, recorded: RecordedEvent, event: Event) -> None:
    try:
        scratch.apply(recorded, event)
    except Damaged as failed:
        raise VerificationError(recorded.position, str(failed)) from None


def _live(path: Path, walk: LogAudit) -> ReadModelSnapshot:
    try:
        return ReadModelSnapshot(path)
    except Damaged as damaged:
        raise _bad_read_model(walk.position, damaged) from None


def _compare(path: Path, walk: LogAudit, scratch: Replay) -> tuple[int, Comparison]:
    """Compare the read model with what the log gives at its position, all in one snapshot of it."""
    with _live(path, walk) as live:
        position = live.checkpoint.position
        if position > walk.position:  # the cluster went on meanwhile
            walk.look()
            for _ in walk.events():
                pass
        _check_witness(path, live.checkpoint, walk)
        if position < scratch.position:
            raise VerificationError(
                position, f"{path} went back from position {scratch.position} to {position} while we looked."
            )
        for recorded, event in walk.proven(scratch.position, position):
            _fold(scratch, recorded, event)
        try:
            compared = scratch.compare(live)
            live.check_file()
        except Damaged as damaged:
            raise _bad_read_model(position, damaged) from None
    return position, compared


def _check_witness(path: Path, seen: Checkpoint, walk: LogAudit) -> None:
    """See that the log is the one, and reaches as far as, a read model has seen it."""
    if seen.identity.log != walk.identity.log:
        raise VerificationError(0, f"{path} was made from another log ({seen.identity.log}): move it away.")
    if seen.identity != walk.identity:
        raise VerificationError(
            0,
            f"{path} follows an earlier life of this log: start the projector, which takes it over or makes it "
            "anew, and verify again.",
        )
    if seen.position > walk.position:
        raise VerificationError(
            walk.position + 1,
            f"The log has lost acknowledged events from position {walk.position + 1} on: {path} has seen position "
            f"{seen.position}. Restore the log from a backup.",
        )
    if walk.hash_at(seen.position) != seen.hash:
        raise VerificationError(
            seen.position,
            f"At position {seen.position} the log is whole, and not the one that {path} was made from: one of them "
            "was changed. Restore the log from a backup, or have the read model made anew.",
        )


def _bad_read_model(position: int, damaged: Damaged) -> VerificationError:
    return VerificationError(
        position,
        f"The log is whole up to position {position}, and the read model is not what it gives there. {damaged} "
        "Stop the projector, take the file away and start it again: it makes the file anew.",
    )
