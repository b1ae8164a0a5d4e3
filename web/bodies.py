"""JSON objects and forms from the bodies of requests, within bounds of size and memory."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

from dualbus.client.calls import IN_FLIGHT_BYTES_MAX
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.numbers import read_number

from .access import Access
from .caller import caller_of
from .positions import whole_number_of
from .problems import Problem, busy
from .request import Request

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
FORM_FIELDS_MAX = 1000
BODIES_BYTES_MAX = 64 << 20  # of all requests in progress
CALLER_BYTES_MAX = IN_FLIGHT_BYTES_MAX * 3 // 4  # of a caller's requests: its calls without a body have the rest
INCOMPLETE_BYTES_MAX = 32 << 20  # of all bodies that are arriving
SLOW = "Too many bodies are arriving slowly: send the request again."


class Body:
    """The JSON object or the form of a request; the `with` block is the time in memory."""

    def __init__(self, bodies: "Bodies", caller: str, size: int, value: dict[str, Any]) -> None:
        self._bodies = bodies
        self._caller = caller
        self._size = size
        self._value = value

    def __enter__(self) -> dict[str, Any]:
        return self._value

    def __exit__(self, *error: object) -> None:
        self._bodies.release(self._caller, self._size)


class Bodies:
    """The memory of all bodies. Incomplete ones have a bound of their own, so that slow callers keep no body out."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._held: dict[str, int] = {}  # the bytes of the complete bodies of each caller
        self._held_bytes = 0
        self._incomplete: dict[asyncio.Task[Any], int] = {}
        self._incomplete_bytes = 0
        self._refused: set[asyncio.Task[Any]] = set()

    async def read(self, request: Request, media_type: str = JSON) -> Body:
        """Read the JSON object or the form of a request. Raises Problem."""
        _check_type(request, media_type)
        body = await self._received(request)
        self._access.check_again(request.scope)
        value = _decoded(body) if media_type == JSON else _form(body)
        caller, size = caller_of(request.scope), len(body)
        held = self._held.get(caller, 0) + size
        if held > CALLER_BYTES_MAX or self._held_bytes + size > BODIES_BYTES_MAX:
            raise busy("The requests in progress hold too much memory: retry later.")
        self._held[caller] = held
        self._held_bytes += size
        return Body(self, caller, size, value)

    def release(self, caller: str, size: int) -> None:
        """Release the memory of a body."""
        self._held_bytes -= size
        self._held[caller] -= size
        if not self._held[caller]:
            del self._held[caller]

    async def _received(self, request: Request) -> bytes:
        """Return a complete body. Raises Problem, also for the largest of too many incomplete bodies."""
        task = asyncio.current_task()
        assert task  # noqa: S101 - a request is a task
        body = b""
        try:
            while True:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise Problem(400, "The connection was lost before the end of the body.")
                part: bytes = message["body"]
                body += part
                if len(body) > MESSAGE_BYTES_MAX:
                    raise Problem(413, f"The body has more than {MESSAGE_BYTES_MAX} bytes: send less in a request.")
                if not message["more_body"]:
                    return body
                self._forget(task)
                self._incomplete[task] = len(body)
                self._incomplete_bytes += len(body)
                if self._incomplete_bytes > INCOMPLETE_BYTES_MAX:
                    self._refuse_largest(task)
        except asyncio.CancelledError:
            if task not in self._refused:
                raise
            task.uncancel()
            raise busy(SLOW) from None
        finally:
            self._forget(task)
            self._refused.discard(task)

    def _refuse_largest(self, current: asyncio.Task[Any]) -> None:
        """Refuse the largest incomplete body: a small one is never refused for others."""
        task = max(self._incomplete, key=lambda each: self._incomplete[each])
        self._forget(task)
        if task is current:
            raise busy(SLOW)
        self._refused.add(task)
        task.cancel()  # the task waits for the next part of its body

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._incomplete_bytes -= self._incomplete.pop(task, 0)


def _check_type(request: Request, expected: str) -> None:
    """Refuse other types, also because a form of a foreign page cannot send JSON."""
    media_type = request.field(b"content-type").partition(";")[0].strip().lower()
    if media_type != expected:
        what = "JSON" if expected == JSON else "a form"
        raise Problem(415, f"The body must be {what}: send the header Content-Type: {expected}.")
    if request.field(b"content-encoding", "identity").lower() != "identity":
        raise Problem(415, "The body must not be compressed: omit Content-Encoding.")
    if whole_number_of(request.field(b"content-length", "0").strip(), MESSAGE_BYTES_MAX) is None:
        raise Problem(413, f"The body has more than {MESSAGE_BYTES_MAX} bytes: send less in a request.")


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_constant, parse_float=read_number
        )
    except RecursionError:
        raise Problem(400, "The body is nested too deep.") from None
    except UnicodeDecodeError:
        raise Problem(400, "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise Problem(400, f"The body is not JSON: {error}.") from None
    except ValueError as error:
        raise Problem(400, f"The body is not JSON: {_reason(error)}.") from None
    if not isinstance(value, dict):
        raise Problem(400, "The body must be a JSON object with the fields of the message.")
    return value


def _form(body: bytes) -> dict[str, Any]:
    try:
        return dict(parse_qsl(body.decode("ascii"), True, errors="strict", max_num_fields=FORM_FIELDS_MAX))
    except ValueError:
        raise Problem(400, f"The body is not a form in UTF-8 with at most {FORM_FIELDS_MAX} fields.") from None


class _Refused(ValueError):
    """Raised for JSON that the protocol refuses."""


def _reason(error: ValueError) -> str:
    return str(error) if isinstance(error, _Refused) else "a number has too many digits"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("an object has the same key twice")
    return found


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is not a number")
