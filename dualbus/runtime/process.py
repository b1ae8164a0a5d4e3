"""Run a process: read the settings, log to stderr, stop on signals, exit with a code."""

import gc
import os
import sys
from collections.abc import Callable, Mapping

from dualbus.runtime.errors import EXIT_DATA, EXIT_SOFTWARE, FatalError
from dualbus.runtime.files import check_folder
from dualbus.runtime.logging import log_to_stderr
from dualbus.runtime.settings import Settings
from dualbus.runtime.signals import Stop
from dualbus.runtime.streams import fill_standard_streams


def run(name: str, serve: Callable[[Settings, Stop], int], environ: Mapping[str, str] = os.environ) -> int:
    """Run a process until the request to stop; return its exit code. Errors are sentences on stderr."""
    fill_standard_streams()
    log = log_to_stderr(name, environ)
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
    except Exception as error:
        if _is_of_disk(error):
            log.error("A database cannot be read (%s): check the disk, and run `dualbus verify`.", error)
            return EXIT_DATA
        log.exception("Internal error in dualbus; please report it with the traceback below.")
        return EXIT_SOFTWARE


def _is_of_disk(error: Exception) -> bool:
    """Return whether a read of a database has failed, in a process that has databases."""
    apsw = sys.modules.get("apsw")
    return apsw is not None and isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError)
