"""Upcasts: conversion of old records to the current events.

The type of a record names its schema. An event with a new schema needs a new name, and an upcast converts records of
the old name when they are read. Records in the log never change.
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
    """The conversion of an old type's records: `to` is the next type, and `change` converts the fields.

    `to` can be an old type too; its upcast runs next. If `to` is the same type, `change` also receives current
    records and must return these unchanged.
    """

    to: str
    change: Callable[[Fields], Fields] = _same


def upcast(upcasts: Mapping[str, Upcast], type_: str, data: str) -> bytes:
    """Return the JSON of a record in the current schema."""
    fields = json.loads(data)
    while step := upcasts.get(type_):
        fields = step.change(fields)
        if step.to == type_:
            break
        type_ = step.to
    return to_json(fields)


def final_type(upcasts: Mapping[str, Upcast], type_: str) -> str:
    """Return the current type of an old type's records."""
    while (step := upcasts.get(type_)) and step.to != type_:
        type_ = step.to
    return type_


def upcast_mistakes(upcasts: Mapping[str, Upcast], events: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each upcast to an unknown type, in a cycle, or from a current event."""
    for name, other in upcasts.items():
        if not isinstance(other, Upcast):
            yield f"The upcast of {name} is {other!r}, which is not an Upcast: write Upcast({other!r})."
    upcasts = {name: step for name, step in upcasts.items() if isinstance(step, Upcast)}
    for name, step in upcasts.items():
        if not callable(step.change):
            yield f"The change of the upcast of {name} is {step.change!r}, which is not a function."
        if name in events and step.to != name:
            yield (
                f"{name} is still an event of the application, and its records are upcast to {step.to}: "
                "remove the class, or the upcast."
            )
        elif step.to not in events and step.to not in upcasts:
            yield f"The upcast of {name} leads to {step.to}, which is not an event of the application."
        elif name not in events and name in _reachable(upcasts, step.to):
            yield f"The upcasts of {name} form a cycle: one of them must lead to an event of the application."


def _reachable(upcasts: Mapping[str, Upcast], type_: str) -> set[str]:
    found = {type_}
    while (step := upcasts.get(type_)) and step.to not in found:
        type_ = step.to
        found.add(type_)
    return found
