"""The message type in a path: a command or a query of the application, or a problem with the right path."""

from collections.abc import Mapping
from typing import Any, TypeVar

from dualbus.application.messages import Command, Query
from dualbus.application.names import nearest

from .problems import Problem
from .request import Request
from .site import Site

T = TypeVar("T")
NAME_CHARS_MAX = 100  # of an unknown name in a problem


def command_type(site: Site, request: Request) -> type[Command]:
    """Return the command type of the path. Raises Problem."""
    name = request.path_params["type"]
    if name in site.app.query_types:
        raise Problem(405, f"{name} is a query: send GET or POST to /queries/{name}.", {"allow": ""})
    return _known(name, site.app.command_types, "command")


def query_type(site: Site, request: Request) -> type[Query[Any]]:
    """Return the query type of the path. Raises Problem."""
    name = request.path_params["type"]
    if name in site.app.command_types:
        raise Problem(405, f"{name} is a command: send POST to /commands/{name}.", {"allow": ""})
    return _known(name, site.app.query_types, "query")


def _known(name: str, types: Mapping[str, T], what: str) -> T:
    if name in types:
        return types[name]
    name = name[:NAME_CHARS_MAX]
    raise Problem(404, f"Unknown {what} {name!r}{nearest(name, types)}")
