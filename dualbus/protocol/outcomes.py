"""The outcomes of requests, as labels of metrics."""

import msgpack

from dualbus.protocol.codes import Code

SUCCESS, REJECTED, UNKNOWN = "success", "rejected", "unknown"
_CODES = {int(code): code.name.lower() for code in Code}
ERROR = b"\xa4type\xa5error"  # in the packed body of an error, after the number of its fields


def outcome_of(body: bytes) -> str:
    """Return the outcome of a packed answer: `success`, `rejected`, or the name of an error code.

    An answer without details whose body does not begin with ERROR is a success: most bodies remain packed.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(body))
    unpacker.feed(body)
    try:
        for _ in range(unpacker.read_map_header()):
            name = unpacker.unpack()
            if name == "code":
                return _CODES.get(unpacker.unpack(), UNKNOWN)
            if name == "success":
                return SUCCESS if unpacker.unpack() else REJECTED
            unpacker.skip()
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):  # the body of a faulty worker
        return UNKNOWN
    return SUCCESS
