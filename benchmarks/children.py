"""Processes of a run: each starts clean, and none outlives the block that started it."""

import multiprocessing
import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Spawned, never forked: a fork would carry the sockets, heap and threads of the harness into the figures.
SPAWN = multiprocessing.get_context("spawn")


def ask(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` returns in a process of its own."""
    with ProcessPoolExecutor(max_workers=1, mp_context=SPAWN) as pool:
        return pool.submit(function, *args, **kwargs).result()


@contextmanager
def serving(function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> Iterator[None]:
    """`function` runs beside the block, in a process of its own, until the block ends."""
    process = SPAWN.Process(target=function, args=args, kwargs=kwargs, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range the kernel hands out to outgoing connections."""
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
