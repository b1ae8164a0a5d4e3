"""The check of a start: the log of a data folder is the one that was acknowledged, and reaches as far.

Two witnesses outside the log's files are asked: log.head, which commandbus writes, and the checkpoints of the read
models. A folder from before there was a log.head has the read models only.
"""

from pathlib import Path

from dualbus.log.contract import LogDamaged
from dualbus.log.head import Witnessed, check_head
from dualbus.readmodel.checkpoints import witnesses
from dualbus.readmodel.file import Checkpoint


def check_witnesses(folder: Path, log: Witnessed | None) -> None:
    """Raise LogDamaged if log.head or a read model in the folder has seen what its log (None: gone) does not have."""
    seen = witnesses(folder)  # before the log is read, which only grows
    check_head(folder, log)
    for checkpoint in seen:
        if log:
            check_checkpoint(log, checkpoint)
        elif checkpoint.position:
            raise LogDamaged(
                f"The log has lost acknowledged events: there is no log in {folder}, and a read model there has "
                f"seen position {checkpoint.position}. Put the log back, or move the read models away to begin from "
                "nothing."
            )


def check_checkpoint(log: Witnessed, checkpoint: Checkpoint) -> None:
    """Raise LogDamaged if the read model of a checkpoint was made from another log, or has seen more than this one.

    A read model of an earlier incarnation of the log is none of these: the projector adopts it or builds it anew.
    """
    identity, position, seen = checkpoint
    if not position:
        return  # it holds nothing
    if identity.log != log.identity.log:
        raise LogDamaged(
            f"A read model in the data folder was made from another log ({identity.log}; the log here is "
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
    if hash_ != seen:
        raise LogDamaged(
            f"The log is not the one that was acknowledged: at position {position} it differs from what "
            "a read model has seen. Restore it from a backup."
        )
