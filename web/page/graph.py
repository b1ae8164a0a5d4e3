"""The graph of an application, from commands through events and projections to queries, with places on a plane."""

from typing import NamedTuple

from dualbus.application.app import App

WIDTH = 1000
_NODE_WIDTH, NODE_HEIGHT, GAP, TOP = 190, 30, 12, 34
NAME_CHARS_MAX = 24
_LAYERS = ("command", "event", "projection", "query")
_TITLES = ("Commands", "Events", "Projections", "Queries")


class Node(NamedTuple):
    """A message or a projection."""

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
    """A line between two nodes."""

    first: str
    last: str
    path: str


class Graph:
    """Nodes in four columns, and the edges between neighbouring columns."""

    width, node_width, node_height = WIDTH, _NODE_WIDTH, NODE_HEIGHT

    def __init__(self, app: App) -> None:
        links = _links(app)
        names = {
            "command": list(app.command_types),
            "event": list(app.event_types),
            "projection": [projection.name for projection in app.projections],
            "query": list(app.query_types),
        }
        rows = max(1, *map(len, names.values()))
        self.height = TOP + rows * (NODE_HEIGHT + GAP)
        self.titles: list[tuple[str, int]] = []
        self.nodes: list[Node] = []
        places: dict[str, Node] = {}
        for number, kind in enumerate(_LAYERS):
            x = number * (WIDTH - _NODE_WIDTH) // (len(_LAYERS) - 1)
            self.titles.append((_TITLES[number], x))
            ordered = _ordered([f"{kind}/{name}" for name in names[kind]], links, places)
            y = TOP + (rows - len(ordered)) * (NODE_HEIGHT + GAP) // 2
            for id_ in ordered:
                places[id_] = Node(id_, id_.partition("/")[2], kind, x, y)
                y += NODE_HEIGHT + GAP
        self.nodes = list(places.values())
        self.edges = [Edge(first, last, _path(places[first], places[last])) for first, last in links]


def _links(app: App) -> list[tuple[str, str]]:
    """Return the pairs of ids with an edge. A query reads the read model, so it has an edge from each projection."""
    found = [
        (f"command/{command.__name__}", f"event/{event.__name__}")
        for command, decider in app.decisions.items()
        for event in decider.events
    ]
    for name, kind in app.event_types.items():
        found += [(f"event/{name}", f"projection/{one.projection}") for one in app.subscribers[kind]]
    found += [(f"projection/{one.name}", f"query/{query}") for one in app.projections for query in app.query_types]
    return list(dict.fromkeys(found))


def _ordered(ids: list[str], links: list[tuple[str, str]], places: dict[str, Node]) -> list[str]:
    """Return the ids of a column in the order of their neighbours on the left, so that few edges cross."""

    def height(id_: str) -> float:
        ys = [places[first].y for first, last in links if last == id_ and first in places]
        return sum(ys) / len(ys) if ys else 0.0

    return sorted(ids, key=height)


def _path(first: Node, last: Node) -> str:
    x, y, end, end_y = first.x + _NODE_WIDTH, first.y + NODE_HEIGHT // 2, last.x, last.y + NODE_HEIGHT // 2
    middle = (x + end) // 2
    return f"M{x} {y} C{middle} {y} {middle} {end_y} {end} {end_y}"
