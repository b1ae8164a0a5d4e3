"""Fields of a query from the texts of a query string, by the JSON types of the fields."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from dualbus.application.aliases import sent_paths
from dualbus.application.classes import TIMEOUT
from dualbus.application.json_schemas import message_schema
from dualbus.application.messages import Query
from dualbus.client.call import TIMEOUT_SECONDS_MAX

from .positions import whole_number_of
from .problems import Problem
from .request import Request
from .text_form import Schema, TextForm, leaves

PARAMETERS_MAX = 1000
Parameters = list[tuple[str, str]]


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
    single: TextForm | None  # the values that are no list
    items: tuple[TextForm, ...]  # of a list: the first items, and the last one for all further items

    def value(self, texts: Sequence[str]) -> Any:
        """Return the value of the parameters of one name; a text that can be a value itself is no list."""
        [first, *more] = texts
        if self.single and not more and (not self.items or self.single.accepts(first)):
            return self.single.value(first)
        return [self.items[min(number, len(self.items) - 1)].value(text) for number, text in enumerate(texts)]


TEXT = TextForm({}, is_text=True, has_numbers=False)
UNKNOWN_FIELD = FieldForm(fits=True, single=TEXT, items=())


def fields_of(kind: type[Query[Any]], found: Parameters) -> dict[str, Any]:
    """Return the fields of a query; the cluster checks them. A repeated parameter is a list. Raises Problem."""
    forms = field_forms(kind)
    texts: dict[str, list[str]] = {}
    for name, text in found:
        texts.setdefault(name, []).append(text)
    return {name: _value(kind, name, forms.get(name, UNKNOWN_FIELD), each) for name, each in texts.items()}


def _value(kind: type[Query[Any]], name: str, form: FieldForm, texts: Sequence[str]) -> Any:
    if not form.fits:
        raise Problem(400, f"{name} does not fit in a query string: send POST /queries/{kind.__name__}.")
    if len(texts) > 1 and not form.items:
        raise Problem(400, f"{name[:100]} is not a list: send the parameter once.")
    return form.value(texts)


@cache
def field_forms(kind: type[Query[Any]]) -> dict[str, FieldForm]:
    """Return the forms of the fields of a query, by each name that a client may use."""
    schema = message_schema(kind)
    forms = {name: _form(field, schema) for name, field in schema.get("properties", {}).items()}
    for name in kind.model_fields:
        used = [str(path[0]) for path in sent_paths(kind, name) if len(path) == 1]
        form = next((forms[each] for each in used if each in forms), UNKNOWN_FIELD)
        forms.update({each: form for each in used if each not in forms})
    return forms


def _form(field: Schema, root: Schema) -> FieldForm:
    parts = list(leaves(field, root))
    lists = [part for part in parts if part.get("type") == "array"]
    if len(lists) == 1 and "prefixItems" in lists[0]:
        items = [list(leaves(item, root)) for item in (*lists[0]["prefixItems"], lists[0].get("items") or {})]
    else:
        items = [[leaf for part in lists for leaf in leaves(part.get("items") or {}, root)]] if lists else []
    inner = [leaf for leaves_of_item in items for leaf in leaves_of_item]
    fits = "object" not in _types(parts + inner) and "array" not in _types(inner)
    single = TextForm.of(parts) or (None if lists else TEXT)
    return FieldForm(fits, single, tuple(TextForm.of(item) or TEXT for item in items))


def _types(parts: list[Schema]) -> set[Any]:
    return {part.get("type") for part in parts}
