"""Child processes of a run: spawned, and ended together with the block of the caller."""

import multiprocessing
import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Spawned, never forked: a fork would inherit the sockets, heap and threads of the harness and distort the figures.
SPAWN = multiprocessing.get_context("spawn")


def ask(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a new process and return the result."""
    with ProcessPoolExecutor(max_workers=1, mp_context=SPAWN) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def serving(function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> Iterator[None]:
    """Run `function` in a new process until the block ends."""
    process = SPAWN.Process(target=function, args=args, kwargs=kwargs, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def free_ports(count: int) -> list[int]:
    """Return unused ports below the kernel's range for outgoing connections."""
    ports: list[int] = []
    for port in random.sample(range(20_000, 32_000), 1_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("No free ports were found.")


def free_addresses(count: int) -> list[str]:
    return [f"tcp://127.0.0.1:{port}" for port in free_ports(count)]
