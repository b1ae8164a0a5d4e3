"""python -m dualbus.cli.honcho PARENT …: run honcho, and end it when the parent process ends."""

import ctypes
import os
import signal
import sys

from honcho.command import main

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


def end_with(parent: int) -> None:
    """Request SIGTERM for this process when its parent ends. Only Linux supports this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:  # ended before prctl()
            sys.exit(1)


if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)))
    main()
