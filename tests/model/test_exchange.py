"""No interleaving of the exchange between gateway and commandbus breaks a promise, and each rule of it is needed."""

from typing import NamedTuple

import pytest

from tests.model.exchange import Bounds, Rules, begin, explore

# The rules as they were: an answer belonged to a request, and a registration discarded nothing.
BEFORE = Rules(match="request", discard_queued=False, discard_late=False)

ONE_STOP = Bounds(stops=1, beats=1)


class Case(NamedTuple):
    """An exploration: how many commands, how many of each fault, and what must be reached at least."""

    commands: int
    bounds: Bounds
    states: int
    event: str


COMPLETE = {
    "two stops, a resend": Case(1, Bounds(stops=2, beats=2, resends=1), 50_000, "announce ignored"),
    "a stop, two resends": Case(1, Bounds(stops=1, beats=1, resends=2), 20_000, "answered: acknowledged again"),
    "a stop, an end, a resend": Case(1, Bounds(stops=1, ends=1, beats=1, resends=1), 30_000, "commit failed"),
    "a stop, an end, a loss": Case(1, Bounds(stops=1, ends=1, losses=1, beats=1), 20_000, "discarded: late"),
    "a stop, a restart, a loss": Case(1, Bounds(stops=1, restarts=1, losses=1, beats=2), 15_000, "discarded: late"),
    "a stop, a restart, a resend": Case(
        1, Bounds(stops=1, restarts=1, beats=1, resends=1), 10_000, "gateway restarted"
    ),
    "a stop, a restart, an end": Case(1, Bounds(stops=1, restarts=1, ends=1, beats=1), 5_000, "answered: unknown"),
    "two commands, a stop": Case(2, ONE_STOP, 30_000, "discarded: queued"),
    "two commands, a loss": Case(2, Bounds(losses=1, beats=1), 30_000, "discarded: late"),
    "two commands, an end": Case(2, Bounds(ends=1), 4_000, "commit failed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPLETE)
def test_no_interleaving_breaks_a_promise(name: str) -> None:
    case = COMPLETE[name]
    found = explore(Rules(), begin(case.commands, case.bounds))
    print(f"{found.states:,} states; {dict(found.events)}")
    assert not found.broken, found.broken
    # The exploration is not vacuous: each kind of answer is reached, by each of the ways to it.
    assert found.states > case.states
    assert found.events.keys() >= {
        "answered: acknowledged",
        "answered: definite",
        "deadline: definite",
        "deadline: unknown",
        "sent again",
        "answered from the log",
        case.event,
    }


def test_the_rules_as_they_were_lie() -> None:
    """Commandbus was stopped; two sendings of one command then met in its queue."""
    found = explore(BEFORE, begin(1, ONE_STOP))
    print(found.broken)
    assert found.broken.splitlines()[:11] == [
        "Request 1 was definitely refused, and is in the log:",
        "  1. The gateway sends request 1, sending 1, under registration 1.",
        "  2. Commandbus is stopped.",
        "  3. The gateway loses commandbus, with 1 in flight.",
        "  4. Commandbus is continued.",
        "  5. Commandbus queues request 1, sending 1.",
        "  6. Commandbus sends BEAT, of registration 1.",
        "  7. The gateway reads a BEAT of a worker that it does not know, and answers ANNOUNCE.",
        "  8. Commandbus reads ANNOUNCE, and sends READY: registration 2.",
        "  9. The gateway reads READY: registration 2.",
        "  10. The gateway sends request 1, sending 2, under registration 2.",
    ]
    assert "sending 1, has expired and is refused" in found.broken
    assert "the gateway takes it for the answer to request 1, sending 2" in found.broken


NEEDED = {  # each rule broken alone: why the other rules do not replace it, and the part of the trace that shows it
    # An answer made before the second registration is sent after it: the request is in flight again by then.
    "answers matched by request": (
        Rules(match="request"),
        ONE_STOP,
        "takes it for the answer to request 1, sending 2",
    ),
    # Two sendings meet in one drain: the second is refused as expired, and the first is decided.
    "no registration fence": (
        Rules(discard_queued=False, discard_late=False),
        ONE_STOP,
        "sending 1, is decided; request 1, sending 2, has expired and is refused",
    ),
    # The same; the first sending was in the queue when commandbus registered again.
    "queued work kept at a registration": (
        Rules(discard_queued=False),
        ONE_STOP,
        "sending 1, is decided; request 1, sending 2, has expired and is refused",
    ),
    # The first sending is read after commandbus registered again, from the pipe of a connection that was lost.
    "late work of an earlier registration accepted": (
        Rules(discard_late=False),
        Bounds(losses=1, beats=1),
        "Commandbus queues request 1, sending 1.",
    ),
    # The first sending is in the log, and the second one has expired.
    "key looked up last": (Rules(lookup_first=False), ONE_STOP, "sending 2, has expired and is refused"),
    "the deadline of a request that was sent is definite": (
        Rules(sent_is_unknown=False),
        Bounds(),
        "passes, and the gateway answers: definite",
    ),
    "a commit that fails is definite": (
        Rules(failed_commit_is_unknown=False),
        Bounds(ends=1),
        "The commit fails and is in the log",
    ),
}


@pytest.mark.parametrize("name", NEEDED)
def test_each_rule_is_needed(name: str) -> None:
    rules, bounds, line = NEEDED[name]
    found = explore(rules, begin(1, bounds))
    print(found.broken)
    assert found.broken.startswith("Request 1 was definitely refused, and is in the log:")
    assert line in found.broken
    # And the full rules keep the promise within the same bounds.
    assert not explore(Rules(), begin(1, bounds)).broken
