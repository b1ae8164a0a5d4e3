"""Given-when-then tests of decisions, projections, queries and reactions on values, without sockets and files.

    events = decide(app, given=[], when=CreateUser(name="Ada", email="ada@example.org"))
    rows = project(app, given=[UserCreated(...)]).all("SELECT * FROM users")
    answer(app, given=[UserCreated(...)], when=GetUser(user_id="u-1"))
    steps = react(app, given=[OrderPlaced(...)], when=PaymentReceived(...))

As in a cluster, events are converted to the JSON of the log and back, and commands, queries and answers to the wire
format and back.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic_core import to_json

from dualbus.application import event_json
from dualbus.application.answers import answer_of
from dualbus.application.app import App, Projection
from dualbus.application.equality import difference
from dualbus.application.errors import Problem, Rejected
from dualbus.application.exact import is_record
from dualbus.application.immutable import own_event
from dualbus.application.messages import Command, Event, Invalid, M, Message, Query, R, parse
from dualbus.application.past import S, applied, folded_types, initial, limited, matches, read_of
from dualbus.application.reactions import Cancel, Later
from dualbus.application.recorded import Origins
from dualbus.application.requests import request_fields
from dualbus.application.signatures import name_of
from dualbus.application.tables import ReadOnlyTables
from dualbus.application.tags import TagValue
from dualbus.log.contract import NO_HASH, RecordedEvent
from dualbus.protocol.codec import pack, unpack
from dualbus.protocol.codes import WireError
from dualbus.reactions.steps import BadReaction, steps
from dualbus.readmodel.memory import ModelInMemory
from dualbus.readmodel.values import answer_data
from dualbus.testing.differences import full_repr

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""The default time of a decision."""

E = TypeVar("E", bound=Event)
_NONE: Mapping[str, Any] = MappingProxyType({})


def decide(
    app: App,
    *,
    given: Iterable[Event] = (),
    when: Command,
    ids: Iterable[str] | None = None,
    now: datetime = NOW,
    actor: str | None = None,
) -> list[Event]:
    """Return the events of a command. Raises Rejected if the decision does, and Invalid if `when` breaks its rules.

    The decision receives the command as a cluster reads it from a client. `past.new_id()` returns `ids` in order
    ("id-1", "id-2", … by default), `past.now()` returns `now`, and `past.actor` is `actor`. Raises
    AssertionError for a given event that the decision has not read, because the event has no effect on the test.
    """
    when = _through_the_wire(when)
    decider = app.decisions.get(type(when))
    if decider is None:
        raise AssertionError(f"{type(when).__name__} is not among the commands of the application.")
    past = _Past(app, [_through_the_log(event) for event in given], ids, now, actor)
    try:
        events = limited(decider.function(when, past), decider.function, decider.events)
    finally:  # also after a refusal
        past.check_unchanged(name_of(decider.function))
    past.check_all_read(name_of(decider.function))
    return [_through_the_log(event) for event in events]


def project(what: App | Projection, *, given: Iterable[Event]) -> ReadOnlyTables:
    """Return the tables of a projection, or of all projections of an application, after the events."""
    return _projected(what, given).read_only()


def answer(app: App, *, given: Iterable[Event] = (), when: Query[R]) -> R:
    """Return the answer to a query after the events."""
    when = _through_the_wire(when)
    function = app.answers.get(type(when))
    if function is None:
        raise AssertionError(f"{type(when).__name__} is not among the queries of the application.")
    return answer_of(when, unpack(pack(answer_data(function(when, project(app, given=given)), type(when)))))


def react(
    app: App,
    *,
    given: Iterable[Event] = (),
    when: Event | Command,
    refused: Rejected | None = None,
    ids: Iterable[str] | None = None,
    now: datetime = NOW,
) -> list[Command | Later | Cancel]:
    """Return the commands, timers and cancellations of all process managers for an event, in their order.

    `when` is the event, after those of `given`; or a command of a reaction, with its `refused`. `past.now()` returns
    `now`. Raises AssertionError if no reaction is for the event, or the reaction yields another value.
    """
    reactions = app.reactors.values()
    arguments: tuple[object, ...]
    if isinstance(when, Command):
        functions = [[one.refusals[type(when)]] for one in reactions if type(when) in one.refusals]
        events, arguments = [_through_the_log(event) for event in given], (when, refused or Rejected())
    else:
        functions = [
            one.by_event[type(when)] for one in reactions if type(when) in one.by_event and not one.is_effect
        ]
        events, arguments = [_through_the_log(event) for event in (*given, when)], (_through_the_log(when),)
    if not functions:
        raise AssertionError(f"{type(when).__name__} is not among the messages of the process managers.")
    past = _Past(app, events, ids, now, None)
    try:
        found = [step for reactors in functions for step in steps(app, reactors, *arguments, past)]
    except BadReaction as bad:
        raise AssertionError(str(bad)) from None
    for step in found:
        if not isinstance(step, Cancel):
            _check_sent(step.command if isinstance(step, Later) else step)
    return found


