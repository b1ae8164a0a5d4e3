"""Checks and headers that protect browsers from pages of other origins."""

from starlette.types import Scope

from dualbus.runtime.settings import Settings

from .problems import Problem

DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
CONTENT = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
DATA_HEADERS = [(b"cross-origin-resource-policy", b"same-origin"), (b"x-content-type-options", b"nosniff")]
PAGE_HEADERS = [*DATA_HEADERS, (b"content-security-policy", CONTENT.encode()), (b"referrer-policy", b"same-origin")]
# Under the referrer policy no-referrer, browsers send the forms of the page without their Origin.
DATA_TYPES = (b"application/json", b"application/problem+json", b"text/event-stream")


def protective_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers to add to a response: data needs fewer than a page."""
    is_data = any(name == b"content-type" and value in DATA_TYPES for name, value in headers)
    return DATA_HEADERS if is_data else PAGE_HEADERS


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
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(hosts) != 1 or _without_port(hosts[0].lower()) not in self._hosts:
            raise Problem(421, "Host must be the address of this process, as in DUALBUS_HTTP or DUALBUS_HTTP_ORIGIN.")
        if any(origin not in self._origins for origin in origins):
            raise Problem(403, "Pages of other origins must not send requests here.")


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() and not host.endswith(b"]") else host
