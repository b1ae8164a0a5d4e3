"""The state of the cluster, as a client sees it."""

from typing import Any
from uuid import uuid4

import pytest

from dualbus import Rejected
from dualbus.testing import until


def test_a_client_reads_the_state_of_the_cluster(caller: Any) -> None:
    def processes() -> list[str]:
        return sorted(process["name"] for process in caller.status()["processes"])

    until(lambda: processes() == ["commandbus", "gateway", "projector", "querybus"])
    assert caller.status(timeout=5)["log_position"] == caller.status()["read_model_position"]


def test_a_client_reads_the_timeline_of_a_command(caller: Any) -> None:
    key = uuid4().hex
    result = caller.command("Note", text="Hello", due="2026-01-31", idempotency_key=key)

    by_key = until(lambda: (found := caller.timeline(key=key)) and found["stages"]["projected"] and found)
    assert (by_key["position"], by_key["outcome"]) == (result.position, "success")
    assert caller.timeline(position=result.position, timeout=5) == by_key
    assert caller.timeline(key="another") is None
    with pytest.raises(Rejected, match="key \\(text\\) or position"):
        caller.timeline()


def test_a_client_reads_the_rates_of_the_cluster(caller: Any) -> None:
    until(lambda: caller.rates(timeout=5)["time"])

    rates = caller.rates()
    assert rates.pop("interval_s") > 0
    assert len({len(column) for column in rates.values()}) == 1
