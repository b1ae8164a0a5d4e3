"""Standard input, output and error, any of which may be closed at the start of a process; and the terminal."""

import os
import sys
from contextlib import suppress


def fill_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams.

    Otherwise the next socket or file uses the descriptor, and sys.stdin, sys.stdout or sys.stderr is None.
    """
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(lowest, True)
    os.close(lowest)
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


def write_to_terminal(text: str) -> bool:
    """Write to the terminal of this process itself, and to no log; return whether there is a terminal.

    Under honcho, standard error is a pipe, and standard input is the terminal.
    """
    for descriptor in (0, 2):
        if os.isatty(descriptor):
            with suppress(OSError):
                terminal = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
                with open(terminal, "wb", buffering=0) as opened:  # does not wait for a stopped terminal
                    return opened.write(text.encode()) is not None
    return False
