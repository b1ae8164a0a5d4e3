"""The reactor after the restore of a log."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dualbus.cli.main import main
from dualbus.log.identity import Identity
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.reactions.store import Changes, Parked, Progress, ReactionStore, Timer
from dualbus.testing import until
from tests.reactions.conftest import NAMES, Shop
from tests.reactions.delivery import begun, confirmed, tried
from tests.reactions.effects import Send
from tests.reactions.shop import PlaceOrder

Make = Callable[..., Shop]


CHANGED = "The log was restored, upgraded, or has lost its last events: deriving"


def move_progress(one: Shop, position: int, hash_: bytes | None = None) -> None:
    """Store another position of the reaction, with the hash of its event in the log unless given."""
    with closing(ReactionStore(one.cluster.data)) as store, closing(SqliteLogReader(one.cluster.data)) as log:
        store.write(Changes({"orders": Progress(position, hash_ or log.hash_at(position) or b"", 0)}))


def requested(one: Shop) -> list[str]:
    return [order for type_, order in one.events() if type_ == "PaymentRequested"]


@pytest.mark.parametrize("later", [False, True])
def test_reactions_continue_on_a_restored_log(
    shop: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    # Given a backup, and perhaps orders after it
    one = shop()
    one.start()
    monkeypatch.setenv("DUALBUS_DATA", str(one.cluster.data))
    monkeypatch.setenv("DUALBUS_APP", one.cluster.environ["DUALBUS_APP"])
    one.client.command(PlaceOrder(order="a"))
    until(lambda: requested(one) == ["a"] and one.status().get("lag_events") == 0)
    assert main(["backup", str(tmp_path / "backup.db")]) == 0
    if later:
        one.client.command(PlaceOrder(order="lost"))
        until(lambda: requested(one) == ["a", "lost"] and one.status().get("lags") == {"orders": 0})
    for name in NAMES:
        one.cluster.stop(name)

    # When the backup is restored
    for path in one.cluster.data.glob("log.db*"):
        path.rename(tmp_path / path.name)
    assert main(["restore", str(tmp_path / "backup.db")]) == 0
    one.start()

    # Then the reactor follows it
    with one.connect() as client:
        client.command(PlaceOrder(order="b"))
    until(lambda: requested(one) == ["a", "b"])
    assert CHANGED in one.cluster.process("reactor").stderr_text


def test_the_commands_of_events_in_the_backup_are_executed_although_the_file_has_passed_these_events(
    shop: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a backup of two orders, and a file that has passed them: their commands are behind the backup
    one = shop()
    one.start("gateway", "commandbus")
    monkeypatch.setenv("DUALBUS_DATA", str(one.cluster.data))
    monkeypatch.setenv("DUALBUS_APP", one.cluster.environ["DUALBUS_APP"])
    for order in ("a", "b"):
        one.client.command(PlaceOrder(order=order))
    one.start("reactor")
    until(lambda: sorted(requested(one)) == ["a", "b"] and one.status().get("lag_events") == 0)
    assert main(["backup", str(tmp_path / "backup.db"), "--to", "2"]) == 0
    for name in NAMES:
        one.cluster.stop(name)
    move_progress(one, 2)

    # When the backup is restored
    for path in one.cluster.data.glob("log.db*"):
        path.rename(tmp_path / path.name)
    assert main(["restore", str(tmp_path / "backup.db")]) == 0
    assert [type_ for type_, _ in one.events()] == ["OrderPlaced", "OrderPlaced"]
    one.start()

    until(lambda: sorted(requested(one)) == ["a", "b"])
    until(lambda: one.status().get("timers") == 2)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_file_with_an_event_that_the_log_has_lost_is_derived_again(shop: Make, ahead: int) -> None:
    # Given a file at an event whose commit was lost in a power cut: another event has its position, or none
    one = shop()
    one.start()
    one.client.command(PlaceOrder(order="a"))
    until(lambda: requested(one) == ["a"] and one.status().get("lag_events") == 0)
    assert one.cluster.stop("reactor") == 0
    one.client.command(PlaceOrder(order="b"))
    move_progress(one, 3 + ahead, b"a lost event")

    one.start("reactor")

    until(lambda: requested(one) == ["a", "b"])
    assert CHANGED in one.cluster.process("reactor").stderr_text


def test_a_file_keeps_the_progress_of_effects_that_execute_no_commands(tmp_path: Path) -> None:
    with closing(ReactionStore(tmp_path, Identity("log", "first"))) as store:
        parked = [Parked(name, number, "", "") for name in ("mail", "orders") for number in (3, 7)]
        timer = Timer("orders", 0, "one", 5, "orders/1/0", 1, "CancelOrder", "{}", "{}")
        store.write(Changes({name: Progress(5, b"5", 0) for name in ("mail", "orders")}, [timer], parked))

        store.adopt(Identity("log", "second"), {"mail"})

        assert store.progress().keys() == {"mail"}
        assert [(row.reaction, row.position) for row in store.parked()] == [("mail", 3)]
        assert store.timers() == [] and store.adopted


def test_an_effect_runs_for_an_event_at_the_position_of_a_finished_one_that_the_restore_has_removed(
    shop: Make, office: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a backup, and after it an effect that has finished behind one under way
    one = begun(shop)
    monkeypatch.setenv("DUALBUS_DATA", str(one.cluster.data))
    monkeypatch.setenv("DUALBUS_APP", one.cluster.environ["DUALBUS_APP"])
    one.client.command(Send(parcel="a"))
    until(lambda: confirmed(one) == ["a0"])
    (office / "hold-b-0").touch()
    one.client.command(Send(parcel="b"))
    until(lambda: tried(office, "b0") == 1)
    assert main(["backup", str(tmp_path / "backup.db")]) == 0
    one.client.command(Send(parcel="c"))
    until(lambda: confirmed(one) == ["a0", "c0"])
    for name in NAMES:
        one.cluster.kill(name)

    # When the backup is restored, and another event has the position of the finished one
    for path in one.cluster.data.glob("log.db*"):
        path.rename(tmp_path / path.name)
    assert main(["restore", str(tmp_path / "backup.db")]) == 0
    (office / "hold-b-0").unlink()
    one.start()
    with one.connect() as client:
        client.command(Send(parcel="d"))

    until(lambda: sorted(confirmed(one)) == ["a0", "b0", "d0"])
