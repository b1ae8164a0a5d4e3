"""Run a process: read the settings, log to stderr, stop on signals, exit with a code."""

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
    """Formats log records. Tracebacks omit values of events that failed validation."""

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - overrides logging
        return own_traceback(ei[1]) if ei[1] else ""


def run(name: str, serve: Callable[[Settings, Stop], int], environ: Mapping[str, str] = os.environ) -> int:
    """Run a process until the request to stop; return its exit code. Errors are sentences on stderr."""
    fill_standard_streams()
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(f"{name}: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    log = logging.getLogger(name)
    os.umask(0o077)
    gc.freeze()  # imported modules are never garbage
    gc.set_threshold(50_000, 20, 100)  # batches are thousands of small objects without cycles
    stop = Stop(environ)
    try:
        settings = Settings.from_env(environ)
        check_folder(settings.data)
        return serve(settings, stop)
    except FatalError as fatal:
        for sentence in fatal.errors:
            log.error("%s", sentence)
        return fatal.exit_code
    except Exception:
        log.exception("Internal error in dualbus; please report it with the traceback below.")
        return EXIT_SOFTWARE
