"""Parameters of the page's links."""

from urllib.parse import urlencode

from dualbus.application.app import App
from dualbus.application.names import nearest

from ..problems import Problem
from ..request import Request
from .history import Filter

TEXT_CHARS_MAX = 256
_TIME_DIGITS = "0123456789-T:."


def whole_number(text: str, name: str) -> int | None:
    """Return a whole number; None for no text. Raises Problem."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Problem(400, f"{name} must be a whole number.")
    return int(text)


def filter_of(app: App, request: Request) -> Filter:
    """Return the filter of a link. Raises Problem for a type or a tag that no event can have."""
    found = request.query_params
    texts = {name: found.get(name, "").strip()[:TEXT_CHARS_MAX] for name in ("tag", "text", "since", "until")}
    types = tuple(name[:TEXT_CHARS_MAX] for name in found.getlist("type") if name)
    for name in types:
        if name not in app.event_types:
            raise Problem(400, f"{name} is not an event of the application{nearest(name, app.event_types)}")
    if texts["tag"]:
        _check_tag(app, texts["tag"])
    for name in ("since", "until"):
        if texts[name].strip(_TIME_DIGITS):
            raise Problem(400, f"{name} must be a time in UTC, such as 2026-01-31T12:00.")
    return Filter(types, **texts, before=whole_number(found.get("before", ""), "before"))


def link(path: str, wanted: Filter, **changed: object) -> str:
    """Return the link to a list with a filter, with changes."""
    values = {**wanted._asdict(), **changed}
    pairs = [("type", name) for name in values.pop("types")]
    pairs += [(name, str(value)) for name, value in values.items() if value not in ("", None)]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _check_tag(app: App, tag: str) -> None:
    name, colon, value = tag.partition(":")
    public = sorted(app.tags - app.private_tags)
    if name in app.private_tags:
        raise Problem(400, f"Tag {name!r} is private: choose another tag.")
    if name not in public or not colon or not value:
        known = ", ".join(public) or "none"
        raise Problem(400, f"Tag {tag!r} is unknown: write name:value with one of these names: {known}.")
