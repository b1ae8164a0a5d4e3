"""Several effects of a reaction for one event: each numbers its own commands."""

from collections.abc import AsyncIterator, Iterator

import pytest

from dualbus import App, Attempt, Past, Reaction
from dualbus.testing import InProcess
from tests.reactions.effects import Confirm, Confirmed, Send, Sent, send


@pytest.mark.parametrize("first_yields_in", [1, 2])
def test_each_effect_executes_its_commands_once_even_if_another_yields_others_in_a_repeated_attempt(
    first_yields_in: int,
) -> None:
    # Given an effect that yields a command in one of two attempts, and another before or after the failure
    executed: list[str] = []

    def confirm(command: Confirm, past: Past) -> Iterator[Confirmed]:
        executed.append(command.parcel)
        yield Confirmed(parcel=command.parcel, number=command.number)

    async def sometimes(event: Sent, attempt: Attempt) -> AsyncIterator[Confirm]:
        if attempt.number == first_yields_in:
            yield Confirm(parcel="first", number=0)

    async def always(event: Sent, attempt: Attempt) -> AsyncIterator[Confirm]:
        if attempt.number == first_yields_in == 1:
            raise OSError
        yield Confirm(parcel="second", number=0)

    async def last(event: Sent, attempt: Attempt) -> None:
        if attempt.number == 1:
            raise OSError

    reaction = Reaction("twice", on=[sometimes, always, last], since="beginning", pause=0.05)
    with InProcess(App(commands=[send, confirm], reactions=[reaction])) as client:
        client.command(Send(parcel="a"))
        for _ in range(3):
            client.advance(seconds=10)
        assert client.parked() == []

    assert sorted(executed) == ["first", "second"]
