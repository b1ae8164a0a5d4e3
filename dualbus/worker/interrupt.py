"""Stops a handler past its deadline, also in Python code: a signal raises Interrupted in the main thread.

Python runs signal handlers in the main thread between two instructions, and after ending a blocking system call such
as a sleep. Interrupted is raised only inside `with interrupt:`, and only in the intended handler.
"""

import signal
import threading
from types import FrameType

from dualbus.application.tables import Interrupted

_SIGNAL = signal.SIGUSR1


class Interrupt:
    """`with interrupt:` surrounds code of an application; `stop` ends this code from another thread.

    Inside, `with interrupt.shield:` protects reads of a history: after an interruption, the next attempt would start
    from scratch.
    """

    def __init__(self) -> None:
        self.allowed = False
        self.shield = _Shield(self)
        self.running: object | None = None  # the job of the running handler; set by the loop of the process
        self._wanted: object | None = None

    def listen(self) -> None:
        """Install the signal handler. Call from the main thread."""
        self._main = threading.get_ident()
        signal.signal(_SIGNAL, self._raise)

    def stop(self, running: object) -> None:
        """Raise Interrupted in the handler of this job, if still running and interruptible."""
        self._wanted = running
        signal.pthread_kill(self._main, _SIGNAL)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self.allowed and self._wanted is not None and self._wanted is self.running:
            self._wanted = None
            self.allowed = False  # Interrupted may be raised while leaving `with`
            raise Interrupted

    def __enter__(self) -> None:
        self.allowed = True

    def __exit__(self, *error: object) -> None:
        self.allowed = False


class _Shield:
    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def __enter__(self) -> None:
        self._interrupt.allowed = False

    def __exit__(self, *error: object) -> None:
        self._interrupt.allowed = True
