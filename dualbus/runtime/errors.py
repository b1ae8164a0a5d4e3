"""Fatal errors: sentences for the operator, and exit codes for scripts."""

import signal
import sys

EXIT_OK = 0
EXIT_UNAVAILABLE = 69  # another process holds a lock, an address or a registration
EXIT_SOFTWARE = 70  # internal error
EXIT_DATA = 74  # the log or the read model needs repair
EXIT_CONFIG = 78  # the settings or the application need a correction


def application_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions of application functions that must not end the process, for an `except` clause.

    sys.exit() raises SystemExit, which is not an Exception. Where SIGINT has a handler, as in all processes, only the
    function can have raised a KeyboardInterrupt; elsewhere Ctrl-C raises it. Without an event loop, only the function
    can have raised a CancelledError. Each library in Rust has its own PanicException, for its bugs.
    BaseException is not listed, so that an exception that a signal handler raises to interrupt a function passes.
    """
    panics = [kind for kind in BaseException.__subclasses__() if kind.__module__ == "pyo3_runtime"]
    without_ctrl_c = (Exception, SystemExit, GeneratorExit, BaseExceptionGroup, *panics)
    asyncio = sys.modules.get("asyncio")
    if asyncio and asyncio._get_running_loop() is None:
        without_ctrl_c = (*without_ctrl_c, asyncio.CancelledError)
    ctrl_c_raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return without_ctrl_c if ctrl_c_raises else (*without_ctrl_c, KeyboardInterrupt)


class FatalError(Exception):
    """Ends a process. `errors` holds all problems: sentences with the next step for the operator."""

    exit_code = EXIT_SOFTWARE

    def __init__(self, *errors: str) -> None:
        super().__init__(" ".join(errors))
        self.errors = list(errors)


class ConfigError(FatalError):
    """The settings or the application are invalid."""

    exit_code = EXIT_CONFIG


class AlreadyRunningError(FatalError):
    """Another process holds the lock, the address or the registration."""

    exit_code = EXIT_UNAVAILABLE


class DataError(FatalError):
    """The log or the read model is damaged or unusable."""

    exit_code = EXIT_DATA
