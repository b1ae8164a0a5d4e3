"""Sessions: a header and a cookie carry the position of a caller's replies, so that callers see their own writes."""

from starlette.requests import Request

from dualbus.client.async_client import AsyncSession

from .positions import position_of
from .problems import Problem
from .site import Site

AFTER, POSITION = "dualbus-after", "dualbus-position"
COOKIE_SECONDS = 60  # a read model is behind for less; after a restore, no browser keeps a position beyond the log


def session_of(site: Site, request: Request) -> AsyncSession:
    """Return a session after the position of the header and of the cookie."""
    return site.client.session(max(_header(request), _cookie(site, request)))


def position_headers(site: Site, session: AsyncSession) -> dict[str, str]:
    """Return the headers with the position of the session, for scripts and for browsers."""
    position = str(session.position)
    cookie = f"{_name(site)}={position}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
    return {POSITION: position, "set-cookie": cookie}


def _header(request: Request) -> int:
    text = request.headers.get(AFTER, "0")
    if (position := position_of(text)) is None:
        raise Problem(400, "Dualbus-After must be a position: the number of Dualbus-Position in an earlier response.")
    return position


def _cookie(site: Site, request: Request) -> int:
    """Return the position of the cookie; 0 for a cookie of another origin."""
    return position_of(request.cookies.get(_name(site), "")) or 0


def _name(site: Site) -> str:
    """Return the name of the cookie: browsers send a cookie to all ports of a host."""
    return f"dualbus-position-{site.settings.http_host_port[1]}"
