"""The parts of the origin of a command that are sent with the command."""

import re
from typing import Any

from dualbus.protocol.codes import WireError
from dualbus.protocol.values import ID_CHARS_MAX, INT_MAX

MARK = "dualbus.Mark"  # the type of a command of the reactor that reserves its key in the log, without events
PARTS = frozenset({"actor", "cause", "correlation", "trace", "metadata"})  # fields of a body
METADATA_ENTRIES_MAX, METADATA_BYTES_MAX = 16, 4096
ACTOR = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}", re.ASCII)
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def check_origin(body: dict[str, Any]) -> None:
    """Raise WireError unless the parts of an origin in a body are missing or valid."""
    if PARTS.isdisjoint(body):
        return
    if "actor" in body and not (type(body["actor"]) is str and ACTOR.fullmatch(body["actor"])):
        raise WireError("actor must be 1 to 64 letters, digits or characters of _.@+-.")
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
