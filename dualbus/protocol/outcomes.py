"""The outcomes of requests, as labels of metrics."""

import msgpack

from dualbus.protocol.codes import Code

SUCCESS, REJECTED, UNKNOWN = "success", "rejected", "unknown"
_CODES = {int(code): code.name.lower() for code in Code}
_ERROR = b"\xa4type\xa5error"  # in the packed body of an error, after the number of its fields


def outcome_of(body: bytes, details: bytes) -> str:
    """Return the outcome of a packed answer: `success`, `rejected`, or the name of an error code.

    An answer without details is a success, unless it is an error: most bodies remain packed.
    """
    if not details and body[1:12] != _ERROR:
        return SUCCESS
    unpacker = msgpack.Unpacker(max_buffer_size=len(body))
    unpacker.feed(body)
    for _ in range(unpacker.read_map_header()):
        name = unpacker.unpack()
        if name == "code":
            return _CODES.get(unpacker.unpack(), UNKNOWN)
        if name == "success":
            return SUCCESS if unpacker.unpack() else REJECTED
        unpacker.skip()
    return SUCCESS
