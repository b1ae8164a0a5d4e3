"""GET /healthz and /readyz."""

import httpx
import pytest

from dualbus.testing import Cluster, until
from tests.web.conftest import wait_until_serving
from web.health import unready


def test_a_cluster_is_ready_when_every_bus_responds(cluster: Cluster) -> None:
    cluster.start("web")
    wait_until_serving(cluster)
    with httpx.Client(base_url=cluster.http, timeout=60) as browser:
        # Given no gateway: the process lives, the cluster is not ready
        assert browser.get("/healthz").json() == {"status": "ok"}
        answer = browser.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["problems"] == ["The gateway does not respond: run `dualbus status`."]

        # Given a cluster without a querybus
        cluster.start("gateway", "commandbus", "projector")
        until(lambda: browser.get("/readyz").json()["problems"] == ["No querybus responds."])

        cluster.start("querybus")
        until(lambda: browser.get("/readyz").status_code == 200)
        assert browser.get("/readyz").json() == {"status": "ready"}

        cluster.kill("projector")
        until(lambda: browser.get("/readyz").json().get("problems") == ["No projector responds."])


BUSES = [{"name": name, "seen_s": 0.1} for name in ("commandbus", "projector", "querybus")]


@pytest.mark.parametrize(
    ("status", "problems"),
    [
        ({"processes": BUSES, "lag_s": 0.5}, []),
        ({"processes": BUSES, "lag_s": None}, []),
        ({"processes": BUSES, "lag_s": 11.0}, ["The read model is 11 s behind the log."]),
        (
            {"processes": [*BUSES, {"name": "projector", "state": "Position 5: KeyError"}], "lag_s": 0.0},
            ["The projector has stopped: run `dualbus status`."],
        ),
        ({"processes": [*BUSES, {"name": "projector", "state": "building"}], "lag_s": 0.0}, []),
        ({"processes": [{**BUSES[0], "seen_s": 3.0}, *BUSES[1:]], "lag_s": 0.0}, ["No commandbus responds."]),
        ({"processes": [{**BUSES[0], "seen_s": 3.0}, *BUSES], "lag_s": 0.0}, []),
    ],
)
def test_a_silent_bus_and_a_large_lag_are_reasons(status: dict[str, object], problems: list[str]) -> None:
    assert unready(status) == problems
