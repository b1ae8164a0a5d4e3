"""The fields of a form, from the schema of a message; and the values of the texts in a form."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dualbus.application.json_schemas import message_schema
from dualbus.application.messages import Message
from dualbus.protocol.numbers import read_number

from ..text_form import Schema, TextForm, choices_of, leaves

PREFIX = "field."  # of the names of fields in a form
_HINTS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "duration": "PT15M",
    "uuid": "UUID",
    "integer": "whole number",
    "number": "number",
    "object": "JSON object",
}


class Field(NamedTuple):
    """A field of a form. `choices` are the texts to select from; the form of a list has a line for each item."""

    name: str
    widget: str  # text, number, select, lines or json
    required: bool
    hint: str
    default: str
    choices: tuple[str, ...]
    types: frozenset[str]  # the JSON types of its values
    single: TextForm | None  # its values that are no list and no object

    @property
    def input_name(self) -> str:
        """The name in the form."""
        return PREFIX + self.name


def fields_of(kind: type[Message]) -> list[Field]:
    """Return the fields of a message."""
    schema = message_schema(kind)
    required = schema.get("required", ())
    return [_field(name, field, schema, name in required) for name, field in schema.get("properties", {}).items()]


def _field(name: str, field: Schema, root: Schema, required: bool) -> Field:
    parts = list(leaves(field, root))
    types = frozenset(leaf["type"] for leaf in parts if isinstance(leaf.get("type"), str)) - {"null"}
    single = TextForm.of(parts)
    choices = tuple(single.choices) if single else ()
    others = [leaf for leaf in parts if leaf.get("type") != "null" and not choices_of(leaf)]
    default = "" if field.get("default") in (None, "") else _text(field["default"])
    hints = [*choices, *(_HINTS.get(leaf.get("format", leaf.get("type", "")), "") for leaf in others)]
    bounds = ", ".join(_bounds(parts))
    hint = " or ".join(dict.fromkeys(filter(None, hints)))
    items = [_types(leaf.get("items", {}), root) for leaf in parts if leaf.get("type") == "array"]
    if choices and not others:
        widget, hint = "select", ""
    elif types == {"array"} and items == [{"string"}]:
        widget, hint = "lines", "an item in each line"
    elif types & {"array", "object"} or not types:
        widget, hint = "json", hint or "JSON"
    else:
        widget = "number" if types <= {"integer", "number"} else "text"
    hint = ", ".join(filter(None, (hint, bounds)))
    return Field(name, widget, required, hint, default, choices, types, single)


def _bounds(parts: Sequence[Schema]) -> Iterator[str]:
    for leaf in parts:
        if "minimum" in leaf and "maximum" in leaf:
            yield f"{leaf['minimum']:,} to {leaf['maximum']:,}"
        elif "minimum" in leaf:
            yield f"at least {leaf['minimum']:,}"
        elif "maximum" in leaf:
            yield f"at most {leaf['maximum']:,}"
        if "maxLength" in leaf:
            yield f"at most {leaf['maxLength']:,} characters"


def _types(schema: Schema, root: Schema) -> set[Any]:
    return {leaf.get("type") for leaf in leaves(schema, root)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def values_of(fields: Sequence[Field], form: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a form, unchecked. An empty text is a missing value, unless the field requires text."""
    values: dict[str, Any] = {}
    for field in fields:
        text = form.get(field.input_name, "").replace("\r\n", "\n")
        if text or (field.required and field.types == {"string"}):
            values[field.name] = _value(field, text)
    return values


def _value(field: Field, text: str) -> Any:
    """Return the value of a text, unchecked: for a list or an object, its JSON."""
    if field.widget == "lines":
        return text.strip("\n").split("\n")
    if field.widget != "json":
        return field.single.value(text) if field.single else text
    try:
        value = json.loads(text, parse_float=read_number, parse_constant=str)
    except (ValueError, RecursionError):
        return text
    if field.types and field.single and not isinstance(value, list | dict):
        return field.single.value(text)
    return value


def texts_of(fields: Sequence[Field], params: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of a form by field; those of a new form are the defaults."""
    return {field.name: params.get(field.input_name, field.default) for field in fields}
