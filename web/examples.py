"""Examples of values, from JSON schemas."""

from collections.abc import Mapping
from typing import Any

from dualbus.application.error_text import EMAIL_PATTERN

DEPTH_MAX = 8
FORMATS = {
    "uuid": "0190b5d2-6f8a-7c3e-9d41-5b7a2c9e8f10",
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "duration": "PT15M",
    "email": "ada@example.org",
    "uri": "https://example.org/",
    "binary": "",
    "base64": "AAEC",
}
Schema = Mapping[str, Any]


def example(schema: Schema, shared: Mapping[str, Schema], depth: int = 0) -> Any:
    """Return a value of a schema; None if the schema has only null, or a pattern."""
    if depth > DEPTH_MAX:
        return None
    for given in ("examples", "enum"):
        if schema.get(given):
            return schema[given][0]
    for given in ("const", "default"):
        if schema.get(given) is not None:
            return schema[given]
    if reference := schema.get("$ref"):
        return example(shared.get(reference.rpartition("/")[2], {}), shared, depth + 1)
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        found = (example(each, shared, depth + 1) for each in sorted(alternatives, key=_pattern_last))
        return next((value for value in found if value is not None), None)
    return _of_type(schema, shared, depth)


def _of_type(schema: Schema, shared: Mapping[str, Schema], depth: int) -> Any:
    match schema.get("type"):
        case "string":
            return _text(schema)
        case "integer":
            return int(schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1))
        case "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0.5) + 1)
        case "boolean":
            return True
        case "array":
            item = example(schema.get("items", {}), shared, depth + 1)
            return [] if item is None else [item] * max(1, schema.get("minItems", 1))
        case "object":
            return message_example(schema, shared, depth)
    return None


def message_example(schema: Schema, shared: Mapping[str, Schema], depth: int = 0) -> dict[str, Any]:
    """Return a value of an object's schema: the required fields, and fields without a default."""
    required = schema.get("required", ())
    found = {
        name: example(field, shared, depth + 1)
        for name, field in schema.get("properties", {}).items()
        if name in required
    }
    return {name: value for name, value in found.items() if value is not None}


def _text(schema: Schema) -> str | None:
    if schema.get("pattern") == EMAIL_PATTERN:
        return FORMATS["email"]
    if "pattern" in schema:
        return None
    text = FORMATS.get(schema.get("format", ""), "text")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", 1000)]


def _pattern_last(schema: Schema) -> bool:
    return "pattern" in schema
