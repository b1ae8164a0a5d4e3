"""The holders of keys: the name behind a connection, and what it may send."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from dualbus.protocol.codes import Code
from dualbus.protocol.permissions import EVERYTHING, NOTHING, Permissions

if TYPE_CHECKING:
    from .request import Request


class Holder(NamedTuple):
    """The holder of a key. A process of the cluster has no name, and may send commands in the name of others."""

    actor: str | None
    permissions: Permissions
    trusted: bool = False


CLUSTER = Holder(None, EVERYTHING, trusted=True)
STRANGER = Holder(None, NOTHING)

HolderOf: TypeAlias = Callable[[bytes], Holder]


def scoped_key(actor: str | None, key: str) -> str:
    """Return the key of a command in the log. The keys of an actor are no keys of anyone else."""
    return key if actor is None else f"@{actor}/{key}"


def forbidden(request: Request) -> tuple[Code, str] | None:
    """Return the code and text of a refusal, if the client of a request may not send it."""
    holder = request.client.holder
    if holder.trusted:
        return None
    if holder is STRANGER:
        return Code.FORBIDDEN, "The key of this client was removed: use another key."
    if holder.permissions.allow(request.dest, request.type) and request.events_allowed:
        return None
    return Code.FORBIDDEN, f"{holder.actor} may not send {request.type}: change the permissions of this key."
