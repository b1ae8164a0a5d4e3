"""Descriptions of an application's messages in words, for people."""

from typing import Any

from dualbus.application.app import App
from dualbus.application.json_schemas import message_schema
from dualbus.application.messages import Event, Message, private_fields, tag_fields

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
    "null": "null",
}


def events_of(app: App, projection: str) -> list[str]:
    """Return the types of the events that a projection applies."""
    applied = app.subscribers.items()
    return [kind.__name__ for kind, subscribers in applied if projection in {one.projection for one in subscribers}]


def about(kind: type[Message]) -> str:
    """Return the first paragraph of a message's docstring."""
    text = (vars(kind).get("__doc__") or "").strip()
    return " ".join(text.split("\n\n")[0].split())


def fields_text(kind: type[Message]) -> str:
    """Return the fields of a message with types, defaults, tags and marks."""
    schema = message_schema(kind)
    required = schema.get("required", ())
    tags = dict(tag_fields(kind)) if issubclass(kind, Event) else {}
    private = private_fields(kind) if issubclass(kind, Event) else ()
    shown = []
    for name, field in schema.get("properties", {}).items():
        marks = [_type_text(field, schema.get("$defs", {}), ())]
        marks += [] if name in required else [f"default {field.get('default')!r}"]
        marks += [f"tag {tags[name]}"] if name in tags else []
        marks += ["private"] if name in private else []
        shown.append(f"{name} ({', '.join(marks)})")
    return ", ".join(shown)


def _type_text(field: dict[str, Any], models: dict[str, Any], within: tuple[str, ...]) -> str:
    """Return the type of a field as text; of a nested model, its fields."""
    if reference := field.get("$ref", "").rpartition("/")[2]:
        model = models.get(reference, {})
        if "properties" not in model or reference in within:
            return reference if reference in within else _type_text(model, models, within)
        inner = (
            f"{name}: {_type_text(one, models, (*within, reference))}" for name, one in model["properties"].items()
        )
        return f"{reference} {{{', '.join(inner)}}}"
    if "enum" in field:
        return " | ".join(map(repr, field["enum"]))
    if parts := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(_type_text(part, models, within) for part in parts))
    if "items" in field:
        return f"list of {_type_text(field['items'], models, within)}"
    name = str(field.get("type", "any value"))
    return _WORDS.get(name, name)
