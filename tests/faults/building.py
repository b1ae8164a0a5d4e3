"""Builds a read model for the power cuts: python -m tests.faults.building FOLDER.

SQLite checkpoints after each commit, so that the last checkpoint, before the rename, has nothing to write or to sync.
"""

import sys
from pathlib import Path

from dualbus.readmodel.writer import ReadModelWriter
from tests.read_model.counting import COUNTS, SALES, Shop


class Checkpointing(ReadModelWriter):
    """A writer whose every commit is checkpointed."""

    def __init__(self, path: Path, *, building: bool = False) -> None:
        super().__init__(path, building=building)
        self.db.wal_autocheckpoint(1)


if __name__ == "__main__":
    import dualbus.readmodel.builder

    vars(dualbus.readmodel.builder)["ReadModelWriter"] = Checkpointing
    shop = Shop(Path(sys.argv[1]))
    shop.sell(300)
    shop.build(COUNTS, SALES)
    shop.close()
