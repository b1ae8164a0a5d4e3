"""The frame of every process: read the settings, log to stderr, stop on request, exit with a reason."""

import gc
import logging
import os
from collections.abc import Callable, Mapping

from dualbus.application.causes import ExcInfo, own_traceback
from dualbus.runtime.errors import EXIT_SOFTWARE, FatalError
from dualbus.runtime.files import check_folder
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import Stop
from dualbus.runtime.streams import fill_standard_streams


class Formatter(logging.Formatter):
    """Formats lines and tracebacks without values of records that failed a validation."""

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - logging's name
        return own_traceback(ei[1]) if ei[1] else ""


def run(name: str, serve: Callable[[Settings, Stop], int], environ: Mapping[str, str] = os.environ) -> int:
    """Run a process until a stop is requested; return its exit code. Errors are sentences on stderr."""
    fill_standard_streams()
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(f"{name}: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    log = logging.getLogger(name)
    os.umask(0o077)
    gc.freeze()  # imported modules stay
    gc.set_threshold(50_000, 20, 100)  # a batch is thousands of small objects, and none of them is a cycle
    stop = Stop(environ)
    try:
        settings = Settings.from_env(environ)
        log.info("pid %d, %s", os.getpid(), settings)
        check_folder(settings.data)
        return serve(settings, stop)
    except FatalError as fault:
        for sentence in fault.errors:
            log.error("%s", sentence)
        return fault.exit_code
    except Exception:
        log.exception("A mistake in dualbus itself. Please report it with what follows.")
        return EXIT_SOFTWARE
