"""Standard input, output and error, of which whoever started the process may have closed any."""

import os
import sys


def fill_standard_streams() -> None:
    """Open /dev/null where standard input, output or error was closed.

    Else a socket or a file of ours takes the descriptor, and Python has None in the stream's place.
    """
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(lowest, True)
    os.close(lowest)
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
