"""The registration of reactions: which function runs for which event, read from the signatures."""

import inspect
import re
import typing
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, get_origin

from cronsim import CronSimError

from dualbus.application.messages import Command, Event
from dualbus.application.reactions import Cancel, Every, Later, Reaction
from dualbus.application.requests import request_fields
from dualbus.application.signatures import (
    MISSING,
    Function,
    SignatureMistake,
    check_accepts,
    is_async,
    is_message,
    item_classes,
    name_of,
    parameter_at,
    read_signature,
)
from dualbus.application.tags import plain_type
from dualbus.protocol.codes import WireError

if TYPE_CHECKING:
    from dualbus.application.app import App

_ORDERS = {Later, Cancel}  # that a process manager may yield beside commands


class Reactor(NamedTuple):
    """A function of a reaction, and the types that the function may yield."""

    function: Function
    yields: frozenset[type[Any]]
    wants_resource: bool = False  # as the third argument


class Reactors:
    """The functions of one reaction by message. `mistakes` has a sentence for each mistake of the author."""

    def __init__(self, reaction: Reaction) -> None:
        self.reaction = reaction
        self.mistakes: list[str] = []
        self.accepts: list[tuple[tuple[type[Event], ...], Reactor]] = []
        self.by_event: dict[type[Event], list[Reactor]] = {}
        self.refusals: dict[type[Command], Reactor] = {}
        self.schedules: dict[str, Every] = {}  # by the type of the command
        functions = [part for part in _sequence(reaction.on) if not isinstance(part, Every)]
        self.is_effect = any(map(is_async, functions))
        self.mistakes += _field_mistakes(reaction)
        for part in _sequence(reaction.on):
            self._try(self._add_schedule if isinstance(part, Every) else self._add_function, part)
        for function in _sequence(reaction.on_refused):
            self._try(self._add_refusal, function)

    def complete(self, events: tuple[type[Event], ...]) -> None:
        """Resolve base classes: find the functions of each event of the application."""
        for kind in events:
            if found := [reactor for accepts, reactor in self.accepts if issubclass(kind, accepts)]:
                self.by_event[kind] = found

    def of(self, event: Event) -> list[Reactor]:
        """Return the functions for an event; none if a new version has removed them: the event was parked before."""
        return self.by_event.get(type(event), [])

    def yields(self) -> list[type[Any]]:
        """Return the commands that the reaction may execute, as far as the annotations name them, by name."""
        reactors = [reactor for _, reactor in self.accepts] + list(self.refusals.values())
        named = {kind for reactor in reactors for kind in reactor.yields}
        named |= {type(every.command) for every in self.schedules.values()}
        return sorted(named - _ORDERS, key=name_of)

    def _try(self, add: Callable[[Any], None], part: Any) -> None:
        try:
            add(part)
        except SignatureMistake as mistake:
            self.mistakes.append(str(mistake))

    def _add_function(self, function: Function) -> None:
        if is_async(function) != self.is_effect:
            raise SignatureMistake(
                f"Reaction {self.reaction.name} mixes plain and async functions ({name_of(function)}): put process "
                "managers and effects into two reactions."
            )
        second = "attempt: Attempt" if self.is_effect else "past: Past"
        signature = read_signature(function, may_be_async=True)
        arguments = {2, 3} if self.is_effect and self.reaction.lifespan else {2}
        _check_arguments(function, signature.arguments & arguments, f"(event: Event, {second})")
        check_accepts(function, Event, signature.accepts, "event: …, …")
        yields = (
            _effect_yields(function, signature.returns) if self.is_effect else _yields(function, signature.returns)
        )
        wants_resource = self.is_effect and bool(self.reaction.lifespan) and parameter_at(function, 2) is not None
        self.accepts.append((signature.accepts, Reactor(function, yields, wants_resource)))

    def _add_refusal(self, function: Function) -> None:
        signature = read_signature(function)
        _check_arguments(function, signature.arguments & {3}, "(command: Command, refused: Rejected, past: Past)")
        check_accepts(function, Command, signature.accepts, "command: …, …")
        for kind in signature.accepts:
            if kind in self.refusals:
                names = f"{name_of(self.refusals[kind].function)} and {name_of(function)}"
                raise SignatureMistake(f"{names} are both for a refused {kind.__name__}: remove one of them.")
            # The timers of an effect could not be derived from the log again: the effect has run.
            orders = frozenset[type[Any]]() if self.is_effect else _ORDERS
            self.refusals[kind] = Reactor(function, _yields(function, signature.returns, others=orders))

    def _add_schedule(self, every: Every) -> None:
        name = type(every.command).__name__
        if not is_message(type(every.command), Command):
            raise SignatureMistake(f"Every({every.schedule!r}) needs a command, not {every.command!r}.")
        try:
            request_fields(every.command)
        except WireError as error:
            raise SignatureMistake(f"Every({every.schedule!r}): {error}") from None
        try:
            every.next(datetime(2026, 1, 1, tzinfo=UTC))
        except (KeyError, ValueError, OSError):  # of zoneinfo
            raise SignatureMistake(f"Every({every.schedule!r}): there is no time zone {every.zone!r}.") from None
        except (CronSimError, StopIteration, AttributeError, TypeError):
            raise SignatureMistake(
                f"Every({every.schedule!r}) is not a schedule of cron: write minute, hour, day, month and weekday, "
                "such as 0 3 * * *."
            ) from None
        if name in self.schedules:
            raise SignatureMistake(f"Reaction {self.reaction.name} has two schedules for {name}: use two reactions.")
        self.schedules[name] = every


