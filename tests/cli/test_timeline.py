"""dualbus timeline, with a cluster that runs."""

import json
import re
from functools import partial

from dualbus.testing import Cluster, until
from tests.cli.conftest import Run
from tests.raw import RawClient, create


def test_the_timeline_of_a_command_by_key_and_by_position(running: Cluster, client: RawClient, run: Run) -> None:
    dualbus = partial(run, front=running.front, data=running.data)
    client.ask(create("Ada", key="ada"), create("Bob", key="7"))

    # When the read model has the events, then the timeline shows each stage
    until(lambda: json.loads(dualbus("timeline", "ada", "--json").out)["stages"]["projected"])
    by_key, by_position = dualbus("timeline", "ada"), dualbus("timeline", 2)
    assert (by_key.code, by_key.err) == (0, "")
    assert by_key.out == by_position.out
    assert re.match(r"CreateUser: success at position 2, accepted 20\d\d-\d\d-\d\dT[\d:.]{15}Z\.\n", by_key.out)
    assert re.findall(r"^ (\w+) +[\d,]+(?: |$)", by_key.out, re.MULTILINE) == [
        "accepted", "sent", "deciding", "decided", "committed", "answered", "projected",
    ]  # fmt: skip

    # and a key may be a number
    assert json.loads(dualbus("timeline", 7, "--json").out)["position"] == 3


def test_an_unknown_command_has_no_timeline(running: Cluster, client: RawClient, run: Run) -> None:
    dualbus = partial(run, front=running.front, data=running.data)
    client.ask(create("Ada", key="ada"))

    for unknown in ("Ada", "99", "9" * 30, ""):
        found = dualbus("timeline", unknown)
        assert (found.code, found.out) == (1, ""), unknown
        assert re.match(r"The gateway knows no recent command with the key( or position)? ", found.err), unknown
