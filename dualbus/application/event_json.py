"""Events as JSON: the text in the log, and the payload of a reply.

Each event is read back before it is stored, and must be equal: a class alone cannot prove this,
because a serializer or a validator of the application may change a value.
"""

from functools import cache
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator, from_json

from dualbus.application.causes import cause
from dualbus.application.equality import changed_names, same
from dualbus.application.json_validation import has_functions, json_validator
from dualbus.application.messages import Event, private_fields, tag_fields
from dualbus.application.plain import is_plain, plain_fields
from dualbus.application.tags import tag_text
from dualbus.protocol.codes import WireError
from dualbus.protocol.values import check

E = TypeVar("E", bound=Event)


def stored(event: Event) -> tuple[str, dict[str, Any]]:
    """Return all fields, also private fields, as JSON and decoded; raise WireError for an event that would change.

    Aliases are for messages from outside; the log uses the names of the fields.
    """
    kind, values = type(event), event.__dict__
    plain = plain_fields(kind)
    try:
        data = _json(event)
        if plain and is_plain(values, plain):
            return data.decode(), values
        read = from_text(kind, data)
    except PydanticSerializationError as error:
        raise WireError(f"{kind.__name__} has no form in JSON.") from error
    except ValidationError as error:
        raise WireError(f"{kind.__name__} could not be read back: {cause(error, kind.model_fields)}.") from error
    fields = from_json(data)
    check(fields)
    if not same(event, read):
        raise WireError(f"{kind.__name__} is not the same when it is read back: {changed_names(event, read)}.")
    return data.decode(), fields


def to_text(event: Event) -> str:
    """Return all fields as JSON; raise WireError for an event that would change."""
    return stored(event)[0]


def _json(event: Event) -> bytes:
    return type(event).__pydantic_serializer__.to_json(event, by_alias=False, round_trip=True, warnings=False)


def from_text(kind: type[E], data: str | bytes) -> E:
    """Return the event of the JSON of `to_text`; raise ValidationError if the class does not accept the JSON."""
    event: E = _validator(kind).validate_json(data, by_alias=False, by_name=True)
    return event


@cache
def _validator(kind: type[Event]) -> SchemaValidator:
    own = cast("SchemaValidator", kind.__pydantic_validator__)
    return json_validator(kind, by_name=True) if has_functions(kind) else own


def fields_of(event: Event) -> dict[str, Any]:
    """Return the JSON-like fields of an event of the log, which was read back before it was stored."""
    fields: dict[str, Any] = from_json(_json(event))
    return fields


def public(kind: type[Event], fields: dict[str, Any]) -> dict[str, Any]:
    """Return type and payload of an event for a reply, without private fields."""
    if hidden := private_fields(kind):
        fields = fields.copy()
        for name in hidden:
            fields.pop(name, None)
    return {"type": kind.__name__, "payload": fields}


def shown(event: Event) -> dict[str, Any]:
    """Return type and payload of an event for a reply, without private fields."""
    return public(type(event), stored(event)[1])


def tags(event: Event) -> list[tuple[str, str]]:
    """Return names and texts of the tags of an event. Each value of a list adds a tag; None adds no tag."""
    found: list[tuple[str, str]] = []
    for field, name in tag_fields(type(event)):
        value = getattr(event, field)
        if type(value) is str:
            found.append((name, value))
        elif isinstance(value, list | tuple | set | frozenset):
            found += [(name, tag_text(item)) for item in value if item is not None]
        elif value is not None:
            found.append((name, tag_text(value)))
    return found
