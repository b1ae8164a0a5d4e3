"""Access by tokens: the holder of a request, and the paths that it permits."""

import asyncio

from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from dualbus.protocol.permissions import EVERYTHING, GATEWAY
from dualbus.runtime.settings import Settings
from dualbus.runtime.tokens import Token, TokenTable

from .caller import HOLDER
from .clients import Clients
from .problems import Problem
from .request import Request, header_fields, is_repeated
from .streams import Streams

OPEN_PATHS = ("/healthz", "/readyz")  # for probes
PARAMETER = "token"  # of the address that a person opens once; then the cookie has the token
COOKIE_SECONDS = 30 * 86_400
REFRESH_SECONDS = 0.25


class Access:
    """Checks tokens, unless keys are off. A browser keeps its token in a cookie."""

    def __init__(self, settings: Settings, clients: Clients, streams: Streams) -> None:
        self._clients = clients
        self._tokens = TokenTable(settings.keys) if settings.keys else None
        self._streams = streams
        self._cookie = f"dualbus-token-{settings.cookie_port}"
        self._secure = settings.has_tls

    async def watch(self) -> None:
        """Read changed tokens. After a change, end the waiting calls of removed and changed tokens, and all streams.

        Listeners connect again, and are checked.
        """
        while self._tokens:
            before = self._tokens.tokens
            if self._tokens.refresh():
                self._streams.drop()
                now = self._tokens.tokens.items()
                await self._clients.close_others({hash_ for hash_, token in now if before.get(hash_) == token})
            await asyncio.sleep(REFRESH_SECONDS)

    def check(self, scope: Scope) -> Response | None:
        """Raise Problem without a permitted token; return the response that moves a token into the cookie."""
        if self._tokens is None or scope["path"] in OPEN_PATHS:
            return None
        if scope["path"] == "/" and (text := Request(scope).query_params.get(PARAMETER)):
            _refuse_foreign(scope)
            _holder(self._tokens, text)
            return self._moved(text)
        holder = scope[HOLDER] = _holder(self._tokens, _bearer(scope) or self._of_cookie(scope))
        if holder.permissions != EVERYTHING and not _permits(holder, scope["path"], Request(scope)):
            raise Problem(403, f"The token of {holder.name} does not permit this: change its permissions.")
        return None

    def check_again(self, scope: Scope) -> None:
        """Raise Problem if the token of a request was removed or changed while its body arrived."""
        if self._tokens and not self._tokens.holds(scope[HOLDER]):
            raise _unknown()

    def _moved(self, text: str) -> Response:
        """Return the response that moves a token from the address to the cookie."""
        answer = RedirectResponse("/", 303, {"cache-control": "no-store"})
        answer.set_cookie(self._cookie, text, COOKIE_SECONDS, secure=self._secure, httponly=True, samesite="strict")
        return answer

    def _of_cookie(self, scope: Scope) -> str:
        # SimpleCookie would drop the token together with a cookie of another program that it cannot parse.
        return Request(scope).cookies.get(self._cookie, "")


def _bearer(scope: Scope) -> str:
    field = b"" if is_repeated(scope, b"authorization") else header_fields(scope).get(b"authorization", b"")
    scheme, _, token = field.partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def _refuse_foreign(scope: Scope) -> None:
    """Raise Problem for a link of another site: its token would become the actor of this browser's commands."""
    if header_fields(scope).get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        raise Problem(403, "Another site has opened this address: copy the address into the browser.")


def _holder(tokens: TokenTable, text: str) -> Token:
    """Return the holder of a token; raise Problem for an unknown token."""
    if holder := tokens.holder(text):
        return holder
    raise _unknown()


def _unknown() -> Problem:
    text = "Send a token: Authorization: Bearer TOKEN. In a browser, open the address of `dualbus tokens show`."
    return Problem(401, text, {"www-authenticate": "Bearer"})


def _permits(holder: Token, path: str, request: Request) -> bool:
    """Return whether a limited token permits a path: all but the paths below needs every permission."""
    allowed = holder.permissions
    kind, _, name = path.removeprefix("/").partition("/")
    if kind == "commands":
        return allowed.allow("commandbus", name)
    if kind == "queries":
        return allowed.allow("querybus", name)
    if path == "/events":
        return allowed.allow_events({"types": request.query_params.getlist("type")})
    if path == "/metrics":
        return allowed.allow(GATEWAY, "Status")
    return False
