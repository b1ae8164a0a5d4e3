"""Fields of a query from the texts of a query string, by the JSON types of the fields."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from dualbus.application.messages import Query
from dualbus.client.call import TIMEOUT_SECONDS_MAX
from dualbus.protocol.numbers import read_number

from .positions import whole_number_of
from .problems import Problem
from .request import Request

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
    if more or not (found_ms := whole_number_of(text, TIMEOUT_SECONDS_MAX * 1000)):
        raise Problem(400, f"timeout_ms must be whole milliseconds, from 1 to {TIMEOUT_SECONDS_MAX * 1000}.")
    return found_ms / 1000


def refuse_others(found: Parameters) -> None:
    """Raise Problem if a request with a body has parameters."""
    if found:
        raise Problem(400, f"Unknown parameter {found[0][0][:100]!r}: send the fields in the body.")


class FieldForm(NamedTuple):
    """The form of a field in a query string."""

    fits: bool  # no objects, and no lists of lists
    is_list: bool
    choices: dict[str, Any]  # of an enum, by text
    is_text: bool  # any text is a value


UNKNOWN_FIELD = FieldForm(fits=True, is_list=False, choices={}, is_text=True)


def fields_of(kind: type[Query[Any]], found: Parameters) -> dict[str, Any]:
    """Return the fields of a query; the cluster checks them. A repeated parameter is a list. Raises Problem."""
    forms = field_forms(kind)
    values: dict[str, Any] = {}
    for name, text in found:
        form = forms.get(name, UNKNOWN_FIELD)
        if not form.fits:
            raise Problem(400, f"{name} does not fit in a query string: send POST /queries/{kind.__name__}.")
        value = text if form.is_text and not form.choices else _value(text, form)
        if form.is_list:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Problem(400, f"{name[:100]} is not a list: send the parameter once.")
        else:
            values[name] = value
    return values


@cache
def field_forms(kind: type[Query[Any]]) -> dict[str, FieldForm]:
    """Return the forms of the fields of a query, by name."""
    schema = kind.model_json_schema(by_alias=True)
    return {name: _form(field, schema) for name, field in schema.get("properties", {}).items()}


def _form(field: Schema, root: Schema) -> FieldForm:
    parts = list(leaves(field, root))
    lists = [leaf for leaf in parts if leaf.get("type") == "array"]
    items = [inner for leaf in lists for inner in leaves(leaf.get("items", {}), root)]
    fits = all(leaf.get("type") != "object" for leaf in parts + items) and "array" not in _types(items)
    values = items if lists else parts
    choices = [choice for leaf in values for choice in leaf.get("enum", [leaf["const"]] if "const" in leaf else [])]
    texts = {choice if isinstance(choice, str) else json.dumps(choice): choice for choice in choices}
    return FieldForm(fits, bool(lists), texts, bool(_types(values) & {"string", None}))


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


def _types(parts: list[Schema]) -> set[Any]:
    return {part.get("type") for part in parts}


def _value(text: str, form: FieldForm) -> Any:
    """Return the value of a text: a choice, text wherever a field can be text, otherwise a number, true or false."""
    if text in form.choices:
        return form.choices[text]
    if form.is_text:
        return text
    try:
        value = json.loads(text, parse_float=read_number)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float | Decimal) else text
