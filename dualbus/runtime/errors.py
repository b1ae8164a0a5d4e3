"""Errors that end a process: sentences for a person, and an exit code for a script."""

EXIT_OK = 0
EXIT_UNAVAILABLE = 69  # another process uses a required resource
EXIT_SOFTWARE = 70  # a mistake of ours
EXIT_DATA = 74  # the log or the read model needs attention
EXIT_CONFIG = 78  # the settings or the application must be put right

# Exceptions of application functions, which end nothing but the function. sys.exit() raises SystemExit, which is no
# Exception. A process handles SIGINT itself, so a KeyboardInterrupt there is the function's own too; in the command
# line Ctrl-C raises it. BaseException is not listed: exceptions of signal handlers, which end a function, pass
# through all of these clauses except their own.
RAISED_UNDER_CTRL_C = (Exception, SystemExit, GeneratorExit)
RAISED = (*RAISED_UNDER_CTRL_C, KeyboardInterrupt)


class FatalError(Exception):
    """Ends a process; `errors` holds every problem as a sentence with advice."""

    exit_code = EXIT_SOFTWARE

    def __init__(self, *errors: str) -> None:
        super().__init__(" ".join(errors))
        self.errors = list(errors)


class ConfigError(FatalError):
    """Unusable settings, or an unusable application."""

    exit_code = EXIT_CONFIG


class AlreadyRunningError(FatalError):
    """Another process uses a required resource: a lock, an address, a place at the gateway."""

    exit_code = EXIT_UNAVAILABLE


class DataError(FatalError):
    """The log or the read model is damaged or unusable."""

    exit_code = EXIT_DATA
