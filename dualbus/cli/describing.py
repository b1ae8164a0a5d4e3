"""dualbus describe"""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from dualbus.application.app import App
from dualbus.application.descriptions import about, events_of, fields_text
from dualbus.application.json_schemas import message_schema
from dualbus.application.loader import load
from dualbus.application.messages import Message, private_fields, tag_fields
from dualbus.cli import output
from dualbus.cli.graph import graph
from dualbus.cli.settings import settings


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
        rows = [(kind.__name__, fields_text(kind), about(kind)) for kind in kinds]
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


def _message(kind: type[Message]) -> dict[str, Any]:
    return {"type": kind.__name__, "about": about(kind), "schema": message_schema(kind)}
