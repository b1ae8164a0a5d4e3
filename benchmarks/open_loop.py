"""An open-loop load generator: requests are sent on a schedule, whether or not earlier requests were answered.

A closed-loop client sends nothing while the server stalls, and so hides the stall. Here the latency of a request
counts from the scheduled time.
"""

from collections.abc import Callable
from time import perf_counter

GRACE_SECONDS = 2.0


def latencies(
    rate: float,
    seconds: float,
    send: Callable[[range], None],
    receive: Callable[[float], list[int]],
) -> list[float]:
    """Return the latency of each request in seconds, from the scheduled time.

    `send` sends the requests with these numbers; `receive` waits at most this many seconds and returns the numbers
    of answered requests. Unanswered requests count with the time waited so far.
    """
    total = int(rate * seconds)
    took: list[float | None] = [None] * total
    sent = answered = 0
    started = perf_counter()
    while answered < total and (now := perf_counter() - started) < seconds + GRACE_SECONDS:
        due = min(total, int(now * rate) + 1)
        if due > sent:
            send(range(sent, due))
            sent = due
        pause = sent / rate - (perf_counter() - started) if sent < total else GRACE_SECONDS
        back = receive(max(0.0, pause))
        now = perf_counter() - started
        for number in back:
            took[number] = now - number / rate
            answered += 1
    return [now - number / rate if seconds_ is None else seconds_ for number, seconds_ in enumerate(took)]
