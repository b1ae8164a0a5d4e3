"""Upgrade a log of an earlier format, and the read models that were built from it."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from dualbus.log.contract import LogError
from dualbus.log.engine import (
    KEPT_NAME,
    UpgradedLog,
    is_interrupted,
    needs_upgrade,
    open_reader,
    put_in_place,
)
from dualbus.readmodel.file import Damaged, ReadModelBusyError
from dualbus.readmodel.writer import ReadModelWriter

FOLDER = "upgrade"  # in the data folder: the copy, until it is verified

Bar = Callable[[], AbstractContextManager[Callable[[int, int], None]]]


class Upgraded(NamedTuple):
    """The result of an upgrade."""

    position: int  # of the last event
    read_models: int  # that belonged to the old log and remain in use


def upgrade(data: Path, verify: Callable[[Path], int], bar: Bar) -> Upgraded | None:
    """Replace the log by a verified copy in the current format, and keep the old log; None if nothing is to be done.

    The caller holds the locks of the data folder. An interrupted upgrade starts again, or is finished.
    """
    folder = data / FOLDER
    read_models = 0
    if not is_interrupted(data):
        if not needs_upgrade(data):
            shutil.rmtree(folder, ignore_errors=True)
            return None
        if (data / KEPT_NAME).exists():
            raise LogError(f"{data / KEPT_NAME} exists, of an earlier upgrade: move it away, then retry.")
        try:
            read_models = _copy(data, folder, verify, bar)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    put_in_place(data, folder)
    shutil.rmtree(folder, ignore_errors=True)
    log = open_reader(data)
    try:
        return Upgraded(log.head().position, read_models)
    finally:
        log.close()


def _copy(data: Path, folder: Path, verify: Callable[[Path], int], bar: Bar) -> int:
    """Make the copy; return the number of read models that continue with the copy."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    with bar() as progress:
        copy = UpgradedLog(data, folder, progress)
    try:
        verify(folder)
        return sum(_adopted(path, copy, folder) for path in sorted(data.glob("read-*.db")))
    finally:
        copy.old.close()


def _adopted(path: Path, copy: UpgradedLog, folder: Path) -> bool:
    """Move the checkpoint of a read model to the copy, if the read model belongs to the old log."""
    log = open_reader(folder)
    try:
        model = ReadModelWriter(path)
        try:
            checkpoint = model.checkpoint()
            position = checkpoint.position
            new = checkpoint._replace(identity=copy.identity, hash=log.hash_at(position) or b"")
            if checkpoint == new:  # an earlier upgrade was interrupted
                return True
            if (checkpoint.identity, checkpoint.hash) != (copy.old.identity, copy.old.hash_at(position)):
                return False
            model.begin()
            model.adopt(copy.identity)
            model.commit(position, new.hash)
        finally:
            model.close()
    except (Damaged, ReadModelBusyError):
        return False  # the projector reports the damage and builds the file again
    finally:
        log.close()
    return True
