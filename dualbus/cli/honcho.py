"""python -m dualbus.cli.honcho PARENT …: honcho, that ends what it runs when the process that started it ends."""

import ctypes
import os
import signal
import sys

from honcho.command import main

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


def end_with(parent: int) -> None:
    """Have SIGTERM sent to this process when its parent ends, however it ends; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended before it was watched
            sys.exit(1)


if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)))
    main()
