"""Load that comes when it is due, whether or not what came before has been answered.

A client that waits for its answer before it asks again sends nothing while the server stalls, and so hides
the stall. Here every request has a moment at which it is due, and its latency counts from that moment.
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
    """Seconds from due to answered, by number of the request.

    `send` sends the requests of these numbers; `receive` waits so many seconds at most and returns the
    numbers of those answered. What is not back in the end counts with the time it has waited.
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
