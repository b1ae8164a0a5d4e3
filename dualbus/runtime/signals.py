"""The request to stop."""

import select
import signal
import socket
from collections.abc import Mapping
from types import FrameType, MappingProxyType

from dualbus.runtime.honcho import Ended, watch_honcho

_STDERR = 2
GRACE_SECONDS = 2.5  # how long a process that was told to stop may take to answer what it has


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a process: a closed terminal's too, unless nohup has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, *([] if ignored else [signal.SIGHUP])]


class Stop:
    """Says whether the process was told to stop; `wakeup` is a descriptor that is readable once it was.

    A signal handler that only sets a flag may go unnoticed: pyzmq retries an interrupted wait. And honcho
    dies of a SIGQUIT, or is killed, without passing it on: that nobody reads our stderr any more is a stop too,
    and so is the end of honcho. A Poll that is given a Stop looks after all of them: `signs` are the descriptors
    that it waits for, each with the event that is a stop.
    """

    def __init__(self, environ: Mapping[str, str] = MappingProxyType({})) -> None:
        self.told = False
        self.signs = {_STDERR: select.POLLERR}
        try:
            self.signs |= dict.fromkeys(watch_honcho(environ), select.POLLIN)
        except Ended:
            self.told = True
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._pair = ours, theirs
        self.wakeup = theirs.fileno()
        signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
        for number in stop_signals():
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.told = True

    def clear(self) -> None:
        """Take from the descriptor what woke us, so that the next wait can wait."""
        try:
            self._pair[1].recv(64)
        except BlockingIOError:
            pass
