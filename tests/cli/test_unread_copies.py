"""Copies of a log that the application does not fit: they are made, with a warning, while commandbus runs too."""

import re
from pathlib import Path

import apsw
import pytest

from dualbus.log.contract import GENESIS, Decision, NewEvent
from dualbus.log.sqlite.writer import SqliteLog
from tests.cli.conftest import Run

READABLE = NewEvent("UserRenamed", '{"id":"u","name":"Ada"}', ("user:u",))
UNFIT = {
    "another shape": (NewEvent("UserRenamed", '{"id":"u"}', ("user:u",)), "the application cannot read it as"),
    "a type that is gone": (NewEvent("UserMoved", '{"id":"u"}', ("user:u",)), "the application cannot read it as"),
    "an added tag": (
        NewEvent("UserRenamed", '{"id":"u","name":"Ada"}', ()),
        "The application assigns tags to events",
    ),
}


@pytest.fixture(params=list(UNFIT.values()), ids=list(UNFIT))
def unfit(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A log whose second event does not fit the application; return the reason."""
    event, reason = request.param
    log = SqliteLog(tmp_path / "data", lambda secret: Decision(GENESIS, "2026", [READABLE]))
    log.append([Decision("a", "2026", [event])])
    log.append([Decision("b", "2026", [READABLE])])
    log.close()
    return str(reason)


def test_a_log_that_the_application_does_not_fit_is_copied_and_restored_with_a_warning(
    run: Run, unfit: str, tmp_path: Path
) -> None:
    made = run("backup", tmp_path / "b.db")
    restored = run("restore", tmp_path / "b.db", data=tmp_path / "elsewhere")

    for done in (made, restored):
        assert done.code == 0, done.err
        assert "up to position 3, and its chain is whole." in done.out
        assert done.err.startswith("Warning: The copy is whole, but the application does not fit the log. ")
        assert unfit in done.err
        assert re.search("osition 2 ", done.err)
    assert run("export", data=tmp_path / "elsewhere").out == run("export").out
    verified = run("verify", data=tmp_path / "elsewhere")
    assert (verified.code, unfit in verified.err) == (0 if "tags" in unfit else 1, True)


def test_damage_behind_an_event_that_does_not_fit_the_application_is_not_copied(
    run: Run, unfit: str, tmp_path: Path
) -> None:
    log = apsw.Connection(str(tmp_path / "data" / "log.db"))
    log.execute("UPDATE events SET data = replace(data, 'Ada', 'Eva') WHERE position = 3")
    log.close()

    refused = run("backup", tmp_path / "b.db")

    assert (refused.code, refused.err) == (1, "Position 3 was changed: restore the log from a backup.\n")
    assert not (tmp_path / "b.db").exists()
