"""Opens the read model of an application, or builds the file from the log under a temporary name without readers."""

import logging
import time
from pathlib import Path

from dualbus.application.app import App
from dualbus.log.contract import ReadableLog
from dualbus.readmodel.checkpoints import check_checkpoint
from dualbus.readmodel.copying import Copied, copy_unchanged
from dualbus.readmodel.file import Damaged, NoRoom, ReadModelBusyError, create
from dualbus.readmodel.folder import KEEP, other_read_models, remove, remove_others
from dualbus.readmodel.updater import Updater, Watch
from dualbus.readmodel.writer import ReadModelWriter
from dualbus.runtime.errors import DataError
from dualbus.runtime.files import sync_folder

PROGRESS_LINE_SECONDS = 1.0
ROOM = "Check the free space of its disk."

logger = logging.getLogger(__name__)


class Builder:
    """A read model on its way to its final path; `done` from the beginning if a usable file is there.

    `updater` is None while tables of unchanged projections are copied. The caller is the only writer of the file: see
    `lock_writer`. At the head of the log, `build` renames the file; `keep` files of other versions of the application
    stay.
    """

    def __init__(self, path: Path, app: App, log: ReadableLog, watch: Watch, *, keep: int = KEEP) -> None:
        self.copied = Copied(frozenset(), 0)
        self._path = path
        self._building = path.with_name("building-" + path.name)
        self._app, self._log, self._watch, self._keep = app, log, watch, keep
        self._began = time.monotonic()
        self._next_line = self._began + PROGRESS_LINE_SECONDS
        writer = _open_built(path, log)
        self.done = writer is not None
        self.updater = Updater(writer, app, log, watch) if writer else None
        if not writer:
            remove(self._building)
            remove(path)
            self._copying = copy_unchanged(other_read_models(path), self._building, app.projections, log)

    @property
    def failure(self) -> str | None:
        """The reason, while an event cannot be applied."""
        return self.updater.failure if self.updater else None

    @property
    def position(self) -> int:
        """The position of the read model, 0 while tables are copied."""
        return self.updater.position if self.updater else 0

    @property
    def head(self) -> int:
        """The head of the log, 0 while tables are copied."""
        return self.updater.head if self.updater else 0

    @property
    def path(self) -> Path | None:
        """The present path of the file; None while tables are copied."""
        return self.updater.writer.path if self.updater else None

    @property
    def pause(self) -> float:
        """Seconds until the next attempt."""
        return self.updater.pause if self.updater else 0.0

    def build(self, until: int | None = None) -> None:
        """Copy the next pages, or apply the next chunk of events, up to a position or else to the head of the log.

        At the head, rename the file.
        """
        updater = self.updater
        if updater is None:
            self._copy()
            return
        try:
            self._apply(updater, until)
        except Damaged as damaged:
            if updater.writer.path == self._building and not self.copied.names:
                raise DataError(f"{damaged} Check its disk.") from None
            discard(updater.writer, damaged)
            self.done = False
            self._create()

    def _apply(self, updater: Updater, until: int | None) -> None:
        updater.check_head()
        if updater.position < self.copied.position:
            updater.catch_up(self.copied.position)
            self._check_copied(updater)
        elif until is None or updater.position < until:
            updater.catch_up(until)
        if updater.behind:
            self._progress_line(updater)
        elif until is None and not updater.pause and not self.done:
            self._finish(updater)

    def _copy(self) -> None:
        for copied in self._copying:
            if copied is None:
                return
            self.copied = copied
            self.updater = self._opened_for(copied)
            self._check_copied(self.updater)
            return
        self._create()

    def _create(self) -> None:
        self.copied = Copied(frozenset(), 0)
        remove(self._building)
        try:
            create(self._building, self._app.projections, self._log.identity)
        except ReadModelBusyError as problem:
            raise DataError(f"{problem}: {ROOM}") from None
        self.updater = self._opened_for(self.copied)

    def _opened_for(self, copied: Copied) -> Updater:
        """Open the new file, to apply events to the projections without copied tables."""
        writer = _opened(self._building, building=True)
        return Updater(writer, self._app, self._log, self._watch, exclude=copied.names)

    def _check_copied(self, updater: Updater) -> None:
        """Build without copied tables if other projections use these: they need the rows at each earlier position."""
        for name, projection in updater.writer.projections.items():
            if name not in self.copied.names and (used := self.copied.names & set(projection.uses)):
                logger.info("Projection %s uses tables of %s: building both.", name, ", ".join(sorted(used)))
                updater.writer.close()
                self._create()
                return
        if updater.position >= self.copied.position:
            updater.apply_to_all()

    def _finish(self, updater: Updater) -> None:
        try:
            updater.writer.finish()
        except ReadModelBusyError as failure:
            updater.failed(failure)
            return
        self._building.rename(self._path)
        remove_others(self._path, self._keep)
        sync_folder(self._path.parent)
        updater.writer = _opened(self._path)
        self.done = True

    def _progress_line(self, updater: Updater) -> None:
        if time.monotonic() >= self._next_line and not updater.failure:
            self._next_line = time.monotonic() + PROGRESS_LINE_SECONDS
            position, head = updater.position, updater.head
            percent, left = 100 * position // head, (time.monotonic() - self._began) * (head / max(1, position) - 1)
            logger.info("Building the read model: %d of %d events (%d %%), %d s left.", position, head, percent, left)


def discard(writer: ReadModelWriter, damaged: Damaged) -> None:
    """Remove a damaged read model, so that a new one is built."""
    logger.error("%s Building a new read model.", damaged)
    writer.close()
    remove(writer.path)


def _open_built(path: Path, log: ReadableLog) -> ReadModelWriter | None:
    """Open the read model at a path; return None if a new one must be built."""
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
