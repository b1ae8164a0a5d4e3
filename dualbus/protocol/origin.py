"""The parts of a command's origin that are sent with it: metadata and trace; cause and correlation by the reactor."""

import re
from typing import Any

from dualbus.protocol.codes import WireError
from dualbus.protocol.values import ID_CHARS_MAX, INT_MAX

MARK = "dualbus.Mark"  # the type of a command of the reactor that reserves its key in the log, without events
METADATA_ENTRIES_MAX, METADATA_BYTES_MAX = 16, 4096
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def check_origin(body: dict[str, Any]) -> None:
    """Raise WireError unless `metadata`, `trace`, `cause` and `correlation` of a body are missing or valid."""
    if "metadata" in body:
        _check_metadata(body["metadata"])
    if "trace" in body and not is_trace(body["trace"]):
        raise WireError(
            "trace must be a W3C traceparent, such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01."
        )
    if "cause" in body and not (type(body["cause"]) is int and 0 < body["cause"] <= INT_MAX):
        raise WireError("cause must be a position of the log.")
    if "correlation" in body:
        correlation = body["correlation"]
        if type(correlation) is not str or not 0 < len(correlation) <= ID_CHARS_MAX:
            raise WireError(f"correlation must be text of 1 to {ID_CHARS_MAX} characters.")


def is_trace(value: Any) -> bool:
    """Return whether a value is a W3C traceparent."""
    return type(value) is str and _TRACE.fullmatch(value) is not None


def _check_metadata(metadata: Any) -> None:
    if type(metadata) is not dict or not all(type(text) is str for text in (*metadata, *metadata.values())):
        raise WireError("metadata must be an object whose values are text.")
    if len(metadata) > METADATA_ENTRIES_MAX:
        raise WireError(f"metadata has {len(metadata)} entries: at most {METADATA_ENTRIES_MAX} are possible.")
    if sum(len(text.encode()) for item in metadata.items() for text in item) > METADATA_BYTES_MAX:
        raise WireError(f"metadata is longer than {METADATA_BYTES_MAX} bytes.")
