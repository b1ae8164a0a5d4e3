"""The registry of an application: which function is for which message, read from the signatures."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dualbus.application.answers import answer_mistake
from dualbus.application.classes import class_mistakes, private_tags
from dualbus.application.messages import Command, Event, Message, Query, private_fields, result_type, tag_fields
from dualbus.application.past import Past
from dualbus.application.reactions import Reaction
from dualbus.application.reactors import Reactors, reaction_mistakes
from dualbus.application.recorded import Origins, Recorded
from dualbus.application.signatures import (
    MISSING,
    Function,
    Signature,
    SignatureMistake,
    check_accepts,
    is_generator,
    is_message,
    may_be,
    name_of,
    parameter_at,
    read_signature,
    read_types,
    with_subclasses,
    yielded,
)
from dualbus.application.tables import ReadOnlyTables, Tables
from dualbus.application.tags import plain_type
from dualbus.application.upcasts import upcast_mistakes
from dualbus.log.contract import RecordedEvent
from dualbus.protocol.feed import EVENTS

if TYPE_CHECKING:
    from dualbus.application.app import App, Projection

_OWN = {kind.__name__: kind for kind in (Past, ReadOnlyTables, Tables, Recorded)}
_READABLE = {ReadOnlyTables, Tables}


class Decider(NamedTuple):
    """The function for a command, and the events that it may return."""

    function: Function
    events: tuple[type[Event], ...]


class Subscriber(NamedTuple):
    """A function of a projection."""

    projection: str
    function: Function
    wants_recorded: bool  # as the third argument

    def apply(self, event: Event, tables: Tables, record: RecordedEvent, origins: Origins) -> None:
        """Apply an event to the tables."""
        if self.wants_recorded:
            self.function(event, tables, Recorded.of(record, origins.of(record)))
        else:
            self.function(event, tables)


class Registry:
    """The functions by message. `mistakes` has a sentence for each mistake of the author."""

    def __init__(self, app: "App") -> None:
        self.mistakes: list[str] = []
        self.decisions: dict[type[Command], Decider] = {}
        self.answers: dict[type[Query[Any]], Function] = {}
        self.subscribers: dict[type[Event], list[Subscriber]] = {}
        self.reactors: dict[str, Reactors] = {}
        self._subscriptions: list[tuple[tuple[type[Event], ...], Subscriber]] = []
        for function in self._functions("commands", app.commands):
            self._try(self._add_decision, function)
        projections: list[str] = []
        for projection in self._sequence("projections", app.projections):
            if hasattr(projection, "event_names"):
                self._add_projection(projection)
                projections.append(str(projection.name))
            else:
                self.mistakes.append(f"Projections contains {projection!r}, which is not a Projection.")
        self.mistakes += _duplicates("projection name", projections)
        for function in self._functions("queries", app.queries):
            self._try(self._add_answer, function)
        for reaction in self._sequence("reactions", app.reactions):
            self._add_reaction(reaction)
        self.events = tuple(self._all_events(app))
        for reactors in self.reactors.values():
            reactors.complete(self.events)
        for kind in self.events:
            self.subscribers[kind] = [one for kinds, one in self._subscriptions if issubclass(kind, kinds)]
        self._check(app)

    def _add_decision(self, function: Function) -> None:
        signature = _checked(function, Command, "past: Past", {2})
        _check_parameter(function, 1, {Past}, "command: Command, past: Past")
        events = tuple(with_subclasses([*yielded(function, signature.returns)]))
        for kind in signature.accepts:
            self._check_alone("command", kind, function, self.decisions.get(kind))
            self.decisions[kind] = Decider(function, events)

    def _add_answer(self, function: Function) -> None:
        signature = _checked(function, Query, "tables: ReadOnlyTables", {2})
        _check_parameter(function, 1, _READABLE, "query: Query, tables: ReadOnlyTables")
        if is_generator(function):
            raise SignatureMistake(f"{name_of(function)} is a generator: return the whole answer.")
        for kind in signature.accepts:
            self._check_alone("query", kind, function, self.answers.get(kind))
            self.answers[kind] = function
            returns, declared = plain_type(signature.returns), plain_type(result_type(kind))
            if mistake := answer_mistake(kind):
                self.mistakes.append(mistake)
            elif returns is not MISSING and not may_be(returns, declared):
                raise SignatureMistake(
                    f"{name_of(function)} returns {_shown(returns)}, but {kind.__name__} is a "
                    f"Query[{_shown(declared)}]."
                )

    def _add_projection(self, projection: "Projection") -> None:
        if not re.fullmatch(r"\w+", str(projection.name)) or type(projection.version) is not int:
            self.mistakes.append(
                f"Projection {projection.name!r} needs a name of letters, digits or _, and an integer version."
            )
        for function in self._functions(f"on of projection {projection.name}", projection.on):
            self._try(self._subscribe, function, projection.name)

    def _subscribe(self, function: Function, projection: str) -> None:
        signature = _checked(function, Event, "tables: Tables", {2, 3})
        _check_parameter(function, 1, _READABLE, "event: Event, tables: Tables, recorded: Recorded")
        if _own_classes(function, 1):  # otherwise, a decorator may add an argument
            _check_parameter(function, 2, {Recorded}, "event: Event, tables: Tables, recorded: Recorded")
        if is_generator(function):
            raise SignatureMistake(f"{name_of(function)} is a generator, which would change nothing: do not yield.")
        wants_recorded = 2 not in signature.arguments or _names_recorded(function)
        subscriber = Subscriber(projection, function, wants_recorded)
        self._subscriptions.append((signature.accepts, subscriber))

    def _add_reaction(self, reaction: Reaction) -> None:
        if not isinstance(reaction, Reaction):
            self.mistakes.append(f"Reactions contains {reaction!r}, which is not a Reaction.")
        elif reaction.name in self.reactors:
            self.mistakes += _duplicates("reaction name", [reaction.name] * 2)
        else:
            self.reactors[reaction.name] = Reactors(reaction)

    def _check_alone(self, title: str, kind: type[Message], function: Function, other: Any) -> None:
        if other is not None:
            names = f"{name_of(other.function if isinstance(other, Decider) else other)} and {name_of(function)}"
            raise SignatureMistake(f"{names} are both for the {title} {kind.__name__}: remove one of them.")

    def _all_events(self, app: "App") -> Iterator[type[Event]]:
        """Yield the events of the decisions, of the projections, of the reactions, of `genesis`, and of `events`."""
        named = [kind for decider in self.decisions.values() for kind in decider.events]
        named += [kind for kinds, _ in self._subscriptions for kind in kinds if kind is not Event]
        accepted = [kinds for reactors in self.reactors.values() for kinds, _ in reactors.accepts]
        named += [kind for kinds in accepted for kind in kinds if kind is not Event]
        for event in self._sequence("genesis", app.genesis):
            if isinstance(event, Event):
                named.append(type(event))
            else:
                self.mistakes.append(f"Genesis contains {event!r}, which is not an event.")
        for kind in self._sequence("events", app.events):
            if is_message(kind, Event):
                named.append(kind)
            else:
                self.mistakes.append(f"Events contains {name_of(kind)}, which is not an event.")
        yield from with_subclasses(named)

    def _check(self, app: "App") -> None:
        kinds: set[type[Message]] = {*self.decisions, *self.answers, *self.events}
        self.mistakes += _duplicates("message type", [kind.__name__ for kind in kinds])
        if EVENTS in {kind.__name__ for kind in (*self.decisions, *self.answers)}:
            self.mistakes.append(f"{EVENTS} is a query of dualbus itself: rename {EVENTS} in the application.")
        self.mistakes += reaction_mistakes(app, self.reactors)
        for kind in sorted(kinds, key=name_of):
            self.mistakes += class_mistakes(kind)
        if isinstance(app.upcasts, Mapping):
            self.mistakes += upcast_mistakes(app.upcasts, {kind.__name__ for kind in self.events})
        else:
            self.mistakes.append("Upcasts must be a dictionary: an Upcast by old type.")
        private = {tag for kind in self.events for tag in private_tags(kind)}
        public = {tag for kind in self.events for name, tag in tag_fields(kind) if name not in private_fields(kind)}
        self.mistakes += [
            f"Tag {tag!r} is on a private field and on a public field: mark both as Private, or neither."
            for tag in sorted(private & public)
        ]
        self.mistakes = list(dict.fromkeys(self.mistakes))

    def _try(self, add: Callable[..., None], *arguments: Any) -> None:
        try:
            add(*arguments)
        except SignatureMistake as mistake:
            self.mistakes.append(str(mistake))

    def _functions(self, title: str, functions: Any) -> Sequence[Function]:
        return self._sequence(title, functions, "the signature of a function names its message")

    def _sequence(self, title: str, values: Any, hint: str = "") -> Sequence[Any]:
        if isinstance(values, list | tuple):
            return values
        mistake = f"{title[0].upper()}{title[1:]} must be a list: {hint or f'write {title}=[…]'}."
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)
        return ()


def _names_recorded(function: Function) -> bool:
    """Return whether the third parameter is for Recorded, although a call with two arguments binds, too."""
    third = parameter_at(function, 2)
    if third is None or third.annotation is MISSING:
        return third is not None and third.default is MISSING
    return Recorded in _own_classes(function, 2)


def _own_classes(function: Function, number: int) -> set[type[Any]]:
    """Return the classes of dualbus that the annotation of a parameter names."""
    parameter = parameter_at(function, number)
    if parameter is None or parameter.annotation is MISSING:
        return set()
    try:
        return {*_OWN.values()} & {*read_types(function, number)}
    except SignatureMistake:  # under TYPE_CHECKING
        return {kind for name, kind in _OWN.items() if name in re.findall(r"\w+", str(parameter.annotation))}


def _check_parameter(function: Function, number: int, accepted: set[type[Any]], expected: str) -> None:
    """Raise SignatureMistake for a parameter that names a class of dualbus which belongs elsewhere."""
    found = _own_classes(function, number)
    if found and not found & accepted:
        name, names = name_of(function), " or ".join(sorted(kind.__name__ for kind in found))
        place = "second" if number == 1 else "third"
        raise SignatureMistake(f"{name} has {names} as its {place} parameter: def {name}({expected}).")


def _checked(function: Function, base: type[Message], second: str, arguments: set[int]) -> Signature:
    """Return the signature of a function for messages of a base class."""
    signature = read_signature(function)
    title, name = base.__name__.lower(), name_of(function)
    if not signature.arguments & arguments:
        raise SignatureMistake(f"{name} must accept ({title}: {base.__name__}, {second}).")
    check_accepts(function, base, signature.accepts, f"{title}: Create…, {second}")
    return signature


def _duplicates(title: str, names: list[str]) -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"Duplicate {title} {name!r}: rename one of them."


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
