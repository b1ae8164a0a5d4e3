"""The reactor after the restore of a log."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dualbus.cli.main import main
from dualbus.testing import until
from tests.reactions.conftest import NAMES, Shop
from tests.reactions.delivery import begun, confirmed, tried
from tests.reactions.effects import Send
from tests.reactions.shop import PlaceOrder

Make = Callable[..., Shop]


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
    text = one.cluster.process("reactor").stderr_text
    assert ("The log was restored to a position before those of" in text) == later


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
