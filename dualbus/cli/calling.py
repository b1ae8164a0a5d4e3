"""dualbus command, dualbus query"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from dualbus.application.loader import load
from dualbus.application.messages import Message
from dualbus.cli import output
from dualbus.cli.describing import json_types
from dualbus.cli.names import find, nearest
from dualbus.cli.settings import settings
from dualbus.client.client import Client
from dualbus.client.errors import Error, Refused

Fields = Annotated[list[str] | None, typer.Argument(metavar="[FIELD=VALUE]...", help="Lists and objects as JSON.")]
Timeout = Annotated[float | None, typer.Option(min=0.001, max=3600, help="Seconds; DUALBUS_TIMEOUT_MS if not given.")]


def command(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="Such as CreateUser; see `dualbus describe`.")],
    fields: Fields = None,
    key: Annotated[
        str | None, typer.Option(help="An idempotency key: what was done under it is not done again.")
    ] = None,
    timeout: Timeout = None,
) -> None:
    """Send a command; print its events and position."""
    ours = settings()
    given = _fields(find("command", type_, load(ours.app).command_types), fields or ())
    with Client(ours.front, timeout=timeout or ours.timeout_ms / 1000) as client:
        try:
            result = client.command(type_, given, idempotency_key=key)
        except Error as problem:
            raise output.CliError(_sentences(problem)) from None
    _print({"events": result.events, "position": result.position})


def query(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="Such as GetUser; see `dualbus describe`.")],
    fields: Fields = None,
    timeout: Timeout = None,
) -> None:
    """Print the answer to a query."""
    ours = settings()
    given = _fields(find("query", type_, load(ours.app).query_types), fields or ())
    with Client(ours.front, timeout=timeout or ours.timeout_ms / 1000) as client:
        try:
            answer = client.query(type_, given)
        except Error as problem:
            raise output.CliError(_sentences(problem)) from None
    _print(answer)


def _fields(kind: type[Message], pairs: Sequence[str]) -> dict[str, Any]:
    """Return the values of the fields; the cluster checks them."""
    schema = kind.model_json_schema()
    properties: Mapping[str, Any] = schema.get("properties", {})
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise output.WrongUse(f"{pair!r} gives no field a value: write FIELD=VALUE.")
        if name not in properties:
            raise output.WrongUse(f"{kind.__name__} has no field {name!r}{nearest(name, properties)}")
        if name in found:
            raise output.WrongUse(f"{name} is given twice: give it once.")
        found[name] = _value(text, json_types(properties[name]))
    return found


def _value(text: str, types: Sequence[str]) -> Any:
    """Return a value by the type of its field: text as it is, anything else as JSON where possible."""
    if list(types) == ["string"]:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if _json_type(value) in types or "string" not in types else text


def _json_type(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    kinds = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def _sentences(problem: Error) -> str:
    if isinstance(problem, Refused):
        return "\n".join(problem.errors)
    return str(problem)


def _print(value: object) -> None:
    """Print a result: indented at a terminal, on one line otherwise."""
    output.line(json.dumps(value, ensure_ascii=False, indent=2) if sys.stdout.isatty() else json.dumps(value))
