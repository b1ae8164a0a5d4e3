"""dualbus describe"""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from dualbus.application.app import App
from dualbus.application.loader import load
from dualbus.application.messages import Event, Message, private_fields, tag_fields
from dualbus.cli import output
from dualbus.cli.graph import graph
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
        bool, typer.Option("--json", help="Print a JSON object with the schema of every message.")
    ] = False,
    as_graph: Annotated[
        bool, typer.Option("--graph", help="Print a Mermaid flowchart from commands to queries.")
    ] = False,
) -> None:
    """Show the messages and functions of the application.

    Needs no running cluster.
    """
    name = settings().app
    app = load(name)
    if as_json:
        output.json_line({"app": name, **_described(app)})
        return
    if as_graph:
        for line in graph(app):
            output.line(line)
        return
    for what, kinds in (("Command", app.decisions), ("Query", app.answers), ("Event", app.event_types.values())):
        rows = [(kind.__name__, _fields(kind), _about(kind)) for kind in kinds]
        output.show(output.table([what, "Fields", "Description"], rows))
    projections = [(each.name, each.version, ", ".join(events_of(app, each.name))) for each in app.projections]
    output.show(output.table(["Projection", "Version", "On"], projections))
    if app.reactions:
        rows = [(one.name, _names(app.reactors[one.name].by_event), str(one.since)) for one in app.reactions]
        output.show(output.table(["Reaction", "On", "Since"], rows))


def _described(app: App) -> dict[str, Any]:
    return {
        "commands": [_message(kind) for kind in app.decisions],
        "queries": [_message(kind) for kind in app.answers],
        "events": [
            {
                **_message(kind),
                "tags": dict(tag_fields(kind)),
                "private": sorted(private_fields(kind)),
            }
            for kind in app.event_types.values()
        ],
        "projections": [
            {"name": one.name, "version": one.version, "on": events_of(app, one.name)} for one in app.projections
        ],
        "reactions": [
            {
                "name": name,
                "on": [kind.__name__ for kind in reactors.by_event],
                "commands": [kind.__name__ for kind in reactors.yields()],
                "schedules": {type_: [every.schedule, every.zone] for type_, every in reactors.schedules.items()},
                "since": reactors.reaction.since,
            }
            for name, reactors in app.reactors.items()
        ],
    }


def _names(kinds: Iterable[type[Message]]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)


def events_of(app: App, projection: str) -> list[str]:
    """Return the types of the events that a projection applies."""
    applied = app.subscribers.items()
    return [kind.__name__ for kind, subscribers in applied if projection in {one.projection for one in subscribers}]


def _message(kind: type[Message]) -> dict[str, Any]:
    return {"type": kind.__name__, "about": _about(kind), "schema": kind.model_json_schema()}


def _about(kind: type[Message]) -> str:
    text = (vars(kind).get("__doc__") or "").strip()
    return " ".join(text.split("\n\n")[0].split())


def _fields(kind: type[Message]) -> str:
    schema = kind.model_json_schema()
    required = schema.get("required", ())
    tags = dict(tag_fields(kind)) if issubclass(kind, Event) else {}
    private = private_fields(kind) if issubclass(kind, Event) else ()
    shown = []
    for name, field in schema.get("properties", {}).items():
        marks = [_type_text(field, schema.get("$defs", {}), ())]
        marks += [] if name in required else [f"default {field.get('default')!r}"]
        marks += [f"tag {tags[name]}"] if name in tags else []
        marks += ["private"] if name in private else []
        shown.append(f"{name} ({', '.join(marks)})")
    return ", ".join(shown)


def _type_text(field: dict[str, Any], models: dict[str, Any], within: tuple[str, ...]) -> str:
    """Return the type of a field as text; of a nested model, its fields."""
    if reference := field.get("$ref", "").rpartition("/")[2]:
        model = models.get(reference, {})
        if "properties" not in model or reference in within:
            return reference if reference in within else _type_text(model, models, within)
        inner = (
            f"{name}: {_type_text(one, models, (*within, reference))}" for name, one in model["properties"].items()
        )
        return f"{reference} {{{', '.join(inner)}}}"
    if "enum" in field:
        return " | ".join(map(repr, field["enum"]))
    if parts := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(_type_text(part, models, within) for part in parts))
    if "items" in field:
        return f"list of {_type_text(field['items'], models, within)}"
    name = str(field.get("type", "any value"))
    return _WORDS.get(name, name)
