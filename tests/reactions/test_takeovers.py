"""Reactors of two hosts on one log, one after the other, each with a file of its own."""

import asyncio
from collections import Counter
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
from tests.reactions.troubled import COMMANDS, Echoed, Note, failing, other


def run_host(folder: Path, app: App, memory: InProcess) -> list[int]:
    """Run the reactor of a host until nothing is left to do; return the parked positions."""

    async def run() -> list[int]:
        log = memory._decider.log
        with closing(ReactionStore(folder, log.identity)) as store:
            environment = Environment(Interrupt(), nullcontext, lambda: None, RunningEvent(folder))
            commands = Commands(memory._send_for_reaction, log)
            reactions = Reactions(app, log, store, commands, environment, shared=True)
            reactions.start()
            while reactions.step(published=True) or not reactions.idle:
                await asyncio.sleep(0.001)
            await reactions.stop()
            await reactions.mark()
            return [row.position for row in store.parked()]

    folder.mkdir(exist_ok=True)
    return asyncio.run(run())


def test_an_event_that_another_host_has_finished_is_parked_no_more_and_executed_once(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with InProcess(App(commands=COMMANDS, events=[Echoed])) as memory:
        memory.command(Note(item="a", text="raise"))
        memory.command(Note(item="a", text="after"))
        assert run_host(first, failing, memory) == [1, 2]  # the second follows the first
        # The other host has the corrected version
        assert run_host(second, other, memory) == []
        memory.command(Note(item="a", text="later"))

        assert run_host(first, other, memory) == []

        caused = Counter(event.command_id for event in memory._decider.log.read(0, 100) if event.type == "Echoed")
        assert caused == dict.fromkeys([f"echo/{position}/{step}" for position in (1, 2, 7) for step in (0, 1)], 1)
