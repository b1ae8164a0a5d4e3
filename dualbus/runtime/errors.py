"""What keeps a process from running, said to a person, and the exit code that says it to a script."""

EXIT_OK = 0
EXIT_UNAVAILABLE = 69  # something else has what this process needs
EXIT_SOFTWARE = 70  # a mistake of ours
EXIT_DATA = 74  # the log or the read model must be looked at
EXIT_CONFIG = 78  # the settings or the application must be put right

# What a function of the application may raise without ending anything but itself. sys.exit() raises SystemExit, which
# is no Exception. A process handles SIGINT itself, so a KeyboardInterrupt there is the function's own too; a command
# of the command line has it from Ctrl-C. BaseException is not named, so that whatever a signal handler raises to end
# a function passes through every one of these clauses but its own.
RAISED_UNDER_CTRL_C = (Exception, SystemExit, GeneratorExit)
RAISED = (*RAISED_UNDER_CTRL_C, KeyboardInterrupt)


class FatalError(Exception):
    """Ends a process; `errors` holds every problem, each a sentence that says what to do."""

    exit_code = EXIT_SOFTWARE

    def __init__(self, *errors: str) -> None:
        super().__init__(" ".join(errors))
        self.errors = list(errors)


class ConfigError(FatalError):
    """Settings or an application that cannot be used."""

    exit_code = EXIT_CONFIG


class AlreadyRunningError(FatalError):
    """Another process has what this one needs: a lock, an address, a place at the gateway."""

    exit_code = EXIT_UNAVAILABLE


class DataError(FatalError):
    """The log or the read model is not as it should be."""

    exit_code = EXIT_DATA
