"""The log of a process: records on stderr, as text or as JSON objects."""

import json
import logging
import os
import time
from collections.abc import Mapping

from dualbus.application.causes import ExcInfo, own_traceback
from dualbus.runtime.honcho import STARTED_BY_HONCHO
from dualbus.runtime.printable import printable

_STDERR = 2


class TextFormatter(logging.Formatter):
    """Formats a record as a line, and its traceback as further, indented lines.

    A value of a client in the text can neither begin a line, which would be a forged record, nor control a terminal.
    """

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides logging
        """Format the line of a record."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - overrides logging
        """Format a traceback, without the values of events that failed validation."""
        lines = own_traceback(ei[1]).split("\n") if ei[1] else []
        return "\n".join("  " + printable(line) for line in lines)


class JsonFormatter(TextFormatter):
    """Formats a record, with its traceback, as a JSON object on a single line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = {"process": process, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        values = {"time": self.formatTime(record), "level": record.levelname.lower(), **self._process}
        values |= {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            values["traceback"] = own_traceback(record.exc_info[1]) if record.exc_info[1] else ""
        return json.dumps(values)


def log_to_stderr(process: str, environ: Mapping[str, str]) -> logging.Logger:
    """Start the log of a process, before its settings are validated; return its logger.

    Lines of text begin with time and level, except on a terminal and under honcho, which adds the time.
    """
    formatter: logging.Formatter
    if environ.get("DUALBUS_LOG_FORMAT") == "json":
        formatter = JsonFormatter(process)
    elif STARTED_BY_HONCHO in environ or os.isatty(_STDERR):
        formatter = TextFormatter(f"{process}: %(message)s")
    else:
        formatter = TextFormatter(f"%(asctime)s %(levelname)s {process}: %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    level = logging.getLevelNamesMapping().get(environ.get("DUALBUS_LOG_LEVEL", "").upper(), logging.INFO)
    logging.basicConfig(handlers=[handler], level=level)
    return logging.getLogger(process)
