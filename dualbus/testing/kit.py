"""Given-when-then tests of decisions, projections and queries on values, without sockets and files.

    events = decide(create_user, given=[], when=CreateUser(name="Ada", email="ada@example.org"))
    rows = project(app, given=[UserCreated(...)]).all("SELECT * FROM users")
    answer(app, given=[UserCreated(...)], when=GetUser(user_id="u-1"))

As in a cluster, events are converted to the JSON of the log and back, and answers to the wire format and back.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import to_json

from dualbus.application.app import App, Decide, Projection
from dualbus.application.error_text import sentences
from dualbus.application.messages import Command, Event, Invalid, Message, Query
from dualbus.application.past import S, limited, one_tag
from dualbus.application.tables import ReadOnlyTables
from dualbus.protocol.codec import pack, unpack
from dualbus.readmodel.memory import ModelInMemory
from dualbus.readmodel.values import answer_data
from dualbus.testing.differences import full_repr

NOW = "2026-01-31T12:00:00.000000Z"
"""The default time of a decision."""

E = TypeVar("E", bound=Event)


def decide(
    decision: Decide, *, given: Iterable[Event] = (), when: Command, ids: Iterable[str] | None = None, now: str = NOW
) -> list[Event]:
    """Return the events of a command. Raises Rejected if the decision does, and Invalid if `when` breaks its rules.

    `past.new_id()` returns `ids` in order ("id-1", "id-2", … by default), and `past.now()` returns `now`.
    """
    _check_rules(when)
    past = _Past([_through_the_log(event) for event in given], ids, now)
    return [_through_the_log(event) for event in limited(decision(when, past))]


def project(what: App | Projection, *, given: Iterable[Event]) -> ReadOnlyTables:
    """Return the tables of a projection, or of all projections of an application, after the events."""
    return _projected(what, given).read_only()


def answer(app: App, *, given: Iterable[Event] = (), when: Query) -> Any:
    """Return the answer to a query after the events."""
    _check_rules(when)
    function = app.queries.get(type(when))
    if function is None:
        raise AssertionError(f"{type(when).__name__} is not among the queries of the application.")
    return unpack(pack(answer_data(function(when, project(app, given=given)))))


def from_log(app: App, type_: str, **fields: Any) -> Event:
    """Return the current event of an old record with this type and these fields: `given=[from_log(...)]`."""
    if type_ not in app.stored_types:
        raise AssertionError(f"{type_} is neither an event of the application nor among its upcasts.")
    return app.decode(type_, to_json(fields).decode())


class _Past:
    """The Past of a test."""

    def __init__(self, events: list[Event], ids: Iterable[str] | None, now: str) -> None:
        self._events = events
        self._ids = _numbered() if ids is None else iter(ids)
        self._now = now

    def events(self, **tag: str | int) -> list[Event]:
        wanted = one_tag(tag, _tag_names(Event))
        return [event for event in self._events if wanted in event.tags()]

    def fold(self, state: type[S], **tag: str | int) -> S:
        folded = state()
        for event in self.events(**tag):
            folded = folded.apply(event)
        return folded

    def new_id(self) -> str:
        try:
            return next(self._ids)
        except StopIteration:
            raise AssertionError("The decision requested more ids than the test provides: extend `ids`.") from None

    def now(self) -> str:
        return self._now


def _tag_names(kind: type[Event]) -> set[str]:
    """Return the names of the tags of an event class and of all its imported subclasses."""
    names = {tag for _, tag in kind.tag_fields}
    return names.union(*map(_tag_names, kind.__subclasses__()))


def _numbered() -> Iterator[str]:
    return (f"id-{number}" for number in itertools.count(1))


def _check_rules(message: Message) -> None:
    if errors := list(message.problems()):
        raise Invalid(errors)


def _through_the_log(event: E) -> E:
    """Write an event as JSON of the log, and return the event read from this JSON."""
    if not isinstance(event, Event):
        raise AssertionError(f"{event!r} is not an event.")
    event.fields()  # raises for values that JSON or SQLite cannot hold
    try:
        read = type(event).model_validate_json(event.data())
    except ValidationError as error:
        problems = "; ".join(sentences(type(event).__name__, error))
        raise AssertionError(f"{full_repr(event)} cannot be read back from the log: {problems}.") from None
    if read != event:
        raise AssertionError(f"{full_repr(event)} comes back from the log as {full_repr(read)}.")
    return read


def _projected(what: App | Projection, given: Iterable[Event]) -> ModelInMemory:
    projections = [what] if isinstance(what, Projection) else what.projections
    tables = ModelInMemory(projections)
    for event in map(_through_the_log, given):
        for projection in projections:
            if function := projection.on.get(type(event)):
                function(event, tables)
    return tables
