"""The memory and the processor time of this process."""

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of getrusage, in bytes


def usage() -> dict[str, Any]:
    """Return the processor seconds and the resident bytes, for Status."""
    return {"cpu_s": round(time.process_time(), 3), "memory_bytes": _resident_bytes()}


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except OSError:  # not Linux: the highest value so far
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
