"""The picture of the cluster: a box for each process and file, and an edge for each way of messages."""

from typing import Any, NamedTuple

from .alarms import BUILDING, SILENT_SECONDS, level_of
from .html import number

WIDTH, HEIGHT = 1000, 330
_BOX_WIDTH, _BOX_HEIGHT = 140, 84
_COLUMNS, _ROWS = (0, 215, 430, 645, 860), (2, 123, 244)
_PLACES = {
    "clients": (0, 0),
    "web": (0, 2),
    "gateway": (1, 1),
    "querybus": (2, 0),
    "commandbus": (2, 2),
    "log": (3, 2),
    "projector": (4, 2),
    "read model": (4, 0),
    "reactor": (3, 1),
}


class Box(NamedTuple):
    """A process, a file, or the clients."""

    name: str
    level: str  # ok, warn, stop or plain
    state: str
    detail: str
    x: int
    y: int
    width: int = _BOX_WIDTH
    height: int = _BOX_HEIGHT


class Edge(NamedTuple):
    """A way of messages, with its rate and the place of the label."""

    path: str
    rate: float | None
    unit: str
    x: int
    y: int


class Picture:
    """The boxes and edges for a status and rates; without a status, with the positions of log and read model."""

    width, height = WIDTH, HEIGHT

    def __init__(
        self,
        status: dict[str, Any] | None,
        rates: dict[str, Any],
        http: float | None,
        *,
        reacts: bool,
        positions: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self._is_known = status is not None
        self._status = status or {"processes": [], "gateway": {}}
        self._positions = positions
        if status:
            self._positions = status["log_position"], status["read_model_position"]
        self._rates = rates
        self._http = http  # requests to the web process in a second
        self.boxes = [self._box(name) for name in _PLACES if reacts or name != "reactor"]
        self.edges = self._edges() + (self._edges_of_reactor() if reacts else [])

    def _box(self, name: str) -> Box:
        column, row = _PLACES[name]
        return Box(name, *self._described(name), _COLUMNS[column], _ROWS[row])

    def _described(self, name: str) -> tuple[str, str, str]:
        """Return the level, the state and a detail of a box."""
        gateway = self._status["gateway"]
        if name == "clients":
            return "plain", f"{gateway.get('clients', '–')} connected", ""
        if name == "web":
            return "ok", "running", "serves this page"
        if name == "log":
            return "plain", f"position {number(self._positions[0])}", ""
        if name == "read model":
            return "plain", f"position {number(self._positions[1])}", ""
        found = [process for process in self._status["processes"] if process["name"] == name]
        if not found and not self._is_known and name != "gateway":
            return "plain", "unknown", "the gateway reports it"
        if not found:
            return "stop", "no response", ""
        return *_state(found), _waiting(name, found, gateway)

    def _edges(self) -> list[Edge]:
        commands, queries, written, applied = map(self._rate, ("commands", "queries", "written", "applied"))
        total = None if commands is None or queries is None else commands + queries
        return [
            Edge("M140 44 H177 V146 H212", total, "requests/s", 177, 94),
            Edge("M140 286 H177 V184 H212", self._http, "HTTP/s", 177, 236),
            Edge("M355 146 H392 V44 H427", queries, "queries/s", 392, 94),
            Edge("M355 184 H392 V286 H427", commands, "commands/s", 392, 236),
            Edge("M570 286 H642", written, "events/s", 607, 264),
            Edge("M785 286 H857", applied, "events/s", 822, 264),
            Edge("M930 244 V89", applied, "applied/s", 930, 165),
            Edge("M860 44 H573", queries, "reads/s", 716, 22),
        ]

    def _edges_of_reactor(self) -> list[Edge]:
        return [
            Edge("M715 244 V210", self._rate("reacted"), "events/s", 757, 222),
            Edge("M645 165 H358", self._rate("caused"), "commands/s", 530, 157),
        ]

    def _rate(self, name: str) -> float | None:
        return self._rates.get(f"{name}_per_s")


def _state(found: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the level and the state of the processes of a name."""
    states = [process["state"] for process in found if "state" in process]
    levels = {level_of(state) for state in states}
    if "stop" in levels:
        return "stop", "stopped"
    if any(process.get("seen_s", 0.0) > SILENT_SECONDS for process in found):
        return "stop", "does not respond"
    if any("running" in process for process in found):
        return "warn", "slow handler"
    if "warn" in levels or BUILDING in states:
        return "warn", states[0].partition(" ")[0]
    return "ok", states[0] if states else ("running" if len(found) == 1 else f"{len(found)} running")


def _waiting(name: str, found: list[dict[str, Any]], gateway: dict[str, Any]) -> str:
    """Return the number of messages that wait at a process."""
    if name == "gateway":
        return f"{number(gateway['under_way'])} under way"
    if name in ("projector", "reactor"):
        return f"{number(found[0].get('lag_events', 0))} events behind"
    count = sum(process.get("queue", 0) for process in found) + gateway["queued"].get(name, 0)
    return f"{number(count)} waiting"
