"""A reaction that is not open yet, as its lifespan raises."""

import asyncio
from contextlib import closing, nullcontext
from pathlib import Path

from dualbus import App
from dualbus.reactions.store import ReactionStore
from dualbus.reactor.commands import Commands
from dualbus.reactor.environment import Environment
from dualbus.reactor.reactions import Reactions
from dualbus.reactor.running_event import RunningEvent
from dualbus.testing import InProcess
from dualbus.worker.interrupt import Interrupt
from tests.reactions.effects import DECISIONS, app


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
