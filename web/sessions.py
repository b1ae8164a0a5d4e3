"""Sessions: a header and cookies carry the positions of a caller's replies, so that callers see their own writes.

A cookie has its position in its name. A response adds a cookie, and removes the lower ones that its request carried:
the highest position of a browser never decreases, in whichever order responses arrive, and web remembers nothing.
"""

import time

from starlette.responses import Response

from dualbus.application.errors import DualbusError
from dualbus.client.async_client import AsyncSession
from dualbus.runtime.settings import Settings

from .caller import actor_of
from .clients import Clients
from .positions import position_of
from .problems import Problem
from .request import Request, header_fields

AFTER, POSITION = "dualbus-after", "dualbus-position"
COOKIE_SECONDS = 30 * 86_400  # longer than a projector is stopped
TRUSTED_SECONDS = 60  # then a position may be beyond the end of the log, after a restore
HEAD_SECONDS = 5.0  # for which the head of the log is known: less than a position is trusted
STATUS_SECONDS = 2.0
REMOVED_MAX = 8  # in a response: proxies refuse long headers
_COOKIES, _BEYOND = "dualbus.positions", "dualbus.beyond"  # in the scope of a request


class Sessions:
    """Creates a session for each request."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._clients = clients
        self._cookie = f"{POSITION}-{settings.cookie_port}-"
        self._attributes = f"; Path=/; HttpOnly; SameSite=Lax{'; Secure' if settings.has_tls else ''}"
        self._head: int | None = None
        self._head_until = 0.0

    async def of(self, request: Request) -> AsyncSession:
        """Return a session after the positions of the header and of the cookies. Raises Problem."""
        after = _header(request)
        if cookies := self._cookies(request):
            after = max(after, await self._checked(request, cookies))
        return self._clients.of(request.scope).session(after, actor=actor_of(request.scope))

    def at_head(self, request: Request) -> AsyncSession:
        """Return a session for a command, which is decided at the head of the log."""
        return self._clients.of(request.scope).session(actor=actor_of(request.scope))

    def mark(self, response: Response, request: Request, session: AsyncSession) -> Response:
        """Add the position of a session to a response, for scripts and for browsers.

        A refused command has a position, too: a query afterwards must see the reason.
        """
        position, cookies = session.position, self._cookies(request)
        if not position and response.status_code >= 400:  # such as without a reply
            return response
        response.raw_headers.append((POSITION.encode(), b"%d" % position))
        # An old position beyond the response is perhaps of the log before a restore: the browser needs this position.
        newest = max((each for each, when in cookies.items() if each <= position or _is_trusted(when)), default=0)
        if position > newest or (position == newest and position and not _is_trusted(cookies[newest])):
            text = f"{self._cookie}{position}={int(time.time())}; Max-Age={COOKIE_SECONDS}{self._attributes}"
            response.raw_headers.append((b"set-cookie", text.encode()))
        lower = [each for each in cookies if each < max(position, newest)]
        first = position % max(1, len(lower))  # concurrent responses remove different cookies
        for each in [*request.scope.get(_BEYOND, ()), *lower[first:], *lower[:first]][:REMOVED_MAX]:
            text = f"{self._cookie}{each}=; Max-Age=0{self._attributes}"
            response.raw_headers.append((b"set-cookie", text.encode()))
        return response

    def _cookies(self, request: Request) -> dict[int, int]:
        """Return the positions of the cookies, each with the time of its response; omit invalid cookies."""
        if b"cookie" not in header_fields(request.scope):
            return {}
        found: dict[int, int] | None = request.scope.get(_COOKIES)
        if found is None:
            named = {
                position_of(name.removeprefix(self._cookie)): position_of(value) or 0
                for name, value in request.cookies.items()
                if name.startswith(self._cookie)
            }
            found = request.scope[_COOKIES] = {each: when for each, when in named.items() if each is not None}
        return found

    async def _checked(self, request: Request, cookies: dict[int, int]) -> int:
        """Return the highest position of the cookies; after a restore to an earlier position, the head of the log.

        A position is checked once a minute and not earlier, because the gateway of another machine may know it late.
        """
        newest = max(cookies)
        if _is_trusted(cookies[newest]) or (head := await self._log_head()) is None or newest <= head:
            return newest
        # A response of the last seconds may have a later position than the known head.
        kept = {each: when for each, when in cookies.items() if each <= head or _is_trusted(when)}
        request.scope[_BEYOND] = [each for each in cookies if each not in kept]
        request.scope[_COOKIES] = kept
        return max([head, *kept])

    async def _log_head(self) -> int | None:
        """Return the head of the log, as known in the last seconds; None if no commandbus reports it."""
        if time.monotonic() >= self._head_until:
            try:
                self._head = (await self._clients.reports.status(STATUS_SECONDS))["log_position"]
            except DualbusError:
                return None
            self._head_until = time.monotonic() + HEAD_SECONDS
        return self._head


def _is_trusted(when: int) -> bool:
    return abs(time.time() - when) < TRUSTED_SECONDS  # the clock of another machine may be ahead


def _header(request: Request) -> int:
    if (position := position_of(request.field(AFTER.encode(), "0"))) is None:
        raise Problem(400, "Dualbus-After must be a position: the number of Dualbus-Position in an earlier response.")
    return position
