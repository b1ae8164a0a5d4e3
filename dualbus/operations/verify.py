"""Verify that no event was lost, changed or skipped: audit the log, replay all events, compare the read model.

Log and read model are opened read-only, and the cluster may run during verification. As for every reader, SQLite
keeps locks in -shm files, and creates these (and an empty -wal) if missing. If the cluster writes during
verification, the audit continues up to the checkpoint of each read model, and the comparison happens there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dualbus.application.app import App
from dualbus.application.messages import Event
from dualbus.application.recorded import Origins
from dualbus.log.contract import Audit, LogDamaged, LogError, RecordedEvent, VerificationError
from dualbus.log.engine import log_file, open_audit
from dualbus.log.head import FILE_NAME as HEAD_FILE_NAME
from dualbus.log.head import Acknowledged, check_head, read_head
from dualbus.readmodel.file import Checkpoint, Damaged, ReadModelBusyError, file_name
from dualbus.readmodel.replay import Comparison, ReadModelSnapshot, Replay
from dualbus.runtime.files import is_there

REPORT_EVENTS = 500

Progress = Callable[[int, int], None]  # positions done, positions in total


class VerificationReport(NamedTuple):
    """The result of a verification."""

    position: int
    commits: int
    commands: int  # without genesis
    refused: int
    acknowledged: int | None  # the position in log.head; None without log.head
    read_model: int | None  # the position of the comparison; None without a read model
    compared: Comparison | None
    warning: str  # a sentence if the application does not fit the log, or ""

    def __str__(self) -> str:
        log = (
            f"The log is whole: positions 1 to {self.position} without a hole, {_count(self.commits, 'commit')}, "
            f"{_count(self.commands, 'command')} ({self.refused} refused); every hash, tag and outcome is "
            "as it was written."
        )
        if self.acknowledged is None:
            log += f" The folder has no {HEAD_FILE_NAME} to compare: start commandbus, which creates this file."
        else:
            log += f" {HEAD_FILE_NAME} has position {self.acknowledged} as acknowledged, and the log has that commit."
        if self.compared is None:
            return f"{log} The folder has no read model of these projections to compare: start the projector."
        return (
            f"{log} The read model at position {self.read_model} is what the log gives: "
            f"{_count(self.compared.rows, 'row')} in {_count(self.compared.tables, 'table')}."
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def verify(folder: Path, app: App, progress: Progress = lambda done, total: None) -> VerificationReport:
    """Verify log and read model; raise VerificationError (or another LogError) with the first error."""
    try:
        with Replay(app) as replay:
            return _verify(folder, app, replay, progress)
    except ReadModelBusyError as busy:
        raise LogError(
            f"The log cannot be replayed ({busy}). If the disk is full, set TMPDIR to a folder with more space, and "
            "repeat."
        ) from None


def _verify(folder: Path, app: App, replay: Replay, progress: Progress) -> VerificationReport:
    path = folder / file_name(app.projections)
    until = _position(path)  # read before the log, so that the log has this position
    acknowledged = read_head(folder)  # before the log, too
    if not is_there(log_file(folder)):
        check_head(folder, None)
    audit = open_audit(folder, app)
    replay.origins = Origins(audit)
    try:
        for recorded, event in audit.events():
            if recorded.position <= until:
                _apply(replay, recorded, event)
            if recorded.position % REPORT_EVENTS == 0:
                progress(recorded.position, audit.end)
        progress(audit.position, audit.end)
        audit.check_file()
        _check_head(acknowledged, audit, folder)
        for other in sorted(set(folder.glob("read-*.db")) - {path}):
            with _snapshot(other, audit) as snapshot:
                identity = snapshot.checkpoint.identity
                if identity == audit.identity or identity.log != audit.identity.log:
                    _check_checkpoint(other, snapshot.checkpoint, audit)  # else kept from before a restore
        at, compared = _compare(path, audit, replay) if path.exists() else (None, None)
    finally:
        audit.close()
    acknowledged_position = acknowledged.head.position if acknowledged else None
    return VerificationReport(
        audit.position,
        audit.commits,
        audit.outcomes_seen - 1,
        audit.refused,
        acknowledged_position,
        at,
        compared,
        audit.warning,
    )


def _check_head(acknowledged: Acknowledged | None, audit: Audit, folder: Path) -> None:
    """Raise VerificationError if the log lacks the commit recorded in log.head."""
    if acknowledged is None:
        return
    try:
        acknowledged.check(audit, folder)
    except LogDamaged as damaged:
        position = min(acknowledged.head.position, audit.position + 1)
        raise VerificationError(position, str(damaged)) from None


def _position(path: Path) -> int:
    """Return the position of a read model; 0 if the file is damaged, which `_compare` reports."""
    try:
        with ReadModelSnapshot(path) as snapshot:
            return snapshot.checkpoint.position
    except Damaged:
        return 0


def _apply(replay: Replay, recorded: RecordedEvent, event: Event) -> None:
    try:
        replay.apply(recorded, event)
    except Damaged as failed:
        raise VerificationError(recorded.position, str(failed)) from None


def _snapshot(path: Path, audit: Audit) -> ReadModelSnapshot:
    try:
        return ReadModelSnapshot(path)
    except Damaged as damaged:
        raise _bad_read_model(audit.position, damaged) from None


def _compare(path: Path, audit: Audit, replay: Replay) -> tuple[int, Comparison]:
    """Compare a snapshot of the read model with a replay up to the same position."""
    with _snapshot(path, audit) as snapshot:
        position = snapshot.checkpoint.position
        _check_checkpoint(path, snapshot.checkpoint, audit)
        if position < replay.position:
            raise VerificationError(
                position, f"{path} went back from position {replay.position} to {position} during verification."
            )
        for recorded, event in audit.verified(replay.position, position):
            _apply(replay, recorded, event)
        try:
            compared = replay.compare(snapshot)
            snapshot.check_file()
        except Damaged as damaged:
            raise _bad_read_model(position, damaged) from None
    return position, compared


def _check_checkpoint(path: Path, checkpoint: Checkpoint, audit: Audit) -> None:
    """Check that a read model was built from this log, and only from events in this log."""
    if checkpoint.identity.log != audit.identity.log:
        raise VerificationError(
            0, f"{path} was built from another log ({checkpoint.identity.log}): move this file away."
        )
    if checkpoint.identity != audit.identity:
        raise VerificationError(
            0,
            f"{path} was built from an earlier incarnation of this log: start the projector, which adopts the file "
            "or builds it again, then verify again.",
        )
    if checkpoint.position > audit.position:  # the cluster has written during the audit, or the log has lost events
        audit.refresh()
        for _ in audit.events():
            pass
    if checkpoint.position > audit.position:
        raise VerificationError(
            audit.position + 1,
            f"The log has lost acknowledged events from position {audit.position + 1} on: {path} is at position "
            f"{checkpoint.position}. Restore the log from a backup.",
        )
    if audit.hash_at(checkpoint.position) != checkpoint.hash:
        raise VerificationError(
            checkpoint.position,
            f"The hash chain of the log is valid, but {path} was built from a different event at position "
            f"{checkpoint.position}. Restore the log from a backup, or move {path} away: the projector "
            "builds the file again.",
        )


def _bad_read_model(position: int, damaged: Damaged) -> VerificationError:
    return VerificationError(
        position,
        f"The log is valid up to position {position}, but the read model differs from a replay. {damaged} "
        "Stop the projector, move the file away and start the projector: it builds the file again. If verify then "
        "reports a difference again, a function was changed and the version of its projection was not raised, or a "
        "projection uses more than the events, such as the clock, random numbers or the order of a set: correct this "
        "projection and raise its version.",
    )
