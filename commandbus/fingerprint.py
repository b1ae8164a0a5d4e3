"""Fingerprints distinguish commands with the same idempotency key. No socket, no clock, no driver.

A fingerprint is two hashes of 8 bytes: of the payload as sent, and of the payload without fields equal to their
defaults. The first is stable for a repeated command, even if a deployment has removed the command type. The second is
stable if a client sends or omits a default, and if a deployment adds a field with a default. Logs of earlier versions
hold 16 bytes of the first hash, with the same first 8 bytes.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import MISSING
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple, cast

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dualbus.application.aliases import sent_paths
from dualbus.application.canonical import canonical
from dualbus.application.exact import is_record
from dualbus.application.json_validation import has_decimals, has_functions
from dualbus.application.messages import Command
from dualbus.protocol.numbers import Number, holds_number
from dualbus.runtime.errors import application_errors

HASH_BYTES = 8
_encode = json.JSONEncoder(sort_keys=True).encode
_JSON_KINDS = frozenset({str, int, float, bool})


def fingerprint(type_: str, payload: Any, command: Command | None) -> bytes:
    """Return the fingerprint of a command; `command` is None if the application does not accept it."""
    sent = {} if payload is None else payload
    if _receives_digits(command) and holds_number(sent):
        sent = _with_digits(sent)
    brief = sent
    if command is not None and payload:
        try:
            brief = _without_defaults(sent, command)
        except application_errors():  # of the author's comparison or default: no reason to refuse the command
            brief = sent
    first = _hash(type_, sent)
    return first + (first if brief is sent else _hash(type_, brief))


def _receives_digits(command: Command | None) -> bool:
    """Return whether a number's digits may matter: fields of other types receive a float."""
    return command is None or has_decimals(type(command)) or has_functions(type(command))


def is_same(first: bytes, second: bytes) -> bool:
    """Return whether two fingerprints belong to the same command, as sent or without defaults."""
    return not {first[:HASH_BYTES], first[HASH_BYTES:]}.isdisjoint((second[:HASH_BYTES], second[HASH_BYTES:]))


def _hash(type_: str, payload: Any) -> bytes:
    return sha256(_encode([type_, payload]).encode()).digest()[:HASH_BYTES]


def _with_digits(value: Any) -> Any:
    """Return a copy of a payload with texts for the numbers that are not equal to their floats."""
    kind = type(value)
    if kind is dict:
        return {key: _with_digits(item) for key, item in value.items()}
    if kind is list:
        return [_with_digits(item) for item in value]
    if kind is not Number:
        return value
    number = float(value)
    return number if Decimal(repr(number)) == value.digits else f"Number {value.digits}"


class _Field(NamedTuple):
    name: str
    required: bool
    default: Any
    factory: Callable[[], Any] | None


@cache
def _fields(kind: type[Any]) -> dict[str, _Field]:
    """Return the fields of a model or a dataclass by their names in JSON."""
    infos: dict[str, FieldInfo] = getattr(kind, "__pydantic_fields__", {})
    if not infos and dataclasses.is_dataclass(kind):
        return {field.name: _of_dataclass(field) for field in dataclasses.fields(kind)}
    found = {}
    for name, info in infos.items():
        factory = None if info.default_factory_takes_validated_data else info.default_factory
        field = _Field(name, info.is_required(), info.default, cast("Callable[[], Any] | None", factory))
        found.update({str(path[0]): field for path in sent_paths(kind, name) if len(path) == 1})
    return found


def _of_dataclass(field: dataclasses.Field[Any]) -> _Field:
    has_default, has_factory = field.default is not MISSING, field.default_factory is not MISSING
    default = field.default if has_default else PydanticUndefined
    factory = cast("Callable[[], Any]", field.default_factory) if has_factory else None
    return _Field(field.name, not (has_default or has_factory), default, factory)


def _without_defaults(sent: dict[str, Any], parsed: Any) -> dict[str, Any]:
    """Return the sent fields of a record by the names of its class, without default values.

    Return `sent` itself if this changes nothing. Keep the sent values, not the serialized values of the record: a
    serializer may omit or mask a field.
    """
    kind: Any = type(parsed)
    fields, set_fields = _fields(kind), getattr(parsed, "__pydantic_fields_set__", None)
    kept: dict[str, Any] = {}
    changed = False
    for key, value in sent.items():
        field = fields.get(key)
        if field is None or (
            set_fields is not None and field.name not in set_fields
        ):  # for a validator of the author
            kept[key] = value
            continue
        own = getattr(parsed, field.name)
        plain = value if own is value else _plain(value, own)
        if not field.required and _is_default(field, own, plain):
            changed = True
        else:
            kept[field.name] = plain
            changed = changed or plain is not value or key != field.name
    return kept if changed else sent


def _plain(sent: Any, parsed: Any) -> Any:
    """Return a sent value for comparison: equal values have the same form, and models are without their defaults."""
    kind = type(parsed)
    if kind in _JSON_KINDS:
        return sent if type(sent) is kind and sent == parsed else parsed
    if (text := canonical(parsed)) is not None:
        return text
    if type(sent) is dict:
        if is_record(kind):
            return _without_defaults(sent, parsed)
        if isinstance(parsed, dict):
            return _plain_items(sent, parsed)
    elif type(sent) is list and isinstance(parsed, set | frozenset):  # with an order of its own in each process
        texts = [_encode(item) if type(item) in _JSON_KINDS else canonical(item) for item in parsed]
        return sorted(text for text in texts if text) if all(texts) else sorted({_encode(item) for item in sent})
    elif type(sent) is list and isinstance(parsed, list | tuple) and len(sent) == len(parsed):
        return [_plain(item, value) for item, value in zip(sent, parsed, strict=True)]
    return sent


def _plain_items(sent: dict[str, Any], parsed: dict[Any, Any]) -> dict[str, Any]:
    """Return the items of an object for comparison. Keys that are no text have the order of the sent keys."""
    if len(sent) == len(parsed) and not any(isinstance(key, str) for key in parsed):
        items = zip(sent.items(), parsed.items(), strict=True)
        return {canonical(own) or key: _plain(value, own_value) for (key, value), (own, own_value) in items}
    return {key: _plain(value, parsed.get(key)) for key, value in sent.items()}


def _is_default(field: _Field, value: Any, plain: Any) -> bool:
    """Return whether a field has its default value. Of default factories, only an empty value counts.

    A factory may return a different value each time, such as the date: today's default is not tomorrow's.
    """
    default = field.default
    if default is PydanticUndefined:
        if field.factory is None or (plain and value):
            return False
        default = field.factory()
    return isinstance(value, bool) is isinstance(default, bool) and bool(value == default)  # True is equal to 1
