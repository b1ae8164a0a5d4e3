"""The checkpoints of all read models in a data folder."""

from pathlib import Path

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
