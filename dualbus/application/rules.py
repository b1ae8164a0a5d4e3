"""The rules of a message with wrong fields: `problems()` of the fields that are right."""

from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaValidator

from dualbus.application.json_validation import json_schema, validate
from dualbus.application.schemas import validator_of


def partial_message(kind: type[BaseModel], sent: dict[str, Any], error: ValidationError) -> Any:
    """Return a message of the right fields and the defaults; reading another attribute raises AttributeError.

    Return None if the error is not one of single fields, or if a function of the author may change the fields before
    they are read. Raises any exception of the author's validators.
    """
    places = [problem["loc"] for problem in error.errors(include_url=False, include_context=False)]
    validators = kind.__pydantic_decorators__.model_validators.values()
    if not all(places) or any(one.info.mode != "after" for one in validators):
        return None
    wrong = {place[0] for place in places}
    values: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        keys = _keys(kind, name, field)
        key = next((each for each in keys if each in sent), None)
        if not wrong.isdisjoint(keys):
            continue
        if key is not None:
            values[name] = validate(_field_validators(kind)[name], sent[key])
        elif not field.is_required():
            values[name] = field.get_default(call_default_factory=True, validated_data=values)
    message = kind.model_construct()
    object.__setattr__(message, "__dict__", values)
    return message


def _keys(kind: type[BaseModel], name: str, field: FieldInfo) -> list[Any]:
    """Return the keys under which a field may be sent, the first one first."""
    config = kind.model_config
    keys: list[Any] = [field.validation_alias or name] if config.get("validate_by_alias") is not False else []
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return [*keys, name] if by_name else keys


@cache
def _field_validators(kind: type[BaseModel]) -> dict[str, SchemaValidator]:
    """Return validators of the single fields of a class."""
    node: Any = json_schema(kind)
    definitions: list[Any] = []
    config = None
    while node["type"] != "model-fields":
        definitions = node.get("definitions", definitions)
        config = node.get("config", config)
        if node["type"] == "definition-ref":
            node = next(each for each in definitions if each["ref"] == node["schema_ref"])
        else:
            node = node["schema"]
    return {
        name: validator_of({"type": "definitions", "schema": field["schema"], "definitions": definitions}, config)
        for name, field in node["fields"].items()
    }