def from_log(app: App, type_: str, **fields: Any) -> Event:
    """Return the current event of an old record with this type and these fields: `given=[from_log(...)]`."""
    if type_ not in app.stored_types:
        raise AssertionError(f"{type_} is neither an event of the application nor among its upcasts.")
    return app.decode(type_, to_json(fields).decode())


def problems(kind: type[Message], fields: Mapping[str, Any] = _NONE, /, **keywords: Any) -> list[Problem]:
    """Return the problems that a client would receive for a message with these fields in their JSON form."""
    try:
        parse(kind, {**fields, **keywords})
    except Invalid as invalid:
        return invalid.problems
    return []


class _Past:
    """The Past of a test."""

    def __init__(
        self, app: App, events: list[Event], ids: Iterable[str] | None, now: datetime, actor: str | None = None
    ) -> None:
        self.actor = actor
        self._app = app
        self._events = events
        self._unread = dict(enumerate(events))
        self._folded: list[tuple[object, object]] = []  # each state, and a copy
        self._ids = _numbered() if ids is None else iter(ids)
        self._now = now

    def events(self, *tags: TagValue, of: Any = Event) -> list[Any]:
        read = read_of(tags, of, self._app.tags, self._app.event_types.values())
        found = {
            number: event for number, event in enumerate(self._events) if matches(read, event, event_json.tags(event))
        }
        for number in found:
            self._unread.pop(number, None)
        return list(found.values())

    def fold(self, state: type[S] | S, *tags: TagValue) -> S:
        start = initial(state)
        folded = applied(start, self.events(*tags, of=folded_types(type(start))))
        if is_record(type(folded)) and (copy := deepcopy(folded)) == folded:
            self._folded.append((folded, copy))
        return folded

    def new_id(self) -> str:
        try:
            return next(self._ids)
        except StopIteration:
            raise AssertionError("The decision requested more ids than the test provides: extend `ids`.") from None

    def now(self) -> datetime:
        return self._now

    def check_all_read(self, name: str) -> None:
        """Raise AssertionError for an event that no read has returned."""
        for number, event in self._unread.items():
            raise AssertionError(
                f"given[{number}], {full_repr(event)}, has no effect: {name} has read no history to which it "
                "belongs. Check its tags and its type, or remove it."
            )

    def check_unchanged(self, name: str) -> None:
        """Raise AssertionError for a changed state: commandbus would show the change to later decisions."""
        for state, copy in self._folded:
            if difference(state, copy) is not None:
                raise AssertionError(
                    f"{name} has changed the state {type(state).__name__}, which later decisions read: copy the part "
                    "that changes, such as a list, first."
                )


def _numbered() -> Iterator[str]:
    return (f"id-{number}" for number in itertools.count(1))


def _through_the_wire(message: M) -> M:
    """Return a message that is read from the fields that a client sends; raise Invalid if it breaks its rules."""
    try:
        return parse(type(message), request_fields(message))
    except WireError as error:
        raise AssertionError(f"{full_repr(message)} cannot be sent: {error}") from None


def _check_sent(command: Command) -> None:
    """Raise AssertionError for a command that a reactor cannot send, or that is refused: its event is parked."""
    try:
        _through_the_wire(command)
    except Invalid as invalid:
        raise AssertionError(f"{full_repr(command)} is refused: {invalid}.") from None


def _through_the_log(event: E) -> E:
    """Write an event as JSON of the log, and return the event read from this JSON."""
    if not isinstance(event, Event):
        raise AssertionError(f"{event!r} is not an event.")
    try:
        return event_json.from_text(type(event), event_json.to_text(event))
    except WireError as error:
        raise AssertionError(f"{full_repr(event)} cannot be stored: {error}") from None


def _projected(what: App | Projection, given: Iterable[Event]) -> ModelInMemory:
    app = App(projections=[what]) if isinstance(what, Projection) else what
    tables = ModelInMemory(app.projections)
    for position, event in enumerate(map(_through_the_log, given), 1):
        record = RecordedEvent(
            position, type(event).__name__, event_json.to_text(event), NOW.isoformat(), "given", NO_HASH
        )
        with tables.transaction():
            for subscriber in app.subscribers.get(type(event), ()):
                subscriber.apply(own_event(event), tables, record, Origins())
                tables.check_applied()
    return tables
