"""Detect the end of honcho: the processes that honcho has started must not outlive honcho.

Honcho runs every command of the Procfile through a reader: a child process that forwards the output of the command.
A killed honcho ends neither readers nor commands. Only Linux can report the end of another process.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

STARTED_BY_HONCHO = "HONCHO_PROCESS_NAME"  # also set by the units of `honcho export`
_READER = "multiprocessing"  # in the command line of a spawned (not forked) reader


class SupervisorEnded(Exception):
    """Honcho started this process, and has already ended."""


def watch_honcho(environ: Mapping[str, str]) -> list[int]:
    """Return descriptors that become readable when honcho, or the reader of this process, ends.

    Return no descriptors under another supervisor or a shell, which may detach processes on purpose.
    Raise SupervisorEnded if honcho has already ended.
    """
    if STARTED_BY_HONCHO not in environ or not hasattr(os, "pidfd_open"):
        return []
    found = _honcho()
    try:
        watched = [os.pidfd_open(pid) for pid in found]
    except ProcessLookupError:
        raise SupervisorEnded from None
    except OSError:  # not supported by this kernel
        return []
    if _honcho() != found:  # a process ended before pidfd_open, and its pid may be reused
        raise SupervisorEnded
    return watched


def _honcho() -> list[int]:
    """Return the pids of the forked reader and of honcho, among the ancestors."""
    found: list[int] = []
    spawned = False  # whether a reader was spawned: it has another command line than honcho
    for pid, line in _ancestors():
        if any(word.rpartition("/")[2].rpartition(".")[2] == "honcho" for word in line[:3]):
            found.append(pid)
        elif found:
            break
        else:
            spawned |= _READER in " ".join(line)
    # A reader whose ancestors do not include honcho is an orphan.
    if len(found) == (0 if spawned else 1):
        raise SupervisorEnded
    return found


def _ancestors() -> Iterator[tuple[int, list[str]]]:
    """Yield the pid and the command line of every ancestor, as far as they are visible."""
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
