"""Standard input, output and error, any of which may be closed at the start."""

import os
import sys


def fill_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams.

    Otherwise a socket or a file would take the descriptor, and Python's stream would be None.
    """
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(lowest, True)
    os.close(lowest)
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
