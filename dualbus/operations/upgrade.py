"""Upgrade a log of an earlier format."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from dualbus.log.contract import LogError
from dualbus.log.engine import (
    KEPT_NAME,
    UPGRADE_FOLDER,
    UpgradedLog,
    is_interrupted,
    needs_upgrade,
    open_reader,
    put_in_place,
)

Bar = Callable[[], AbstractContextManager[Callable[[int, int], None]]]


def upgrade(data: Path, verify: Callable[[Path], int], bar: Bar) -> int | None:
    """Replace the log by a verified copy in the current format, and keep the old log.

    Returns the position of the last event; None if nothing is to be done. The caller holds the locks of the data
    folder. An interrupted upgrade starts again, or is finished.
    """
    folder = data / UPGRADE_FOLDER
    if not is_interrupted(data):
        if not needs_upgrade(data):
            shutil.rmtree(folder, ignore_errors=True)
            return None
        if (data / KEPT_NAME).exists():
            raise LogError(f"{data / KEPT_NAME} exists, of an earlier upgrade: move it away, then retry.")
        try:
            _copy(data, folder, verify, bar)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    put_in_place(data)
    shutil.rmtree(folder, ignore_errors=True)
    log = open_reader(data)
    try:
        return log.head().position
    finally:
        log.close()


def _copy(data: Path, folder: Path, verify: Callable[[Path], int], bar: Bar) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    with bar() as progress:
        copy = UpgradedLog(data, folder, progress)
    try:
        verify(folder)
    finally:
        copy.old.close()
