"""Fields of a query from the texts of a query string, by the JSON types of the fields."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from dualbus.application.messages import Query
from dualbus.client.call import TIMEOUT_SECONDS_MAX

from .problems import Problem

PARAMETERS_MAX = 1000
TIMEOUT = "timeout_ms"
Parameters = list[tuple[str, str]]
Schema = Mapping[str, Any]


def parameters(request: Request) -> Parameters:
    """Return the names and texts of the query string. Raises Problem."""
    text = request.scope["query_string"]
    if not text:
        return []
    try:
        return parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except UnicodeDecodeError:
        raise Problem(400, "The query string is not UTF-8 in percent-encoding.") from None
    except ValueError:
        raise Problem(400, f"The query string has more than {PARAMETERS_MAX} parameters.") from None


def pop_timeout(found: Parameters) -> float | None:
    """Remove `timeout_ms`; return the seconds. Raises Problem."""
    texts = [text for name, text in found if name == TIMEOUT]
    if not texts:
        return None
    found[:] = [(name, text) for name, text in found if name != TIMEOUT]
    [text, *more] = texts
    if more or not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= TIMEOUT_SECONDS_MAX * 1000):
        raise Problem(400, f"timeout_ms must be whole milliseconds, from 1 to {TIMEOUT_SECONDS_MAX * 1000}.")
    return int(text) / 1000


def fields_of(kind: type[Query[Any]], found: Parameters) -> dict[str, Any]:
    """Return the fields of a query; the cluster checks them. A repeated parameter is a list. Raises Problem."""
    schema = query_schema(kind)
    values: dict[str, Any] = {}
    for name, text in found:
        field = schema.get("properties", {}).get(name, {})
        leaves = list(_leaves(field, schema))
        if not fits_in_query_string(field, schema):
            raise Problem(400, f"{name} does not fit in a query string: send POST /queries/{kind.__name__}.")
        if items := [leaf.get("items", {}) for leaf in leaves if leaf.get("type") == "array"]:
            values.setdefault(name, []).append(_value(text, [*_leaves(items[0], schema)]))
        elif name in values:
            raise Problem(400, f"{name} is not a list: send the parameter once.")
        else:
            values[name] = _value(text, leaves)
    return values


@cache
def query_schema(kind: type[Query[Any]]) -> Schema:
    """Return the JSON schema of a query."""
    return kind.model_json_schema()


def fits_in_query_string(field: Schema, root: Schema) -> bool:
    """Return whether a field has no objects and no lists of lists."""
    leaves = list(_leaves(field, root))
    items = {kind for leaf in leaves for kind in _types(leaf.get("items", {}), root)}
    return "object" not in _types(field, root) and items.isdisjoint({"object", "array"})


def _leaves(schema: Schema, root: Schema, depth: int = 0) -> Iterator[Schema]:
    """Yield the schemas of a field without references and alternatives."""
    if depth > 16:  # a recursive model
        return
    if reference := schema.get("$ref"):
        yield from _leaves(root.get("$defs", {}).get(reference.rpartition("/")[2], {}), root, depth + 1)
        return
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    for each in alternatives or ():
        yield from _leaves(each, root, depth + 1)
    if not alternatives:
        yield schema


def _types(schema: Schema, root: Schema) -> set[Any]:
    return {leaf.get("type") for leaf in _leaves(schema, root)}


def _value(text: str, leaves: list[Schema]) -> Any:
    """Return the value of a text: text wherever the field can be text, otherwise JSON."""
    for choice in (value for leaf in leaves for value in leaf.get("enum", [leaf.get("const")])):
        if text == (choice if isinstance(choice, str) else json.dumps(choice)):
            return choice
    if not leaves or any(leaf.get("type") in ("string", None) for leaf in leaves):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float) else text
