"""The state of the cluster, as a client sees it."""

from typing import Any

from dualbus.testing import until


def test_a_client_reads_the_state_of_the_cluster(caller: Any) -> None:
    def processes() -> list[str]:
        return sorted(process["name"] for process in caller.status()["processes"])

    until(lambda: processes() == ["commandbus", "gateway", "projector", "querybus"])
    assert caller.status(timeout=5)["log_position"] == caller.status()["read_model_position"]
