"""When honcho ends, so do the processes that it has started: else nobody would be left to end them.

Between honcho and the command of a line of the Procfile there is a reader: a process of honcho's own that passes the
command's output on. Killed, honcho ends neither the readers nor the commands. Only Linux shows whether it has ended.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_STARTED_BY_HONCHO = "HONCHO_PROCESS_NAME"  # in the units that `honcho export` writes too
_READER = "multiprocessing"  # in the command line of a reader that was not forked


class Ended(Exception):
    """honcho started this process, and has ended already."""


def watch_honcho(environ: Mapping[str, str]) -> list[int]:
    """Return descriptors that can be read once honcho, or the reader of this process, has ended.

    None if another supervisor started it, or a shell: they may leave it behind, on purpose. Raises Ended.
    """
    if _STARTED_BY_HONCHO not in environ or not hasattr(os, "pidfd_open"):
        return []
    found = _honcho()
    try:
        watched = [os.pidfd_open(pid) for pid in found]
    except ProcessLookupError:
        raise Ended from None
    except OSError:  # a kernel that cannot do it
        return []
    if _honcho() != found:  # one of them ended before it was watched, and another process may have its number
        raise Ended
    return watched


def _honcho() -> list[int]:
    """Return honcho, and before it the reader that it has forked, among the ancestors."""
    found: list[int] = []
    spawned = False  # whether there is a reader that was not forked, and so has a command line of its own
    for pid, line in _ancestors():
        if any(word.rpartition("/")[2].rpartition(".")[2] == "honcho" for word in line[:3]):
            found.append(pid)
        elif found:
            break
        else:
            spawned |= _READER in " ".join(line)
    # A reader without a honcho above it is what a honcho that has ended leaves.
    if len(found) == (0 if spawned else 1):
        raise Ended
    return found


def _ancestors() -> Iterator[tuple[int, list[str]]]:
    """Yield process id and command line of each process above this one, as far as they can be seen."""
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
