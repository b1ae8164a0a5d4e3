"""Changed copies of pydantic's core schemas, as validators."""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from pydantic_core import CoreConfig, CoreSchema, SchemaValidator

Node: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[Node, Node], Node]  # receives a node, and its copy with changed parts

_WITHOUT_SCHEMAS = frozenset({"cls", "config", "default", "expected", "members", "metadata", "serialization"})


def changed_validator(schema: CoreSchema, change: Change, config: CoreConfig | None = None) -> SchemaValidator:
    """Return a validator of a copy of a schema, with the result of `change` in place of each node."""
    # Without this parameter, pydantic takes the validators of nested classes in place of their changed schemas.
    return SchemaValidator(cast("CoreSchema", _changed(schema, change)), config, _use_prebuilt=False)


def _changed(part: Any, change: Change) -> Any:
    if type(part) in (list, tuple):
        return type(part)(_changed(item, change) for item in part)
    if type(part) is not dict:
        return part
    copy: Node = {}
    for key, value in part.items():
        if key in ("fields", "choices") and type(value) is dict:  # by the names of the fields
            copy[key] = {name: _changed(field, change) for name, field in value.items()}
        else:
            copy[key] = value if key in _WITHOUT_SCHEMAS else _changed(value, change)
    return change(part, copy)


def has_type(part: Any, kind: str) -> bool:
    """Return whether a schema has a node of a type."""
    if type(part) is dict:
        return part.get("type") == kind or any(has_type(value, kind) for value in part.values())
    return type(part) in (list, tuple) and any(has_type(value, kind) for value in part)
