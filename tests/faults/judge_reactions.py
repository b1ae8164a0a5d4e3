"""The judge of the reaction of tests.faults.apps.greeting: its commands are executed once, and not too early."""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from tests.faults.apps.greeting import AGAIN, is_greeted
from tests.faults.judge import Fault, Log


def reactions(log: Log) -> Iterator[Fault]:
    """Judge a log whose reactions have finished; a greeting is found by its user, not by the key of its command."""
    greetings: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for event in log.events:
        if event.type == "UserGreeted":
            data = json.loads(event.data)
            greetings[data["user"], data["again"]].append(event.position)
    for event in log.events:
        user = json.loads(event.data).get("id", "")
        if event.type != "UserCreated" or not is_greeted(user):
            continue
        for again in (False, True):
            found = greetings.pop((user, again), [])
            what = f"The {'second' if again else 'first'} greeting of the user created at {event.position}"
            if not found:
                yield Fault("skipped", f"{what} is not in the log.")
            elif len(found) > 1:
                yield Fault("doubled", f"{what} is in the log at {found}.")
            elif found[0] < event.position or (again and _time(log, found[0]) < _time(log, event.position) + AGAIN):
                yield Fault("untrue", f"{what} is in the log too early, at {found[0]}.")
    for (user, _), found in greetings.items():
        yield Fault("untrue", f"The greetings of {user} at {found} react to no event.")


def _time(log: Log, position: int) -> datetime:
    return datetime.fromisoformat(log.events[position - 1].time)
