"""The request to stop."""

import select
import signal
import socket
from collections.abc import Mapping
from types import FrameType, MappingProxyType

from dualbus.runtime.honcho import SupervisorEnded, watch_honcho

_STDERR = 2
GRACE_SECONDS = 2.5  # after the request to stop, for answers to the requests in flight


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a process. SIGHUP is included, unless nohup has ignored SIGHUP."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, *([] if ignored else [signal.SIGHUP])]


class Stop:
    """Records the request to stop. The descriptor `wakeup` becomes readable when a signal arrives.

    A flag alone is not enough: pyzmq restarts interrupted waits. Honcho may end without sending a signal (after
    SIGQUIT or SIGKILL), therefore a closed stderr and the end of honcho also mean stop. `signs` maps the descriptors
    of those two to poll events; Poll watches all of them.
    """

    def __init__(self, environ: Mapping[str, str] = MappingProxyType({})) -> None:
        self.requested = False
        self.signs = {_STDERR: select.POLLERR}
        try:
            self.signs |= dict.fromkeys(watch_honcho(environ), select.POLLIN)
        except SupervisorEnded:
            self.requested = True
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._pair = ours, theirs
        self.wakeup = theirs.fileno()
        signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
        for number in stop_signals():
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def clear(self) -> None:
        """Empty the wakeup descriptor, so that the next wait blocks."""
        try:
            self._pair[1].recv(64)
        except BlockingIOError:
            pass
