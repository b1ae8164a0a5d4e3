"""The graph of an application in Mermaid: from commands to events, projections, reactions and queries."""

import re
from collections.abc import Iterator

from dualbus.application.app import App


def graph(app: App) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart."""
    yield "flowchart LR"
    for command, decider in app.decisions.items():
        yield f'    {_id("c", command.__name__)}["{command.__name__}"]'
        for event in decider.events:
            yield f"    {_id('c', command.__name__)} --> {_id('e', event.__name__)}"
    for name, kind in app.event_types.items():
        yield f'    {_id("e", name)}(["{name}"])'
        for subscribed in dict.fromkeys(one.projection for one in app.subscribers[kind]):
            yield f"    {_id('e', name)} --> p_{subscribed}"
    for name, reactors in app.reactors.items():
        yield f'    {_id("r", name)}{{{{"{name}"}}}}'
        for event in reactors.by_event:
            yield f"    {_id('e', event.__name__)} --> {_id('r', name)}"
        for command in reactors.yields():
            yield f"    {_id('r', name)} --> {_id('c', command.__name__)}"
    yield '    subgraph model["read model"]'
    for projection in app.projections:
        yield f'        p_{projection.name}[("{projection.name}")]'
    yield "    end"
    for name in app.query_types:
        yield f'    {_id("q", name)}["{name}"]'
        yield f"    model --> {_id('q', name)}"


def _id(kind: str, name: str) -> str:
    """Return the id of a node, with codes in place of the signs in a name: e_Moved_5b_int_5d_ for Moved[int]."""
    return f"{kind}_" + re.sub(r"\W", lambda sign: f"_{ord(sign[0]):x}_", name)
