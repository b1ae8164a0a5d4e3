"""The request to stop."""

import select
import signal
import socket
from collections.abc import Mapping
from types import FrameType, MappingProxyType

from dualbus.runtime.honcho import Ended, watch_honcho

_STDERR = 2
GRACE_SECONDS = 2.5  # for the answers of a stopping process


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a process: SIGHUP too, unless nohup ignores it."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, *([] if ignored else [signal.SIGHUP])]


class Stop:
    """The request to stop; `wakeup` is a descriptor that becomes readable with the request.

    A signal handler that only sets a flag may go unnoticed: pyzmq retries an interrupted wait. honcho dies of a
    SIGQUIT, or is killed, without forwarding the signal: a closed stderr is a request to stop too, and so is the end
    of honcho. A Poll with a Stop handles all of them: `signs` are the descriptors to wait for, each with its event.

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
        """Read the wake-up byte from the descriptor, so that the next wait can wait."""
        try:
            self._pair[1].recv(64)
        except BlockingIOError:
            pass
