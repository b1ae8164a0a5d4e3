"""Problems as RFC 9457: every error of the process is a sentence for people, with codes for programs."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json
from starlette.responses import Response

from dualbus.application import errors
from dualbus.application.errors import DualbusError, Executed, HandlerError, KeyUsed, Rejected, Unavailable
from dualbus.application.field_path import field_steps

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
FRAGMENT = "~!$&'()*+,;=:@?"  # the characters of a URI fragment that quote() would encode
BARE_KEY = re.compile(r"[!#-~][!-~]*")  # an idempotency key that needs no quotes in its header
STOPPED = "The web process stopped before the end of the request"
STATUSES = {"not_supported": 404, "forbidden": 403}  # of refusals by the gateway or a bus, by code
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}  # of RFC 9110; Python before 3.13 has older ones


class Problem(Exception):
    """Ends a request with a status, a sentence, and further members of the problem."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {
            "title": _TITLES.get(status, HTTPStatus(status).phrase),
            "status": status,
            "detail": detail,
            **members,
        }

    def response(self) -> Response:
        """Return the response."""
        return Response(to_json(self.body), self.status, self.headers, MEDIA_TYPE)

    def as_bytes(self) -> bytes:
        """Return the response for a connection without a request."""
        body = to_json(self.body)
        head = f"HTTP/1.1 {self.status} {self.body['title']}\r\ncontent-type: {MEDIA_TYPE}\r\n"
        return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


def busy(text: str) -> Problem:
    """Return the problem of a request that a client can retry."""
    return Problem(503, text, {"retry-after": str(RETRY_SECONDS)})


def problem_of(error: DualbusError) -> Problem:
    """Return the problem for an error of a call."""
    text = str(error)
    if isinstance(error, Rejected):
        return _rejected(error)
    if isinstance(error, Executed):
        key = _header_of(error.idempotency_key)
        return Problem(409, text, outcome="executed", position=error.position, idempotency_key=key)
    if isinstance(error, KeyUsed):
        return Problem(409, text)
    if isinstance(error, errors.ClientClosed):
        ended = f"{STOPPED}, or the token was removed or changed"
        text = f"{ended}." if not error.outcome_known else f"{ended}: retry later."
    if not error.outcome_known:
        text = f"{text} Send the command again with this Idempotency-Key to learn the outcome."
        return Problem(504, text, outcome="unknown", idempotency_key=_header_of(error.idempotency_key))
    if isinstance(error, HandlerError):
        return Problem(500, text)
    if isinstance(error, errors.DeadlineExceeded):
        return Problem(504, text)
    assert isinstance(error, Unavailable | errors.ClientClosed)  # noqa: S101 - every other class is above
    return busy(text)


def _header_of(key: str | None) -> str | None:
    """Return the value of the header with a key: bare, or quoted where the bare text would be another key."""
    if key is None or BARE_KEY.fullmatch(key):
        return key
    return '"' + re.sub(r'(["\\])', r"\\\1", key) + '"'


def _rejected(error: Rejected) -> Problem:
    codes = {problem.code for problem in error.problems}
    status = STATUSES.get(codes.pop(), 422) if len(codes) == 1 else 422
    return Problem(status, str(error), errors=problem_list(error.problems))


def problem_list(problems: Sequence[errors.Problem]) -> list[dict[str, Any]]:
    """Return the problems of fields: a sentence, a JSON pointer and a code each."""
    return [
        {
            "detail": problem.text,
            **({"pointer": pointer(problem.field)} if problem.field else {}),
            "code": problem.code,
        }
        for problem in problems
    ]


def pointer(path: str) -> str:
    """Return the path of a field, such as `lines[0].amount`, as a JSON pointer in a URI fragment."""
    steps = (step.replace("~", "~0").replace("/", "~1") for step in field_steps(path))
    return "#/" + "/".join(quote(step, safe=FRAGMENT) for step in steps)
