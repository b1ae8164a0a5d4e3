"""The rules of a message with wrong fields: `problems()` of the fields that are right."""

from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import SchemaValidator

from dualbus.application.aliases import sent_paths
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
    paths = {name: sent_paths(kind, name) for name in kind.model_fields}
    wrong = {name for name in paths for path in paths[name] if any(place[: len(path)] == path for place in places)}
    right = frozenset(paths.keys() - wrong)
    keys = {path[0] for name in right for path in paths[name]}
    values = validate(_validator(kind, right), {key: value for key, value in sent.items() if key in keys})[0]
    message = kind.model_construct()
    object.__setattr__(message, "__dict__", values)
    return message


@lru_cache(maxsize=1000)  # clients choose the right fields
def _validator(kind: type[BaseModel], right: frozenset[str]) -> SchemaValidator:
    """Return a validator of some fields of a class. The author's validators see the same fields as before."""
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
    fields = {name: field for name, field in node["fields"].items() if name in right}
    schema = {**node, "fields": fields, "extra_behavior": "ignore"}
    return validator_of({"type": "definitions", "schema": schema, "definitions": definitions}, config)
