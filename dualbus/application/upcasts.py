"""Events whose shape has changed: how a record that an earlier version wrote is read by this one.

A record in the log names its shape by its type. An event that gets another shape gets another name, and an
upcast says what a record under the old name is today. Records themselves never change.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

Fields = dict[str, Any]


def _same(fields: Fields) -> Fields:
    return fields


@dataclass(frozen=True, slots=True)
class Upcast:
    """What a record of an old type is today: `to`, the next type, and `change`, from its fields to that one's.

    `to` may be an old type itself: then its upcast goes on from there. It may be the same type, if the name had
    to stay; `change` then sees the records of today too, and must return them as they are.
    """

    to: str
    change: Callable[[Fields], Fields] = _same


def upcast(upcasts: Mapping[str, Upcast], type_: str, data: str) -> bytes:
    """Return a record's JSON in the shape that its type has today."""
    fields = json.loads(data)
    while step := upcasts.get(type_):
        fields = step.change(fields)
        if step.to == type_:
            break
        type_ = step.to
    return to_json(fields)


def final_type(upcasts: Mapping[str, Upcast], type_: str) -> str:
    """Return the type that records of an old type have today."""
    while (step := upcasts.get(type_)) and step.to != type_:
        type_ = step.to
    return type_


def upcast_mistakes(upcasts: Mapping[str, Upcast], events: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each upcast that leads nowhere, in a circle, or away from an event that is still there."""
    for name, step in upcasts.items():
        if not callable(step.change):
            yield f"The upcast of {name} has {step.change!r} as its change, which is not a function."
        if name in events and step.to != name:
            yield (
                f"{name} is still an event of the application, and its records are upcast to {step.to}: "
                "remove the class, or the upcast."
            )
        elif step.to not in events and step.to not in upcasts:
            yield f"The upcast of {name} leads to {step.to}, which is not an event of the application."
        elif name not in events and name in _passed(upcasts, step.to):
            yield f"The upcast of {name} leads back to {name}: let one of them lead to an event of the application."


def _passed(upcasts: Mapping[str, Upcast], type_: str) -> set[str]:
    passed = {type_}
    while (step := upcasts.get(type_)) and step.to not in passed:
        type_ = step.to
        passed.add(type_)
    return passed
