"""A reaction that does not open: its lifespan raises, or a client has used the key of its mark."""

import asyncio
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from dualbus import App
from dualbus.reactions.store import ReactionStore
from dualbus.reactor.commands import Commands
from dualbus.reactor.environment import Environment
from dualbus.reactor.reactions import Reactions
from dualbus.reactor.running_event import RunningEvent
from dualbus.testing import InProcess
from dualbus.worker.interrupt import Interrupt
from tests.reactions.effects import DECISIONS, Send, app


def test_a_reaction_whose_lifespan_raises_keeps_the_reactor_idle(tmp_path: Path, office: Path) -> None:
    (office / "closed").touch()

    async def scenario(memory: InProcess) -> None:
        log = memory._decider.log
        with closing(ReactionStore(tmp_path, log.identity)) as store:
            environment = Environment(Interrupt(), nullcontext, lambda: None, RunningEvent(tmp_path))
            commands = Commands(memory._send_for_reaction, log)
            reactions = Reactions(app, log, store, commands, environment)
            reactions.start()
            async with asyncio.timeout(30):
                while "raised OSError" not in reactions.failure:
                    await asyncio.sleep(0.001)

            assert not reactions.step(published=True)
            assert reactions.seconds_to_next() == float("inf")  # of the loop's next turn without a message
            await reactions.stop()

    with InProcess(App(commands=DECISIONS)) as memory:
        asyncio.run(scenario(memory))


@pytest.mark.parametrize("metadata", [{}, {"position": "tomorrow"}])
def test_a_command_of_a_client_under_the_key_of_a_mark_is_no_mark(tmp_path: Path, metadata: dict[str, str]) -> None:
    """The reaction would begin at the position of this command, and miss the events before."""

    async def scenario(memory: InProcess) -> None:
        log = memory._decider.log
        with closing(ReactionStore(tmp_path, log.identity)) as store:
            environment = Environment(Interrupt(), nullcontext, lambda: None, RunningEvent(tmp_path))
            reactions = Reactions(app, log, store, Commands(memory._send_for_reaction, log), environment)
            reactions.start()
            async with asyncio.timeout(30):
                while not reactions.failure.startswith("reaction delivery does not start"):
                    await asyncio.sleep(0.001)
            assert reactions.failure.endswith("a client under delivery/since (Send): rename the reaction.")
            assert not reactions.step(published=True)
            await reactions.stop()

    with InProcess(App(commands=DECISIONS)) as memory:
        memory.command(Send(parcel="a"))
        memory.command(Send(parcel="b"), idempotency_key="delivery/since", metadata=metadata)
        asyncio.run(scenario(memory))
