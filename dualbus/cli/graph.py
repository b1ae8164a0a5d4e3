"""The graph of an application in Mermaid: from commands to events, projections, reactions and queries."""

from collections.abc import Iterator

from dualbus.application.app import App


def graph(app: App) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart."""
    yield "flowchart LR"
    for command, decider in app.decisions.items():
        yield f'    c_{command.__name__}["{command.__name__}"]'
        for event in decider.events:
            yield f"    c_{command.__name__} --> e_{event.__name__}"
    for name, kind in app.event_types.items():
        yield f'    e_{name}(["{name}"])'
        for subscribed in dict.fromkeys(one.projection for one in app.subscribers[kind]):
            yield f"    e_{name} --> p_{subscribed}"
    for name, reactors in app.reactors.items():
        yield f'    r_{name}{{{{"{name}"}}}}'
        for event in reactors.by_event:
            yield f"    e_{event.__name__} --> r_{name}"
        for command in reactors.yields():
            yield f"    r_{name} --> c_{command.__name__}"
    yield '    subgraph model["read model"]'
    for projection in app.projections:
        yield f'        p_{projection.name}[("{projection.name}")]'
    yield "    end"
    for name in app.query_types:
        yield f'    q_{name}["{name}"]'
        yield f"    model --> q_{name}"
