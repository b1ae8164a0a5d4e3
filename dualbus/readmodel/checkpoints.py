"""The checkpoints of all read models in a data folder, and the check of the log against them at a start.

The evidence of acknowledged events is outside the files of the log: log.head, written by commandbus, and the
checkpoints of the read models. A data folder of an early version has no log.head.
"""

from pathlib import Path

from dualbus.log.contract import LogDamaged, ReadableLog
from dualbus.log.head import check_head
from dualbus.readmodel.file import Checkpoint, Damaged
from dualbus.readmodel.reader import ReadModelReader


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints of the read models in a folder: positions that the log must have."""
    found = []
    for path in sorted(folder.glob("read-*.db")):
        try:
            reader = ReadModelReader(path)
            found.append(reader.checkpoint())
            reader.close()
        except Damaged:
            continue  # the projector reports the damage and builds the file again
    return found


def check_log_is_complete(folder: Path, log: ReadableLog | None) -> None:
    """Raise LogDamaged if the log (None: missing) lacks events that log.head or a read model in the folder proves."""
    found = checkpoints(folder)  # before the log is read: the log only grows
    check_head(folder, log)
    for checkpoint in found:
        if log:
            check_checkpoint(log, checkpoint)
        elif checkpoint.position:
            raise LogDamaged(
                f"The log has lost acknowledged events: there is no log in {folder}, and a read model there has "
                f"seen position {checkpoint.position}. Put the log back, or move the read models away to start with "
                "an empty log."
            )


def check_checkpoint(log: ReadableLog, checkpoint: Checkpoint) -> None:
    """Raise LogDamaged if a read model was built from a different log, or from events missing in this log.

    A read model of an earlier incarnation is no error: the projector adopts the file or builds it again.
    """
    identity, position, expected = checkpoint
    if not position:
        return  # an empty read model
    if identity.log != log.identity.log:
        raise LogDamaged(
            f"A read model in the data folder was built from another log ({identity.log}; the log here is "
            f"{log.identity.log}): move the read model away, or point DUALBUS_DATA to the right folder."
        )
    if identity.incarnation != log.identity.incarnation:
        return
    hash_ = log.hash_at(position)
    if hash_ is None:
        raise LogDamaged(
            f"The log has lost acknowledged events: it ends at position {log.head().position}, and a read model "
            f"has seen {position}. Restore it from a backup."
        )
    if hash_ != expected:
        raise LogDamaged(
            f"The log is not the one that was acknowledged: at position {position} it differs from what "
            "a read model has seen. Restore it from a backup."
        )
