"""The fields of a command or query for the wire.

A message is read back before it is sent, and must be equal: a serializer, a validator or a field of any type may
change a value, and the bus would decide on the changed value.
"""

from functools import cache
from typing import Any

from pydantic_core import PydanticSerializationError

from dualbus.application.equality import changed_names, same
from dualbus.application.forms import read_form
from dualbus.application.messages import Invalid, Message, has_json_values, parse
from dualbus.application.schemas import holds
from dualbus.protocol.codes import WireError


def request_fields(message: Message) -> dict[str, Any]:
    """Return the fields of a message as JSON values; raise WireError for a message that would change."""
    kind = type(message)
    try:
        fields: dict[str, Any] = read_form(message)
        if _is_certain(kind):
            return fields
        read = parse(kind, fields)
    except Invalid:  # the bus refuses the message, with all sentences
        return fields
    except (PydanticSerializationError, UnicodeError) as error:  # bytes, or half a character, in a field of any type
        raise WireError(f"{kind.__name__} has no form in JSON.") from error
    if not same(message, read):
        raise WireError(f"{kind.__name__} is not the same when it is read back: {changed_names(message, read)}.")
    return fields


@cache
def _is_certain(kind: type[Message]) -> bool:
    """Return whether all messages of a class are read back equal: JSON has their values, no function changes them."""
    excluded = any(field.exclude for field in kind.model_fields.values())
    return has_json_values(kind) and not excluded and not holds(kind.__pydantic_core_schema__, _changes)


def _changes(node: dict[str, Any]) -> bool:
    return "serialization" in node or str(node.get("type")).startswith("function-")
