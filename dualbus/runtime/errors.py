"""Fatal errors: sentences for the operator, and exit codes for scripts."""

EXIT_OK = 0
EXIT_UNAVAILABLE = 69  # another process holds a lock, an address or a registration
EXIT_SOFTWARE = 70  # internal error
EXIT_DATA = 74  # the log or the read model needs repair
EXIT_CONFIG = 78  # the settings or the application need a correction

# Exceptions of application functions that must not end the process. sys.exit() raises SystemExit, which is not an
# Exception. The processes handle SIGINT, so a KeyboardInterrupt can only be raised by the function; in the command
# line, Ctrl-C raises KeyboardInterrupt. BaseException is not listed: an exception that a signal handler raises to
# interrupt a function must pass through these clauses.
RAISED_UNDER_CTRL_C = (Exception, SystemExit, GeneratorExit)
RAISED = (*RAISED_UNDER_CTRL_C, KeyboardInterrupt)


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
