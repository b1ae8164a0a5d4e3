"""Sessions: a header and a cookie carry the position of a caller's replies, so that callers see their own writes."""

from dualbus.client.async_client import AsyncClient, AsyncSession
from dualbus.runtime.settings import Settings

from .access import actor_of
from .positions import position_of
from .problems import Problem
from .request import Request, header_fields

AFTER, POSITION = "dualbus-after", "dualbus-position"
COOKIE_SECONDS = 60  # a read model is behind for less; after a restore, no browser keeps a position beyond the log


class Sessions:
    """Creates a session for each request."""

    def __init__(self, client: AsyncClient, settings: Settings) -> None:
        self._client = client
        self._cookie = f"{POSITION}-{settings.http_host_port[1]}"  # browsers send a cookie to all ports of a host
        self._attributes = f"Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
        if settings.has_tls:
            self._attributes += "; Secure"

    def of(self, request: Request) -> AsyncSession:
        """Return a session after the position of the header and of the cookie. Raises Problem."""
        after = max(_header(request), self._position(request))
        return self._client.session(after, actor=actor_of(request.scope))

    def at_head(self, request: Request) -> AsyncSession:
        """Return a session for a command, which is decided at the head of the log."""
        return self._client.session(actor=actor_of(request.scope))

    def headers(self, request: Request, session: AsyncSession) -> dict[str, str]:
        """Return the headers with the position of a session, for scripts and for browsers."""
        position = session.position
        if position <= self._position(request):
            return {POSITION: str(position)}
        return {POSITION: str(position), "set-cookie": f"{self._cookie}={position}; {self._attributes}"}

    def _position(self, request: Request) -> int:
        """Return the position of the cookie; 0 without a valid cookie."""
        if b"cookie" not in header_fields(request.scope):
            return 0
        return position_of(request.cookies.get(self._cookie, "")) or 0


def _header(request: Request) -> int:
    if (position := position_of(request.field(AFTER.encode(), "0"))) is None:
        raise Problem(400, "Dualbus-After must be a position: the number of Dualbus-Position in an earlier response.")
    return position
