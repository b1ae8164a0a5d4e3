"""What every process does the same: read its settings, log to stderr, stop when told, exit with a reason."""

import gc
import logging
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType

from dualbus.causes import ExcInfo, own_traceback
from dualbus.fault import EXIT_SOFTWARE, Fault
from dualbus.files import check_folder
from dualbus.honcho import Ended, watch_honcho
from dualbus.settings import Settings
from dualbus.streams import fill_standard_streams

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


class Formatter(logging.Formatter):
    """Writes lines and tracebacks; a value of a record that failed a validation stays out of them."""

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - the name that logging has for it
        return own_traceback(ei[1]) if ei[1] else ""


def run(name: str, serve: Callable[[Settings, Stop], int], environ: Mapping[str, str] = os.environ) -> int:
    """Run a process until it is told to stop; return its exit code. Errors are a sentence on stderr."""
    fill_standard_streams()
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(f"{name}: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    log = logging.getLogger(name)
    os.umask(0o077)
    gc.freeze()  # what was imported stays for life
    gc.set_threshold(50_000, 20, 100)  # a batch is thousands of small objects, and none of them is a cycle
    stop = Stop(environ)
    try:
        settings = Settings.from_env(environ)
        log.info("pid %d, %s", os.getpid(), settings)
        check_folder(settings.data)
        return serve(settings, stop)
    except Fault as fault:
        for sentence in fault.errors:
            log.error("%s", sentence)
        return fault.exit_code
    except Exception:
        log.exception("A mistake in dualbus itself. Please report it with what follows.")
        return EXIT_SOFTWARE
