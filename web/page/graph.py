"""The graph of an application, from commands through events and projections to queries, with places on a plane."""

from typing import NamedTuple

from dualbus.application.app import App

WIDTH = 1000
NODE_HEIGHT, GAP, TOP = 30, 12, 34
_NODE_WIDTH = 160
NAME_CHARS_MAX = 20
_TITLES = {
    "command": "Commands",
    "event": "Events",
    "reaction": "Reactions",
    "projection": "Projections",
    "query": "Queries",
}


class Node(NamedTuple):
    """A message, a reaction or a projection."""

    id: str
    name: str
    kind: str
    x: int
    y: int

    @property
    def short(self) -> str:
        """The name, shortened to the width of the node."""
        return self.name if len(self.name) <= NAME_CHARS_MAX else f"{self.name[: NAME_CHARS_MAX - 1]}…"


class Edge(NamedTuple):
    """A line between two nodes; `back` from a reaction to its commands."""

    first: str
    last: str
    path: str
    back: bool


class Graph:
    """Nodes in columns, and the edges between them."""

    width, node_width, node_height = WIDTH, _NODE_WIDTH, NODE_HEIGHT

    def __init__(self, app: App) -> None:
        links = _links(app)
        names = {
            "command": list(app.command_types),
            "event": list(app.event_types),
            **({"reaction": list(app.reactors)} if app.reactors else {}),
            "projection": [projection.name for projection in app.projections],
            "query": list(app.query_types),
        }
        rows = max(1, *map(len, names.values()))
        self.height = TOP + rows * (NODE_HEIGHT + GAP)
        self.titles: list[tuple[str, int]] = []
        places: dict[str, Node] = {}
        for number, (kind, members) in enumerate(names.items()):
            x = number * (WIDTH - _NODE_WIDTH) // (len(names) - 1)
            self.titles.append((_TITLES[kind], x))
            ordered = _ordered([f"{kind}/{name}" for name in members], links, places)
            y = TOP + (rows - len(ordered)) * (NODE_HEIGHT + GAP) // 2
            for id_ in ordered:
                places[id_] = Node(id_, id_.partition("/")[2], kind, x, y)
                y += NODE_HEIGHT + GAP
        self.nodes = list(places.values())
        self.edges = [_edge(places[first], places[last]) for first, last in links]


def _links(app: App) -> list[tuple[str, str]]:
    """Return the pairs of ids with an edge. A query reads the read model, so it has an edge from each projection."""
    found = [
        (f"command/{command.__name__}", f"event/{event.__name__}")
        for command, decider in app.decisions.items()
        for event in decider.events
    ]
    for name, kind in app.event_types.items():
        found += [(f"event/{name}", f"projection/{one.projection}") for one in app.subscribers[kind]]
    for name, reactors in app.reactors.items():
        found += [(f"event/{event.__name__}", f"reaction/{name}") for event in reactors.by_event]
        found += [(f"reaction/{name}", f"command/{kind.__name__}") for kind in reactors.yields()]
    found += [(f"projection/{one.name}", f"query/{query}") for one in app.projections for query in app.query_types]
    return sorted(dict.fromkeys(found))


def _ordered(ids: list[str], links: list[tuple[str, str]], places: dict[str, Node]) -> list[str]:
    """Return the ids of a column in the order of their neighbours on the left, so that few edges cross."""

    def height(id_: str) -> float:
        ys = [places[first].y for first, last in links if last == id_ and first in places]
        return sum(ys) / len(ys) if ys else 0.0

    return sorted(ids, key=height)


def _edge(first: Node, last: Node) -> Edge:
    back = last.x < first.x
    x, end = (first.x, last.x + _NODE_WIDTH) if back else (first.x + _NODE_WIDTH, last.x)
    y, end_y = first.y + NODE_HEIGHT // 2, last.y + NODE_HEIGHT // 2
    middle = (x + end) // 2
    return Edge(first.id, last.id, f"M{x} {y} C{middle} {y} {middle} {end_y} {end} {end_y}", back)
