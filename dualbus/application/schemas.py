"""Changed copies of pydantic's core schemas, as validators."""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, TypeAlias, cast

from pydantic_core import CoreSchema, SchemaSerializer, SchemaValidator, core_schema

Node: TypeAlias = dict[str, Any]
Config: TypeAlias = Any  # a CoreConfig, or None
Change: TypeAlias = Callable[[Node, Node, Config], Node]  # receives a node, its copy with changed parts, its config

OF_MEMBER = (
    "has a Literal with a member of an Enum, which is not read back from its value: use a StrEnum or an IntEnum, or "
    "the whole Enum."
)
_JSON_KEYS: dict[str, set[str]] = {  # not bool: a column of SQLite has 0 and 1
    "any": set(),
    "none": set(),
    "str": set(),
    "int": set(),
    "float": set(),
    "literal": {"expected"},
    "nullable": {"schema"},
    "union": {"choices"},
    "list": {"items_schema"},
    "dict": {"keys_schema", "values_schema"},
    "typed-dict": {"cls", "fields", "config", "computed_fields", "extra_behavior"},
    "typed-dict-field": {"schema", "required"},
    "definitions": {"schema", "definitions"},
    "definition-ref": {"schema_ref"},
}
_WITHOUT_SCHEMAS = frozenset({"cls", "config", "default", "expected", "members", "metadata", "serialization"})


def validator_of(schema: CoreSchema, config: Config = None) -> SchemaValidator:
    """Return a validator of a changed schema."""
    # Without this parameter, pydantic takes the validators of nested classes in place of their changed schemas.
    return SchemaValidator(schema, config, _use_prebuilt=False)


def serializer_of(schema: CoreSchema) -> SchemaSerializer:
    """Return a serializer of a changed schema."""
    return SchemaSerializer(schema, None, _use_prebuilt=False)


def changed(schema: CoreSchema, change: Change) -> CoreSchema:
    """Return a copy of a schema, with the result of `change` in place of each node."""
    return cast("CoreSchema", _changed(schema, change, None))


def _changed(part: Any, change: Change, config: Config) -> Any:
    if type(part) in (list, tuple):
        return type(part)(_changed(item, change, config) for item in part)
    if type(part) is not dict:
        return part
    config = part.get("config", config)
    copy: Node = {}
    for key, value in part.items():
        if key in ("fields", "choices") and type(value) is dict:  # by the names of the fields
            copy[key] = {name: _changed(field, change, config) for name, field in value.items()}
        else:
            copy[key] = value if key in _WITHOUT_SCHEMAS else _changed(value, change, config)
    return change(part, copy, config)


def before(function: Callable[[Any], Any], node: Node) -> Node:
    """Return a node that calls a function with a value first; a type alias still finds the node by its reference."""
    inner: Any = {key: value for key, value in node.items() if key != "ref"}
    return cast("Node", core_schema.no_info_before_validator_function(function, inner, ref=node.get("ref")))


def holds(part: Any, accepts: Callable[[Node], bool]) -> bool:
    """Return whether a schema has a node that a function accepts."""
    return any(map(accepts, nodes(part)))


def is_json(node: Any) -> bool:
    """Return whether JSON has the values of a schema, without a rule or a function that the values must pass."""
    kind = node["type"]
    if kind not in _JSON_KEYS or not node.keys() <= {"type", "ref", "metadata"} | _JSON_KEYS[kind]:
        return False
    if kind == "literal":
        return not any(isinstance(value, Enum | bytes) for value in node["expected"])
    if kind == "dict" and node["keys_schema"]["type"] not in ("str", "any"):  # the keys of JSON are text
        return False
    if kind == "typed-dict":
        rules = node.get("config", {}).keys() - {"title"}
        if rules or node.get("extra_behavior", "ignore") != "ignore":
            return False
    inner = [node[key] for key in ("schema", "items_schema", "keys_schema", "values_schema") if key in node]
    many = (*node.get("choices", ()), *node.get("definitions", ()), *node.get("fields", {}).values())
    return all(map(is_json, (*inner, *many)))


def is_plain_member(value: object) -> bool:
    """Return whether a value is a member of an Enum that is neither text nor a number: JSON has only its value."""
    return isinstance(value, Enum) and not isinstance(value, str | int)


def fields_without_init(node: Node) -> list[str]:
    """Return the names of the fields with init=False of a dataclass; none for another node."""
    if node.get("type") != "dataclass":
        return []
    inner = node["schema"]
    while "fields" not in inner:
        inner = inner.get("schema", {"fields": ()})
    return [field["name"] for field in inner["fields"] if field.get("init") is False]


def nodes(part: Any) -> Iterator[Node]:
    """Yield the nodes of a schema, and all other dictionaries in the schema."""
    if type(part) is dict:
        yield part
    if type(part) in (dict, list, tuple):
        for inner in part.values() if type(part) is dict else part:
            yield from nodes(inner)
