"""JSON objects from the bodies of requests, within bounds of size, memory and time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from dualbus.protocol.frames import MESSAGE_BYTES_MAX

from .problems import Problem, busy

BODY_SECONDS = 10.0
FORM_FIELDS_MAX = 1000
BODIES_BYTES_MAX = 64 << 20  # of all requests in progress


class Bodies:
    """The memory of all bodies: requests beyond the bound are refused."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def json_object(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """Provide the JSON object of a request while the request is in progress. Raises Problem."""
        _check_type(request, "application/json", "JSON")
        async with self._received(request) as body:
            yield _decoded(body)

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[dict[str, str]]:
        """Provide the fields of a form of the page while the request is in progress. Raises Problem."""
        _check_type(request, "application/x-www-form-urlencoded", "a form")
        async with self._received(request) as body:
            try:
                yield dict(parse_qsl(body.decode("ascii"), True, errors="strict", max_num_fields=FORM_FIELDS_MAX))
            except ValueError:
                raise Problem(400, "The body is not a form in UTF-8.") from None

    @asynccontextmanager
    async def _received(self, request: Request) -> AsyncIterator[bytes]:
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    self._held += len(chunk)
                    body += chunk
                    self._check_size(len(body))
        except TimeoutError:
            raise Problem(408, f"The body did not arrive within {BODY_SECONDS:g} s.") from None
        except ClientDisconnect:
            raise Problem(400, "The connection was lost before the end of the body.") from None
        else:
            yield bytes(body)
        finally:
            self._held -= len(body)

    def _check_size(self, size: int) -> None:
        if size > MESSAGE_BYTES_MAX:
            raise Problem(413, f"The body has more than {MESSAGE_BYTES_MAX} bytes: send less in a request.")
        if self._held > BODIES_BYTES_MAX:
            raise busy("The requests in progress hold too much memory: retry later.")


def _check_type(request: Request, expected: str, words: str) -> None:
    """Refuse other types, also because a form of a foreign page cannot send JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != expected:
        raise Problem(415, f"The body must be {words}: send the header Content-Type: {expected}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "The body must not be compressed: omit Content-Encoding.")
    if int(request.headers.get("content-length", "0")) > MESSAGE_BYTES_MAX:
        raise Problem(413, f"The body has more than {MESSAGE_BYTES_MAX} bytes: send less in a request.")


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_constant)
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
