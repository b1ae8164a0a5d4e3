"""dualbus command, dualbus query"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Any

import typer

from dualbus.application.errors import DualbusError, Rejected
from dualbus.application.json_schemas import message_schema
from dualbus.application.loader import load
from dualbus.application.messages import Message
from dualbus.application.names import nearest
from dualbus.cli import output
from dualbus.cli.names import find
from dualbus.cli.settings import settings
from dualbus.client.client import Client
from dualbus.protocol.codec import unique
from dualbus.protocol.codes import WireError
from dualbus.protocol.numbers import read_number
from dualbus.protocol.values import DEPTH_MAX
from dualbus.runtime.printable import printable
from dualbus.runtime.settings import OFF

Fields = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FIELD=VALUE]...", help="Values of the fields; lists and objects as JSON."),
]
Timeout = Annotated[
    float | None, typer.Option(min=0.001, max=3600, help="Seconds to wait; default: DUALBUS_TIMEOUT_MS.")
]


def command(
    type_: Annotated[
        str, typer.Argument(metavar="TYPE", help="Type of the command, such as CreateUser; see `dualbus describe`.")
    ],
    fields: Fields = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: a command with the same key runs at most once.")
    ] = None,
    timeout: Timeout = None,
) -> None:
    """Execute a command and print its events.

    Also prints the position of the log after the events.
    """
    values = _fields(find("command", type_, load(settings().app).command_types), fields or ())
    with _client(timeout) as client:
        result = client.command(type_, values, idempotency_key=key)
    _print({"events": result.events, "position": result.position})


def query(
    type_: Annotated[
        str, typer.Argument(metavar="TYPE", help="Type of the query, such as GetUser; see `dualbus describe`.")
    ],
    fields: Fields = None,
    timeout: Timeout = None,
) -> None:
    """Execute a query and print its answer."""
    values = _fields(find("query", type_, load(settings().app).query_types), fields or ())
    with _client(timeout) as client:
        answer = client.query(type_, values)
    _print(answer)


@contextmanager
def _client(timeout: float | None) -> Iterator[Client]:
    """Provide a client whose errors are those of the command line."""
    ours = settings()
    with Client(ours.fronts, timeout=timeout or ours.timeout_ms / 1000, keys=ours.keys or OFF) as client:
        try:
            yield client
        except Rejected as rejected:
            raise output.CliError("\n".join(map(printable, rejected.errors))) from None
        except DualbusError as problem:
            raise output.CliError(str(problem)) from None


def _fields(kind: type[Message], pairs: Sequence[str]) -> dict[str, Any]:
    """Return the values of the fields; the cluster validates them."""
    schema = message_schema(kind)
    properties: Mapping[str, Any] = schema.get("properties", {})
    models: Mapping[str, Any] = schema.get("$defs", {})
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise output.WrongUse(f"{pair!r} has no value: write FIELD=VALUE.")
        if name not in properties:
            raise output.WrongUse(f"{kind.__name__} has no field {name!r}{nearest(name, properties)}")
        if name in values:
            raise output.WrongUse(f"Duplicate field {name}: write it once.")
        values[name] = _value(text, list(_parts(properties[name], models)))
    return values


def _value(text: str, parts: Sequence[Mapping[str, Any]]) -> Any:
    """Parse a value for the schemas of its field: a name of an enum or text as it is, otherwise JSON, if valid."""
    types = {part.get("type") for part in parts}
    if types == {"string"} or any(text in part.get("enum", [part.get("const")]) for part in parts):
        return text
    try:
        value = json.loads(text, parse_float=read_number, object_pairs_hook=unique)
    except WireError as error:
        raise output.WrongUse(f"{text}: {error}") from None
    except RecursionError:
        raise output.WrongUse(f"A value is nested more than {DEPTH_MAX} deep: use fewer levels.") from None
    except ValueError:
        return text
    return value if _json_type(value) in types or "string" not in types else text


def _parts(schema: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schema of a field, or those of the members of its union."""
    if reference := schema.get("$ref", "").rpartition("/")[2]:
        schema = models.get(reference, {})
    members = schema.get("anyOf") or schema.get("oneOf")
    if not members:
        yield schema
    for member in members or ():
        yield from _parts(member, models)


def _json_type(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    kinds = {int: "integer", float: "number", Decimal: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def _print(value: object) -> None:
    """Print a result: indented on a terminal, else on a single line."""
    output.line(json.dumps(value, ensure_ascii=False, indent=2) if sys.stdout.isatty() else json.dumps(value))
