"""python -m dualbus.cli.honcho PARENT …: honcho, ended together with the process that started it."""

import ctypes
import os
import signal
import sys

from honcho.command import main

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


def end_with(parent: int) -> None:
    """Request SIGTERM at the end of the parent process; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:  # ended before the request
            sys.exit(1)


if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)))
    main()
