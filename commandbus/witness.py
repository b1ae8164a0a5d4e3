"""What the read models know of the log from outside its file: at a start, the log must reach that far.

A write-ahead log that is lost or damaged takes acknowledged commits with it without a word from SQLite.
"""

from pathlib import Path

from dualbus.log import LogDamaged
from dualbus.read_model import Checkpoint, witnesses
from dualbus.sqlite_log import FILE_NAME, SqliteLogReader


def check_witnesses(folder: Path) -> None:
    """Raise LogDamaged if a read model in the folder has seen events that its log does not have."""
    seen = [witness for witness in witnesses(folder) if witness.position > 0]
    if not seen:
        return
    if not (folder / FILE_NAME).exists():
        raise LogDamaged(
            f"The log has lost acknowledged events: {folder / FILE_NAME} is gone, and a read model beside it has "
            f"seen {seen[0].position}. Restore the log, or move the read models away to begin from nothing."
        )
    log = SqliteLogReader(folder)
    try:
        for witness in seen:
            _check(log, witness)
    finally:
        log.close()


def _check(log: SqliteLogReader, witness: Checkpoint) -> None:
    if witness.identity.log != log.identity.log:
        raise LogDamaged(
            f"A read model in the data folder was made from another log ({witness.identity.log}): move it away, "
            "or point DUALBUS_DATA to the right folder."
        )
    if witness.identity.incarnation != log.identity.incarnation:
        return  # the log was restored since; the projector makes that read model anew
    hash_ = log.hash_at(witness.position)
    if hash_ is None:
        raise LogDamaged(
            f"The log has lost acknowledged events: it ends at position {log.head().position}, and a read model "
            f"has seen {witness.position}. Restore it from a backup."
        )
    if hash_ != witness.hash:
        raise LogDamaged(
            f"The log is not the one that was acknowledged: at position {witness.position} it differs from what "
            "a read model has seen. Restore it from a backup."
        )
