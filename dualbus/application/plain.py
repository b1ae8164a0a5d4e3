"""Plain events: the types of their values prove that they are equal when they are read back from JSON."""

from functools import cache
from types import NoneType
from typing import Any

from dualbus.application.messages import Event
from dualbus.protocol.values import INT_MAX, INT_MIN

_TYPES = {"str": str, "int": int, "bool": bool, "none": NoneType}
_MODEL = frozenset({"type", "cls", "schema", "custom_init", "root_model", "config", "ref", "metadata"})
_FIELD = frozenset({"type", "schema", "metadata", "validation_alias", "serialization_alias"})
_DEFAULT = frozenset({"type", "schema", "default", "default_factory", "default_factory_takes_data"})

PlainFields = dict[str, frozenset[type]]


@cache
def plain_fields(kind: type[Event]) -> PlainFields | None:
    """Return the types of each field's values, or None if an event of this class must be read back.

    Plain are text, whole numbers, booleans and None, without a constraint, a validator or a serializer, as pydantic's
    schema of the class shows. Most events are plain, and reading them back takes a third of a decision's time.
    """
    model: Any = kind.__pydantic_core_schema__
    if not _MODEL.issuperset(model) or model["custom_init"] or model["schema"]["type"] != "model-fields":
        return None
    same_config = {**model["config"], "title": ""} == {**_config_of(Event), "title": ""}
    if not same_config or model["schema"]["computed_fields"] or kind.__private_attributes__:
        return None
    fields: PlainFields = {}
    for name, field in model["schema"]["fields"].items():
        types = _plain_types(field["schema"]) if _FIELD.issuperset(field) else frozenset[type]()
        if not types:
            return None
        fields[name] = types
    return fields


def is_plain(values: dict[str, Any], fields: PlainFields) -> bool:
    """Return whether all values have the types of their fields, which `model_construct` does not check.

    A whole number must fit in 64 bits.
    """
    if len(values) != len(fields):
        return False
    for name, types in fields.items():
        value: Any = values.get(name)
        kind = type(value)
        if kind not in types or (kind is int and not INT_MIN <= value <= INT_MAX):
            return False
    return True


def _config_of(kind: type[Event]) -> dict[str, Any]:
    model: Any = kind.__pydantic_core_schema__
    config: dict[str, Any] = model["config"]
    return config


def _plain_types(schema: dict[str, Any]) -> frozenset[type]:
    """Return the types of a field's values; none if other values or conditions are possible."""
    kind = schema["type"]
    if kind == "default" and _DEFAULT.issuperset(schema):
        return _plain_types(schema["schema"])
    if kind == "nullable" and len(schema) == 2:
        inner = _plain_types(schema["schema"])
        return inner | {NoneType} if inner else inner
    return frozenset({_TYPES[kind]}) if kind in _TYPES and len(schema) == 1 else frozenset()
