"""Checks and headers that protect browsers from pages of other origins."""

from starlette.types import Scope

from dualbus.runtime.settings import Settings

from .problems import Problem
from .request import header_fields, is_repeated

DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
CONTENT = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
DATA_HEADERS = [(b"cross-origin-resource-policy", b"same-origin"), (b"x-content-type-options", b"nosniff")]
PAGE_HEADERS = [*DATA_HEADERS, (b"content-security-policy", CONTENT.encode()), (b"referrer-policy", b"same-origin")]
# Under the referrer policy no-referrer, browsers send the forms of the page without their Origin.
DATA_TYPES = [
    (b"content-type", media_type)
    for media_type in (b"application/json", b"application/problem+json", b"text/event-stream")
]


def protective_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers to add to a response: data needs fewer than a page."""
    return DATA_HEADERS if any(each in headers for each in DATA_TYPES) else PAGE_HEADERS


class Guard:
    """Refuses requests of foreign pages: a page of another origin, or of a name that resolves to this machine."""

    def __init__(self, settings: Settings) -> None:
        host, port = settings.http_host_port
        own = f"[{host}]" if ":" in host else host.lower()
        scheme = settings.http.partition("://")[0]
        names = (own, *LOOPBACK)
        origins = {f"{scheme}://{name}:{port}" for name in names}
        if port == DEFAULT_PORTS[scheme]:
            origins |= {f"{scheme}://{name}" for name in names}
        if (
            settings.http_origin
        ):  # the only origin: on the machine of the browser, other users have loopback addresses
            origins = {settings.http_origin}
        self._origins = {origin.encode() for origin in origins}
        self._hosts = {_without_port(origin.partition("//")[2].encode()) for origin in origins}
        self._hosts |= {name.encode() for name in names}

    def check(self, scope: Scope) -> None:
        """Raise Problem for a foreign Host or Origin."""
        fields = header_fields(scope)
        host, origin = fields.get(b"host", b""), fields.get(b"origin")
        if is_repeated(scope, b"host") or _without_port(host.lower()) not in self._hosts:
            raise Problem(421, "Host must be the address of this process, as in DUALBUS_HTTP or DUALBUS_HTTP_ORIGIN.")
        if is_repeated(scope, b"origin") or (origin is not None and origin not in self._origins):
            raise Problem(403, "Pages of other origins must not send requests here.")


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() and not host.endswith(b"]") else host
