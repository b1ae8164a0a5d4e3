"""Applications whose reactions are wrong in some way."""

import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Annotated, Any

from dualbus import App, Attempt, Command, Event, Later, Past, Reaction, Rejected, Tag, Upcast

ITEM = Tag("item")


class Note(Command):
    item: str
    text: str = ""


class Noted(Event):
    item: Annotated[str, ITEM]
    text: str


class Echo(Command):
    item: str
    text: str = ""


class Echoed(Event):
    item: Annotated[str, ITEM]
    text: str


def note(command: Note, past: Past) -> Iterator[Noted]:
    yield Noted(item=command.item, text=command.text)


def echo(command: Echo, past: Past) -> Iterator[Echoed]:
    if command.text == "raise":
        raise RuntimeError("the secret of the decision")
    if command.text == "refuse":
        raise Rejected("No")
    yield Echoed(item=command.item, text=command.text)


def loop(event: Noted, past: Past) -> Iterator[Note]:
    yield Note(item=event.item)


async def loop_after_effect(event: Noted, attempt: Attempt) -> AsyncIterator[Note]:
    if len(event.text) < 110:  # so that a chain that is not stopped fails its test
        yield Note(item=event.item, text=event.text + "x")


def react(event: Noted, past: Past) -> Iterator[Echo]:
    match event.text:
        case "raise":
            raise ValueError("a secret")
        case "hang":
            while True:
                time.sleep(0.01)
        case "exit":
            os._exit(139)
        case "wrong":
            yield Note(item="x")  # type: ignore[misc]
        case "endless":
            while True:
                yield Echo(item=event.item)
        case "decision":
            yield Echo(item=event.item, text="raise")
    yield Echo(item=event.item, text=event.text)


def react_otherwise(event: Noted, past: Past) -> Iterator[Echo]:
    yield Echo(item=event.item, text="otherwise")
    yield Echo(item=event.item, text="more")


COMMANDS: list[Any] = [note, echo]
looping = App(commands=COMMANDS, reactions=[Reaction("loop", on=[loop], since="beginning")])
looping_effect = App(commands=COMMANDS, reactions=[Reaction("loop", on=[loop_after_effect], since="beginning")])
failing = App(
    commands=COMMANDS,
    reactions=[Reaction("echo", on=[react], since="beginning", timeout=0.3, tries=2, pause=0.05)],
    events=[Echoed],
)
other = App(commands=COMMANDS, reactions=[Reaction("echo", on=[react_otherwise], since="beginning")])


def refuse(fields: dict[str, Any]) -> dict[str, Any]:
    if fields["text"] == "raise":
        raise ValueError
    return fields


unreadable = App(
    commands=COMMANDS,
    reactions=[Reaction("echo", on=[react], since="now"), Reaction("other", on=[react_otherwise], since="now")],
    upcasts={"Noted": Upcast("Noted", refuse)},
)


def echo_later(event: Noted, past: Past) -> Iterator[Later | Echo]:
    yield Later(Echo(item=event.item, text=event.text), after=timedelta(milliseconds=1))


def end(command: Echo, refused: Rejected, past: Past) -> Iterator[Echo]:
    os._exit(139)
    yield command


ending = App(commands=COMMANDS, reactions=[Reaction("echo", on=[echo_later], since="beginning", on_refused=[end])])
