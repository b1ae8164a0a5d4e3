"""dualbus move, dualbus refill"""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.log.engine import forget_shared, open_commit_log
from dualbus.operations.moving import fill
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.runtime.files import lock_data
from dualbus.runtime.settings import ONE_MACHINE


def move(
    to: Annotated[str, typer.Argument(help="nats://HOST,HOST,HOST/NAME, postgresql://… or sqlite:")],
) -> None:
    """Move the log to several machines, or back to this machine.

    To several machines: copies the log while commandbus runs. Stop commandbus, run the command again for the last
    commits, set DUALBUS_LOG and start the cluster.

    Back to this machine, with `sqlite:`: stop commandbus on all machines first.
    """
    data = settings().data
    if to == ONE_MACHINE:
        _move_back(data)
        return
    number = _fill(to, data, "Moving")
    try:
        lock_data(data, "log", "commandbus writes the log").release()
    except AlreadyRunningError:
        output.line(
            f"Copied the log up to commit {number}. commandbus is running: stop it, and run this command again for "
            "the last commits."
        )
        return
    output.line(f"The log has moved, with {number} commits. Set DUALBUS_LOG to this address, and start the cluster.")


def refill() -> None:
    """Put lost commits from this replica into the commit log.

    Stop commandbus on all machines, and run the command on the machine with the highest position.
    """
    found = settings()
    if found.log == ONE_MACHINE:
        raise output.WrongUse("DUALBUS_LOG is not set: the log on one machine has no commit log to fill.")
    lock = lock_data(found.data, "log", "commandbus writes the log")
    try:
        number = _fill(found.log, found.data, "Filling")
    finally:
        lock.release()
    output.line(f"The commit log has all {number} commits of {found.data}. Start commandbus on all machines.")


def _fill(url: str, data: Path, what: str) -> int:
    with closing(open_commit_log(url, create=True)) as commits, output.bar(what) as progress:
        return fill(commits, data, progress)[1]


def _move_back(data: Path) -> None:
    """Allow commandbus to write the replica alone, if it has every commit."""
    url = settings().log
    lock = lock_data(data, "log", "commandbus writes the log")
    try:
        if url != ONE_MACHINE:
            with closing(open_commit_log(url, create=False)) as commits:
                fill(commits, data, lambda done, total: None)  # raises LogError if the replica is behind
        forget_shared(data)
    finally:
        lock.release()
    output.line(
        f"The log in {data} belongs to this machine alone. Unset DUALBUS_LOG and start the cluster here; start no "
        "commandbus on the other machines."
    )
