"""The caller of a request, by the token that Access has found."""

from starlette.types import Scope

from dualbus.runtime.tokens import Token

HOLDER = "dualbus.holder"  # in the scope of a request


def actor_of(scope: Scope) -> str | None:
    """Return the name of the token of a request; None for the operator, and if keys are off."""
    holder: Token | None = scope.get(HOLDER)
    return holder.name or None if holder else None


def caller_of(scope: Scope) -> str:
    """Return the caller of a request: the hash of the token or, if keys are off, the address of the peer."""
    holder: Token | None = scope.get(HOLDER)
    return holder.hash if holder else str((scope.get("client") or ("",))[0])
