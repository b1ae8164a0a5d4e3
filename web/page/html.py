"""Responses in HTML. The templates escape every value; the forms of values are defined here."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from dualbus.application.errors import DualbusError
from dualbus.log.contract import LogError

from ..problems import Problem, problem_of
from ..request import Request

FOLDER = Path(__file__).parent
VIEWS = (
    ("cluster", "/", "Cluster"),
    ("events", "/page/events", "Events"),
    ("commands", "/page/commands", "Commands"),
    ("try", "/page/try", "Try it"),
    ("application", "/page/application", "Application"),
    ("rows", "/page/rows", "Read model"),
)
_UNITS = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")

Endpoint = Callable[[Request], Awaitable[Response]]


def html(
    template: str, /, *, code: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """Return a response with a template."""
    text = _ENVIRONMENT.get_template(f"{template}.html").render(values)
    return HTMLResponse(text, code, {"cache-control": "no-store", **(headers or {})})


def view(endpoint: Endpoint) -> Endpoint:
    """Convert the errors of an endpoint into a page with the sentence of the error."""

    async def respond(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Problem as error:
            problem = error
        except DualbusError as error:
            problem = problem_of(error)
        except LogError as error:
            problem = Problem(503, str(error))
        return html("error", code=problem.status, headers=problem.headers, view="", problem=problem.body)

    return respond


def number(value: float | None) -> str:
    """Return a number with separators; three digits if it is small and not whole."""
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """Return seconds in a readable unit."""
    if seconds is None:
        return "–"
    if seconds == 0:
        return "0 s"
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), _UNITS[-1])
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def size(count: float | None) -> str:
    """Return bytes in a readable unit."""
    if count is None:
        return "–"
    for unit in _BYTES:
        if count < 1024 or unit == _BYTES[-1]:
            break
        count /= 1024
    return f"{count:.3g} {unit}" if count < 1000 else f"{count:.0f} {unit}"


def json_text(value: Any) -> str:
    """Return a value as JSON for people. The templates escape the text."""
    return json.dumps(value, ensure_ascii=False)


def clock(text: str) -> str:
    """Return the time of a record in UTC, to the millisecond; the date only if it is not today."""
    day, _, time = text.removesuffix("Z").partition("T")
    return time[:12] if day == datetime.now(UTC).date().isoformat() else f"{day} {time[:8]}"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"number": number, "duration": duration, "size": size, "clock": clock, "json": json_text}
_ENVIRONMENT.globals |= {"views": VIEWS}
