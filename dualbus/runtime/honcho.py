"""Ends a process together with honcho: otherwise nothing would end it.

Between honcho and a command of the Procfile runs a reader: a process of honcho's that forwards the command's output.
A killed honcho ends neither readers nor commands. Only Linux reports the end of honcho.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_STARTED_BY_HONCHO = "HONCHO_PROCESS_NAME"  # also in units written by `honcho export`
_READER = "multiprocessing"  # in the command line of a spawned reader


class Ended(Exception):
    """honcho started this process, and has ended already."""


def watch_honcho(environ: Mapping[str, str]) -> list[int]:
    """Return descriptors that become readable when honcho, or the reader of this process, ends.

    None for a process started by another supervisor or a shell, which may leave processes running. Raises Ended.
    """
    if _STARTED_BY_HONCHO not in environ or not hasattr(os, "pidfd_open"):
        return []
    found = _honcho()
    try:
        watched = [os.pidfd_open(pid) for pid in found]
    except ProcessLookupError:
        raise Ended from None
    except OSError:  # an old kernel
        return []
    if _honcho() != found:  # a process ended meanwhile, and another may have its number
        raise Ended
    return watched


def _honcho() -> list[int]:
    """Return honcho, and before it a forked reader, among the ancestors."""
    found: list[int] = []
    spawned = False  # whether a spawned reader, with a command line of its own, was found
    for pid, line in _ancestors():
        if any(word.rpartition("/")[2].rpartition(".")[2] == "honcho" for word in line[:3]):
            found.append(pid)
        elif found:
            break
        else:
            spawned |= _READER in " ".join(line)
    # A reader without honcho above it remains after the end of honcho.
    if len(found) == (0 if spawned else 1):
        raise Ended
    return found


def _ancestors() -> Iterator[tuple[int, list[str]]]:
    """Yield process id and command line of the visible ancestors of this process."""
    pid = os.getppid()
    while pid > 0:
        process = Path("/proc", str(pid))
        try:
            line = process.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
            stat = process.joinpath("stat").read_text(errors="replace")
        except OSError:
            return
        yield pid, line
        pid = int(stat.rpartition(")")[2].split()[1])