def reaction_mistakes(app: "App", reactors: Mapping[str, Reactors]) -> Iterator[str]:
    """Yield a sentence for each mistake in the reactions of an application."""
    decided = {kind for function in _sequence(app.commands) for kind in _accepted(function)}
    for name, one in reactors.items():
        yield from one.mistakes
        for kind in (kind for kind in one.yields() if kind not in decided):
            yield f"Reaction {name} executes {kind.__name__}, for which App(commands=[…]) has no decision: add one."


def _accepted(function: Function) -> tuple[type[Any], ...]:
    try:
        return read_signature(function).accepts
    except SignatureMistake:
        return ()  # reported for the decision


def _field_mistakes(reaction: Reaction) -> Iterator[str]:
    name = reaction.name
    if not re.fullmatch(r"[\w-]{1,50}", str(name)):
        yield f"Reaction {name!r} needs a name of at most 50 letters, digits, _ or -."
    if reaction.since not in ("beginning", "now") and not (type(reaction.since) is int and reaction.since >= 0):
        yield f'Reaction {name}: since must be "beginning", "now" or a position, not {reaction.since!r}.'
    if not _sequence(reaction.on) or not isinstance(reaction.on_refused, list | tuple):
        yield f"Reaction {name}: on and on_refused must be lists of functions; on needs at least one function."
    for field in ("tries", "concurrency"):
        if type(value := getattr(reaction, field)) is not int or value < 1:
            yield f"Reaction {name}: {field} must be a whole number of at least 1, not {value!r}."
    for field in ("pause", "timeout"):
        if isinstance(value := getattr(reaction, field), bool) or not isinstance(value, int | float) or value <= 0:
            yield f"Reaction {name}: {field} must be a number of seconds above 0, not {value!r}."


def _sequence(values: Any) -> Any:
    return values if isinstance(values, list | tuple) else ()


def _check_arguments(function: Function, accepted: frozenset[int], expected: str) -> None:
    if not accepted:
        raise SignatureMistake(f"{name_of(function)} must accept {expected}.")


def _effect_yields(function: Function, annotation: Any) -> frozenset[type[Any]]:
    if not inspect.isasyncgenfunction(inspect.unwrap(function)):
        return frozenset()
    return _yields(function, annotation, AsyncIterable, frozenset())


def _yields(
    function: Function,
    annotation: Any,
    container: Any = typing.Iterable,
    others: typing.AbstractSet[type[Any]] = _ORDERS,
) -> frozenset[type[Any]]:
    """Return the commands and orders of a return annotation."""
    name, annotation = name_of(function), plain_type(annotation)
    origin = get_origin(annotation)
    example = "AsyncIterator[ShipOrder]" if container is AsyncIterable else "Iterator[ShipOrder]"
    if annotation is MISSING or not (isinstance(origin, type) and issubclass(origin, container)):
        raise SignatureMistake(f"{name} needs a return annotation that names its commands: -> {example}.")
    found = frozenset(item_classes(name, annotation, example))
    for kind in found - others:
        if kind is Command:
            raise SignatureMistake(
                f"{name} may yield any Command: name its commands, such as -> Iterator[ShipOrder]."
            )
        if not is_message(kind, Command):
            raise SignatureMistake(f"{name} yields {name_of(kind)}, which is not a command.")
    return found
