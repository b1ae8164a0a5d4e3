"""Builds the file of a read model from the log, under a temporary name without readers."""

import logging
import time
from pathlib import Path

from dualbus.application.app import App
from dualbus.log.contract import ReadableLog
from dualbus.readmodel.checkpoints import check_checkpoint
from dualbus.readmodel.file import Damaged, NoRoom, ReadModelBusyError, create
from dualbus.readmodel.updater import Updater, Watch
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import DataError
from dualbus.runtime.files import sync_folder

PROGRESS_LINE_SECONDS = 1.0
ROOM = "Check the free space of its disk."

logger = logging.getLogger(__name__)


class Builder:
    """A read model in progress. At the head of the log, `build` renames the file to its final path."""

    def __init__(self, path: Path, app: App, log: ReadableLog, watch: Watch) -> None:
        self.done = False
        self._path = path
        self._building = path.with_name("building-" + path.name)
        for leftover in (*path.parent.glob(self._building.name + "*"), *path.parent.glob(path.name + "*")):
            leftover.unlink()
        try:
            create(self._building, app.projections, log.identity)
        except ReadModelBusyError as problem:
            raise DataError(f"{problem}: {ROOM}") from None
        self.updater = Updater(_opened(self._building, building=True), app, log, watch)
        self._next_line = time.monotonic() + PROGRESS_LINE_SECONDS

    def build(self) -> None:
        """Apply the next chunk of events; at the head of the log, rename the file."""
        updater = self.updater
        updater.check_head()
        updater.catch_up()
        if updater.behind:
            self._progress_line()
        elif not updater.pause:
            try:
                updater.writer.finish()
            except ReadModelBusyError as failure:
                updater.failed(failure)
            else:
                self._rename()

    def _rename(self) -> None:
        self._building.rename(self._path)
        for old in self._path.parent.glob("read-*.db*"):
            if not old.name.startswith(self._path.name):
                old.unlink()
        sync_folder(self._path.parent)
        self.updater.writer = _opened(self._path)
        self.done = True

    def _progress_line(self) -> None:
        if time.monotonic() >= self._next_line and not self.updater.failure:
            self._next_line = time.monotonic() + PROGRESS_LINE_SECONDS
            position, head = self.updater.position, self.updater.head
            logger.info("Building the read model: %d of %d events (%d %%).", position, head, 100 * position // head)


def open_built(path: Path, log: ReadableLog) -> ReadModelWriter | None:
    """Open the read model at a path; return None if the projector must build a new one."""
    if not path.exists():
        return None
    try:
        writer = ReadModelWriter(path)
        checkpoint = writer.checkpoint()
    except NoRoom as full:
        raise DataError(f"{full} {ROOM}") from None
    except Damaged as damaged:
        logger.error("%s Building a new read model.", damaged)
        return None
    check_checkpoint(log, checkpoint)
    if log.hash_at(checkpoint.position) == checkpoint.hash:
        if checkpoint.identity != log.identity:
            writer.adopt(log.identity)
        return writer
    writer.close()
    logger.info("%s was built from an earlier incarnation of this log. Building a new read model.", path)
    return None


def _opened(path: Path, *, building: bool = False) -> ReadModelWriter:
    """Open a new file."""
    try:
        return ReadModelWriter(path, building=building)
    except Damaged as problem:
        raise DataError(f"{problem} {ROOM}") from None
