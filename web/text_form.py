"""The value of a text, in a query string or a form of the page, by the JSON schema of its field."""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Self

from dualbus.protocol.numbers import read_number

Schema = Mapping[str, Any]


class TextForm(NamedTuple):
    """The values of a field that are no list and no object."""

    choices: Mapping[str, Any]  # of an enum, a Literal or a bool, by text
    is_text: bool  # any text is a value
    has_numbers: bool

    @classmethod
    def of(cls, schemas: Sequence[Schema]) -> Self | None:
        """Return the form of the alternatives of a field; None if all are lists, objects and null.

        Text with a format, such as a date, beside a number: a text that is a number is the number.
        """
        schemas = [schema for schema in schemas if schema.get("type") not in ("array", "object", "null")]
        if not schemas:
            return None
        choices = {
            choice if isinstance(choice, str) else json.dumps(choice): choice
            for schema in schemas
            for choice in choices_of(schema)
        }
        others = [schema for schema in schemas if not choices_of(schema)]
        texts = [schema for schema in others if schema.get("type") in ("string", None)]
        has_numbers = len(texts) < len(others)
        is_text = any(not has_numbers or "format" not in schema for schema in texts)
        return cls(choices, is_text, has_numbers)

    def accepts(self, text: str) -> bool:
        """Return whether a text is perhaps a value; the cluster checks the value."""
        return text in self.choices or self.is_text or (self.has_numbers and not isinstance(self.value(text), str))

    def value(self, text: str) -> Any:
        """Return a choice, the text if any text is a value, otherwise a number; or the text."""
        if text in self.choices:
            return self.choices[text]
        if self.is_text:
            return text
        try:
            value = json.loads(text, parse_float=read_number, parse_constant=str)
        except (ValueError, RecursionError):
            return text
        return value if isinstance(value, int | float | Decimal) else text


def choices_of(schema: Schema) -> list[Any]:
    """Return the values of an enum, a constant or a bool."""
    if schema.get("type") == "boolean" and "const" not in schema and "enum" not in schema:
        return [True, False]
    return list(schema.get("enum", [schema["const"]] if "const" in schema else []))


def leaves(schema: Schema, root: Schema, depth: int = 0) -> Iterator[Schema]:
    """Yield the schemas of a field without references and alternatives."""
    if depth > 16:  # a recursive model
        return
    if reference := schema.get("$ref"):
        yield from leaves(root.get("$defs", {}).get(reference.rpartition("/")[2], {}), root, depth + 1)
        return
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    for each in alternatives or ():
        yield from leaves(each, root, depth + 1)
    if not alternatives:
        yield schema
