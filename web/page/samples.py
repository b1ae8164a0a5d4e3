"""The same call as a command line and as Python, to copy."""

import json
import shlex
from collections.abc import Mapping
from decimal import Decimal
from pprint import pformat
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

_LINE_CHARS = 72


class Sample(NamedTuple):
    """A call in a language."""

    title: str
    text: str


def samples(curl: str, http: str, type_: str, values: Mapping[str, Any], *, is_command: bool) -> list[Sample]:
    """Return the call for curl, with the token, for the command line of dualbus, and for Python."""
    return [
        Sample("curl", _curl(curl, http, type_, values, is_command)),
        Sample("dualbus", _dualbus(type_, values, is_command)),
        Sample("Python", _python(type_, values, is_command)),
    ]


def _curl(curl: str, http: str, type_: str, values: Mapping[str, Any], is_command: bool) -> str:
    simple = (
        all(isinstance(value, str | int | float | Decimal) for value in values.values())
        and "timeout_ms" not in values
    )
    if not is_command and simple:
        pairs = {name: value if isinstance(value, str) else _json(value) for name, value in values.items()}
        query = urlencode(pairs, quote_via=quote)
        return f"{curl} {shlex.quote(f'{http}/queries/{type_}' + (f'?{query}' if query else ''))}"
    url = f"{http}/{'commands' if is_command else 'queries'}/{type_}"
    body = shlex.quote(_json(values))
    return f"{curl} {shlex.quote(url)} \\\n  -H 'Content-Type: application/json' \\\n  --data-raw {body}"


def _dualbus(type_: str, values: Mapping[str, Any], is_command: bool) -> str:
    pairs = [f"{name}={value if isinstance(value, str) else _json(value)}" for name, value in values.items()]
    return shlex.join(["dualbus", "command" if is_command else "query", type_, *pairs])


def _python(type_: str, values: Mapping[str, Any], is_command: bool) -> str:
    method, fields = "command" if is_command else "query", pformat(dict(values), width=_LINE_CHARS, sort_dicts=False)
    fields = fields.replace("\n", "\n    ")
    imports = "from decimal import Decimal\n\n" if "Decimal(" in fields else ""
    call = f'client.{method}("{type_}", {fields})'
    return f"{imports}from dualbus import Client\n\nwith Client() as client:\n    print({call})"


def _json(value: Any) -> str:
    """Return a value as JSON; numbers keep their digits."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_json(name)}: {_json(each)}' for name, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)
