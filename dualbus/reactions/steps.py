"""The run of a process manager: from an event and a past to commands, timers and cancellations."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias

from dualbus.application.app import App
from dualbus.application.messages import Command
from dualbus.application.reactions import Cancel, Later
from dualbus.application.reactors import Reactor
from dualbus.application.signatures import name_of

STEPS_MAX = 1000  # of a run: an endless generator must not exhaust the memory

Step: TypeAlias = Command | Later | Cancel


class BadReaction(Exception):
    """A function of a reaction yields a value of a wrong type; the text has no values of records."""


def steps(app: App, reactors: Sequence[Reactor], *arguments: Any) -> list[Step]:
    """Run the functions; return their steps in order. Raises BadReaction, and any exception of the author."""
    found: list[Step] = []
    for reactor in reactors:
        returned = reactor.function(*arguments)
        if not (returned is None or isinstance(returned, Iterable)) or isinstance(returned, Command):
            raise BadReaction(f"{name_of(reactor.function)} returned {type(returned).__name__}: yield the commands.")
        for step in islice(returned or (), STEPS_MAX + 1 - len(found)):
            check_step(app, reactor, step)
            found.append(step)
        if len(found) > STEPS_MAX:
            raise BadReaction(f"{name_of(reactor.function)} yields more than {STEPS_MAX} commands for one event.")
    return found


def check_step(app: App, reactor: Reactor, step: object) -> None:
    """Raise BadReaction for a value of a type missing in the annotation of the function."""
    name, kind = name_of(reactor.function), type(step)
    if kind not in reactor.yields:
        raise BadReaction(f"{name} yields {kind.__name__}, which its return annotation does not name.")
    if isinstance(step, Later) and type(step.command).__name__ not in app.command_types:
        raise BadReaction(
            f"{name} yields Later({type(step.command).__name__}), which is no command of the application."
        )
