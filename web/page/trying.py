"""The view Try it: a form for each command and query, its result, and the same call to copy."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute
from uuid_utils import uuid7

from dualbus.application.descriptions import about
from dualbus.application.errors import DualbusError, Executed, Rejected
from dualbus.application.errors import Problem as FieldProblem
from dualbus.application.field_path import field_steps
from dualbus.application.messages import Message
from dualbus.application.names import nearest

from ..bodies import FORM
from ..endpoints import route
from ..problems import Problem
from ..request import Request
from ..site import Site
from .fields import fields_of, texts_of, values_of
from .html import html, view
from .samples import Sample, samples

PATH = "/page/try"
KEY, RUN = "key", "run"
KEY_CHARS_MAX = 256


def routes(site: Site) -> list[BaseRoute]:
    """Return the routes of the forms."""
    forms = Forms(site)
    return [
        route(PATH, view(forms.first)),
        route(f"{PATH}/{{type}}", view(forms.show)),
        route(f"{PATH}/{{type}}", view(forms.run), "POST"),
        route(f"{PATH}/{{type}}/samples", view(forms.show_samples), "POST"),
    ]


class Forms:
    """The forms of all commands and queries."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._commands, self._queries = site.app.command_types, site.app.query_types

    async def first(self, request: Request) -> Response:
        """Redirect to the form of the first message."""
        name = next(iter([*self._commands, *self._queries]), "")
        if not name:
            raise Problem(404, "The application has no commands and no queries.")
        return RedirectResponse(f"{PATH}/{name}", 303)

    async def show(self, request: Request) -> Response:
        """Respond with a form. The link of a query with fields also runs the query, so that it can be shared."""
        kind, params = self._kind(request), dict(request.query_params)
        if RUN not in params or kind.__name__ in self._commands:
            return html("try", view="try", **self._values(kind, params, {}))
        session = await self._site.sessions.of(request)
        result = await _result(session.query(kind.__name__, values_of(fields_of(kind), params)))
        response = html("try", view="try", **self._values(kind, params, result))
        return self._site.sessions.mark(response, request, session)

    async def run(self, request: Request) -> Response:
        """Execute a command under the key of the form, so that a form that is sent twice has one effect."""
        kind = self._kind(request)
        if kind.__name__ in self._queries:
            raise Problem(405, f"{kind.__name__} is a query: open the link of its form.", {"allow": "GET"})
        session = await self._site.sessions.of(request)
        with await self._site.bodies.read(request, FORM) as sent:
            key = sent.get(KEY, "")[:KEY_CHARS_MAX] or str(uuid7())
            values = values_of(fields_of(kind), sent)
            result = await _result(session.command(kind.__name__, values, idempotency_key=key), key)
            template = "try_part" if request.field(b"hx-request") else "try"
            response = html(template, view="try", **self._values(kind, sent, result))
            return self._site.sessions.mark(response, request, session)

    async def show_samples(self, request: Request) -> Response:
        """Respond with the same call to copy, for the present texts of a form."""
        kind = self._kind(request)
        with await self._site.bodies.read(request, FORM) as sent:
            return html("samples", **self._values(kind, sent, {}))

    def _kind(self, request: Request) -> type[Message]:
        name = request.path_params["type"]
        kind = self._commands.get(name) or self._queries.get(name)
        if kind is None:
            known = nearest(name[:100], [*self._commands, *self._queries])
            raise Problem(404, f"The application has no command and no query {name[:100]!r}{known}")
        return kind

    def _values(self, kind: type[Message], form: Mapping[str, str], result: dict[str, Any]) -> dict[str, Any]:
        """Return the values of the template."""
        name, fields = kind.__name__, fields_of(kind)
        values = values_of(fields, form) if form else {}
        problems: list[FieldProblem] = result.get("problems", [])
        return {
            "type": name,
            "about": about(kind),
            "is_command": name in self._commands,
            "fields": fields,
            "texts": texts_of(fields, form),
            "errors": {each.name: [one.text for one in problems if _is_at(each.name, one.field)] for each in fields},
            "result": result,
            "key": result.get("key") or str(uuid7()),
            "samples": self._samples(name, values),
            "commands": list(self._commands),
            "queries": list(self._queries),
        }

    def _samples(self, name: str, values: dict[str, Any]) -> list[Sample]:
        site = self._site
        return samples(site.curl, site.settings.browser_origin, name, values, is_command=name in self._commands)


async def _result(call: Any, key: str = "") -> dict[str, Any]:
    """Return the result of a call, or its problems. The form keeps the key of a command with an unknown outcome."""
    try:
        answer = await call
    except Rejected as error:
        return {"problems": error.problems}
    except Executed as error:
        return {"error": str(error), "executed": True, "sent_key": key}
    except DualbusError as error:
        unknown = not error.outcome_known
        return {"error": str(error), "unknown": unknown, "sent_key": key, **({"key": key} if unknown else {})}
    if not key:
        return {"answer": _pretty(answer)}
    return {"events": [(one["type"], _pretty(one["payload"])) for one in answer.events], "sent_key": key,
            "position": answer.position, "repeated": answer.repeated}  # fmt: skip


def _pretty(value: Any) -> str:
    return to_json(value, indent=2).decode()


def _is_at(field: str, path: str | None) -> bool:
    """Return whether the path of a problem leads to a field of the message, or into the field."""
    return field_steps(path or "")[:1] == [field]
