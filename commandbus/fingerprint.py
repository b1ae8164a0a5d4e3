"""Distinguishes commands sent under the same key. No socket, no clock, no driver.

A fingerprint is two hashes of 8 bytes: of the payload as sent, and of the payload without fields equal to their
defaults. The first is the same for an identical payload, even after a deployment has removed the command. The second
is the same whether a sender includes a default or not, and after a deployment adds a field with a default. Logs of
earlier versions hold 16 bytes of the first hash; the first 8 bytes are the same.
"""

import json
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple, cast

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dualbus.application.messages import Command

HASH_BYTES = 8
_encode = json.JSONEncoder(sort_keys=True).encode
_JSON_KINDS = frozenset({str, int, float, bool})


def fingerprint(type_: str, payload: Any, command: Command | None) -> bytes:
    """Return the fingerprint of a command, or of a payload that this version of the application does not accept."""
    sent = brief = {} if payload is None else payload
    if command is not None and payload:
        try:
            brief = _without_defaults(payload, command)
        except Exception:  # raised by the author's comparison or default: irrelevant to the command
            brief = sent
    first = _hash(type_, sent)
    return first + (first if brief is sent else _hash(type_, brief))


def is_same(one: bytes, other: bytes) -> bool:
    """Tell whether two fingerprints are of the same command: as sent, or without its defaults."""
    return not {one[:HASH_BYTES], one[HASH_BYTES:]}.isdisjoint((other[:HASH_BYTES], other[HASH_BYTES:]))


def _hash(type_: str, payload: Any) -> bytes:
    return sha256(_encode([type_, payload]).encode()).digest()[:HASH_BYTES]


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
    """Return the payload without fields equal to their defaults; `sent` itself if unchanged.

    The values are the sent ones, not those of the model's JSON: a serializer may omit or mask a field.
    """
    fields, given, values = _fields(type(parsed)), parsed.__pydantic_fields_set__, parsed.__dict__
    kept: dict[str, Any] = {}
    changed = False
    for key, value in sent.items():
        field = fields.get(key)
        if field is None or field.name not in given:  # read by a validator of the author's under this name
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
    """Return a value as sent: text and numbers after validation, models without their defaults."""
    kind = type(parsed)
    if kind in _JSON_KINDS:
        return sent if type(sent) is kind and sent == parsed else parsed
    if type(sent) is dict:
        if isinstance(parsed, BaseModel):
            return _without_defaults(sent, parsed)
        if isinstance(parsed, dict):
            return {key: _plain(value, parsed.get(key)) for key, value in sent.items()}
    elif type(sent) is list and isinstance(parsed, list | tuple) and len(sent) == len(parsed):
        return [_plain(one, other) for one, other in zip(sent, parsed, strict=True)]
    return sent


def _is_default(field: _Field, value: Any, plain: Any) -> bool:
    """Tell whether a field has its default value. Of factories only those of empty values count.

    A factory may return a different value each time, such as today's date.
    """
    default = field.default
    if default is PydanticUndefined:
        if field.factory is None or plain:
            return False
        default = field.factory()
    return isinstance(value, bool) is isinstance(default, bool) and bool(value == default)  # True is equal to 1
