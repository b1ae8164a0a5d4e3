"""The idempotency key of a command: the header Idempotency-Key, as quoted text or bare."""

import re

from dualbus.protocol.values import ID_CHARS_MAX

from .problems import BARE_KEY, Problem
from .request import Request

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # a string of RFC 9651


def key_of(request: Request) -> str | None:
    """Return the key; None without the header. Raises Problem."""
    texts = request.headers.getlist("idempotency-key")
    if not texts:
        return None
    if len(texts) == 1:
        text = texts[0].strip()
        quoted = _QUOTED.fullmatch(text)
        key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
        if 0 < len(key) <= ID_CHARS_MAX and (quoted or BARE_KEY.fullmatch(text)):
            return key
    raise Problem(400, f'Idempotency-Key must be one key of 1 to {ID_CHARS_MAX} printable characters, such as "a-1".')
