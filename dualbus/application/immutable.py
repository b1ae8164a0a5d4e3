"""Events for several functions: none of them sees the changes of another, such as of a list that it has sorted."""

from copy import deepcopy
from functools import cache
from typing import TypeVar

from dualbus.application.messages import Event
from dualbus.application.schemas import nodes

E = TypeVar("E", bound=Event)

_MODEL = ("model", "model-fields", "model-field", "default", "nullable", "union")
_TIMES = ("date", "datetime", "time", "timedelta")
_ATOMS = ("str", "int", "float", "bool", "none", "decimal", "uuid", "bytes", "enum", "literal", *_TIMES)


@cache
def is_immutable(kind: type[Event]) -> bool:
    """Return whether a class has only values that no function can change, as pydantic's schema of the class shows."""
    types = [found for node in nodes(kind.__pydantic_core_schema__) if isinstance(found := node.get("type"), str)]
    return types.count("model") == 1 and not kind.__private_attributes__ and {*types} <= {*_MODEL, *_ATOMS}


def own_event(event: E) -> E:
    """Return an event for a function alone: a copy, unless its values are immutable."""
    return event if is_immutable(type(event)) else deepcopy(event)
