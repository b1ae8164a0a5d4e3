"""dualbus describe"""

from typing import Annotated, Any

import typer

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.application.messages import Event, Message
from dualbus.cli import output
from dualbus.cli.settings import settings

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
    "null": "null",
}


def describe(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, with the schema of every message.")
    ] = False,
) -> None:
    """List the commands, queries, events and projections."""
    name = settings().app
    app = load(name)
    if as_json:
        output.json_line({"app": name, **_described(app)})
        return
    for what, kinds in (("Command", app.commands), ("Query", app.queries), ("Event", app.event_types.values())):
        rows = [(kind.__name__, _fields(kind), _about(kind)) for kind in kinds]
        output.show(output.table([what, "Fields", "What it is"], rows))
    made = [(one.name, one.version, ", ".join(kind.__name__ for kind in one.on)) for one in app.projections]
    output.show(output.table(["Projection", "Version", "On"], made))


def _described(app: App) -> dict[str, Any]:
    return {
        "commands": [_message(kind) for kind in app.commands],
        "queries": [_message(kind) for kind in app.queries],
        "events": [
            {
                **_message(kind),
                "tags": dict(kind.tag_fields),
                "private": sorted(kind.private_fields),
            }
            for kind in app.event_types.values()
        ],
        "projections": [
            {"name": one.name, "version": one.version, "on": [kind.__name__ for kind in one.on]}
            for one in app.projections
        ],
    }


def _message(kind: type[Message]) -> dict[str, Any]:
    return {"type": kind.__name__, "about": _about(kind), "schema": kind.model_json_schema()}


def _about(kind: type[Message]) -> str:
    said = (vars(kind).get("__doc__") or "").strip()
    return " ".join(said.split("\n\n")[0].split())


def _fields(kind: type[Message]) -> str:
    schema = kind.model_json_schema()
    required = schema.get("required", ())
    tags = dict(kind.tag_fields) if issubclass(kind, Event) else {}
    private = kind.private_fields if issubclass(kind, Event) else ()
    said = []
    for name, field in schema.get("properties", {}).items():
        marks = [" or ".join(_WORDS.get(one, one) for one in json_types(field)) or "any value"]
        marks += [] if name in required else [f"default {field.get('default')!r}"]
        marks += [f"tag {tags[name]}"] if name in tags else []
        marks += ["private"] if name in private else []
        said.append(f"{name} ({', '.join(marks)})")
    return ", ".join(said)


def json_types(schema: dict[str, Any]) -> list[str]:
    """Return the JSON types allowed by a field's schema; empty if unspecified."""
    found = [schema["type"]] if isinstance(schema.get("type"), str) else []
    for one in schema.get("anyOf", ()):
        found += json_types(one)
    return found
