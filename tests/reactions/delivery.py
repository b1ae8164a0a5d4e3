"""The delivery of the tests: starts its cluster, and reads its lines, its log and its parked events."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.reactor.marks import UNFINISHED, Finished
from tests.reactions.conftest import Shop

Make = Callable[..., Shop]
Dualbus = Callable[..., str]


def begun(shop: Make, app: str = "app") -> Shop:
    one = shop(f"tests.reactions.effects:{app}")
    one.cluster.environ["OFFICE"] = os.environ["OFFICE"]
    one.start()
    return one


def lines(office: Path, *first: str) -> list[list[str]]:
    path = office / "lines"
    found = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if not first or line[0] in first]


def tried(office: Path, parcel: str) -> int:
    return len([line for line in lines(office, "try") if line[1] == parcel])


def confirmed(one: Shop) -> list[str]:
    return [f"{fields['parcel']}{fields['number']}" for type_, fields, _ in one.records() if type_ == "Confirmed"]


def parked(one: Shop, run: Dualbus) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(one, "parked", "list", "--json").splitlines()]


def last_mark(one: Shop) -> Finished:
    """Return the progress that the log remembers."""
    log = SqliteLogReader(one.cluster.data)
    found = [outcome.origin.metadata for outcome in log.commands(0, 100)]
    log.close()
    marks = [Finished.of(metadata) for metadata in found if UNFINISHED in metadata]
    return marks[-1] if marks else Finished()
