"""Fingerprints distinguish commands with the same idempotency key. No socket, no clock, no driver.

A fingerprint is two hashes of 8 bytes: of the payload as sent, and of the payload without fields equal to their
defaults. The first is stable for a repeated command, even if a deployment has removed the command type. The second is
stable if a client sends or omits a default, and if a deployment adds a field with a default. Logs of earlier versions
hold 16 bytes of the first hash, with the same first 8 bytes.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple, cast

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dualbus.application.canonical import canonical
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
def _fields(kind: type[BaseModel]) -> dict[str, _Field]:
    """Return the fields of a model by their names in JSON."""
    found = {}
    for name, info in kind.model_fields.items():
        alias = info.validation_alias or name
        if isinstance(alias, str):
            factory = None if info.default_factory_takes_validated_data else info.default_factory
            found[alias] = _Field(name, info.is_required(), info.default, cast("Callable[[], Any] | None", factory))
    return found


def _without_defaults(sent: dict[str, Any], parsed: BaseModel) -> dict[str, Any]:
    """Return the sent fields without default values; `sent` itself if no field has its default.

    Keep the sent values, not the serialized values of the model: a serializer may omit or mask a field.
    """
    fields, set_fields, values = _fields(type(parsed)), parsed.__pydantic_fields_set__, parsed.__dict__
    kept: dict[str, Any] = {}
    changed = False
    for key, value in sent.items():
        field = fields.get(key)
        if field is None or field.name not in set_fields:  # read by a validator of the author
            kept[key] = value
            continue
        own = values[field.name]
        plain = value if own is value else _plain(value, own)
        if not field.required and _is_default(field, own, plain):
            changed = True
        else:
            kept[key] = plain
            changed = changed or plain is not value
    return kept if changed else sent


def _plain(sent: Any, parsed: Any) -> Any:
    """Return a sent value for comparison: equal values have the same form, and models are without their defaults."""
    kind = type(parsed)
    if kind in _JSON_KINDS:
        return sent if type(sent) is kind and sent == parsed else parsed
    if (text := canonical(parsed)) is not None:
        return text
    if type(sent) is dict:
        if isinstance(parsed, BaseModel):
            return _without_defaults(sent, parsed)
        if isinstance(parsed, dict):
            return {key: _plain(value, parsed.get(key)) for key, value in sent.items()}
    elif type(sent) is list and isinstance(parsed, set | frozenset):
        return sorted({_encode(item) for item in sent})  # an order of its own in each process
    elif type(sent) is list and isinstance(parsed, list | tuple) and len(sent) == len(parsed):
        return [_plain(item, value) for item, value in zip(sent, parsed, strict=True)]
    return sent


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
