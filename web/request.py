"""A request, with header fields that are read once."""

from starlette.requests import Request as StarletteRequest
from starlette.types import Scope

FIELDS = "dualbus.fields"  # in the scope of a request


def header_fields(scope: Scope) -> dict[bytes, bytes]:
    """Return the header fields by name in lower case; of a repeated field, the last."""
    found: dict[bytes, bytes] | None = scope.get(FIELDS)
    if found is None:
        found = scope[FIELDS] = dict(scope["headers"])
    return found


def is_repeated(scope: Scope, name: bytes) -> bool:
    """Return whether a header field occurs more than once."""
    headers = scope["headers"]
    return len(headers) > len(header_fields(scope)) and sum(each == name for each, _ in headers) > 1


class Request(StarletteRequest):
    """A request of Starlette, which would search the list of all fields for each."""

    def field(self, name: bytes, default: str = "") -> str:
        """Return the text of a header field, by its name in lower case."""
        value = header_fields(self.scope).get(name)
        return default if value is None else value.decode("latin-1")
