"""Stops a handler that runs past its deadline, in Python too: a signal raises Interrupted in the main thread.

A signal handler of Python runs in the main thread between two instructions, and ends a blocking system call such
as a sleep. So nothing is raised but inside `with interrupt:`, and only in the handler that was meant.
"""

import signal
import threading
from types import FrameType, TracebackType

from dualbus.application.tables import Interrupted

_SIGNAL = signal.SIGUSR1


class Interrupt:
    """`with interrupt:` surrounds the code of an application; `stop` ends it from another thread.

    `with interrupt.shield:` inside it surrounds work that is better finished, such as reading a history that the next
    attempt would have to read again.
    """

    def __init__(self) -> None:
        self.allowed = False
        self.shield = _Shield(self)
        self.running: object | None = None  # the job whose handler runs; set by the loop of the process
        self._wanted: object | None = None

    def listen(self) -> None:
        """Install the signal handler. Called in the main thread."""
        self._main = threading.get_ident()
        signal.signal(_SIGNAL, self._raise)

    def stop(self, running: object) -> None:
        """Raise Interrupted in the handler that runs for this job, if it still does and may be interrupted now."""
        self._wanted = running
        signal.pthread_kill(self._main, _SIGNAL)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self.allowed and self._wanted is not None and self._wanted is self.running:
            self._wanted = None
            self.allowed = False  # it may be raised on the way out of `with`
            raise Interrupted

    def __enter__(self) -> None:
        self.allowed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.allowed = False


class _Shield:
    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def __enter__(self) -> None:
        self._interrupt.allowed = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupt.allowed = True
