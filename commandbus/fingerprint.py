"""What tells one command from another that is sent under the same key. No socket, no clock, no driver.

A fingerprint is two hashes of 8 bytes: of the payload as it was sent, and of the payload without the fields that
are equal to their defaults. The first is the same for whatever is sent again as it was, also when a deployment has
removed the command. The second is the same whether a sender spells a default out or not, and when a deployment adds
a field with a default. Logs of earlier versions hold 16 bytes of the first hash; its first 8 bytes are the same.
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
    """Return the fingerprint of a command, or of one that this version of the application does not accept."""
    sent = brief = {} if payload is None else payload
    if command is not None and payload:
        try:
            brief = _without_defaults(payload, command)
        except Exception:  # of the author's own comparison or default: it decides nothing about the command
            brief = sent
    first = _hash(type_, sent)
    return first + (first if brief is sent else _hash(type_, brief))


def is_same(one: bytes, other: bytes) -> bool:
    """Tell whether two fingerprints are of the same command: as it was sent, or without its defaults."""
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
    """Return the fields of a model by the name that they have in JSON."""
    found = {}
    for name, info in kind.model_fields.items():
        alias = info.validation_alias or name
        if isinstance(alias, str):
            factory = None if info.default_factory_takes_validated_data else info.default_factory
            found[alias] = _Field(name, info.is_required(), info.default, cast("Callable[[], Any] | None", factory))
    return found


def _without_defaults(sent: dict[str, Any], parsed: BaseModel) -> dict[str, Any]:
    """Return what was sent without the fields whose value is the default; `sent` itself where there is none.

    The values are those that were sent and not those that the model writes: it may leave a field out, or mask it.
    """
    fields, given, values = _fields(type(parsed)), parsed.__pydantic_fields_set__, parsed.__dict__
    kept: dict[str, Any] = {}
    changed = False
    for key, value in sent.items():
        field = fields.get(key)
        if field is None or field.name not in given:  # a validator of the author's reads it under this name
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
    """Return a value as it was sent: text and numbers as validation changed them, models without their defaults."""
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
    """Tell whether a field has its default value. Of a factory only an empty one counts.

    A factory may return another value each time, such as the date: what is equal to it today is not tomorrow.
    """
    default = field.default
    if default is PydanticUndefined:
        if field.factory is None or plain:
            return False
        default = field.factory()
    return isinstance(value, bool) is isinstance(default, bool) and bool(value == default)  # True is equal to 1
