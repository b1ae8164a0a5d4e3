"""dualbus move, dualbus refill"""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.log.commits import CommitLog
from dualbus.log.engine import forget_shared, mark_shared, open_commit_log, shared_name
from dualbus.operations.moving import end, fill
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.runtime.files import lock_data
from dualbus.runtime.settings import ONE_MACHINE, Settings


def move(
    to: Annotated[str, typer.Argument(help="nats://HOST,HOST,HOST/NAME, postgresql://… or sqlite:")],
) -> None:
    """Move the log to several machines, or back to this machine.

    To several machines: copies the log while commandbus runs. Stop commandbus, run the command again for the last
    commits, set DUALBUS_LOG and start the cluster.

    Back to this machine, with `sqlite:` and the DUALBUS_LOG of the machines: stop commandbus on all machines first.
    From several machines to another address: move the log back to this machine first. After `dualbus restore`: stop
    commandbus on all machines first.
    """
    data = settings().data
    if to == ONE_MACHINE:
        _move_back(settings())
        return
    with closing(open_commit_log(to, create=True)) as commits:
        _check_no_other(commits, data)
        number = _fill(commits, data, "Moving")
        try:
            lock = lock_data(data, "log", "commandbus writes the log")
        except AlreadyRunningError:
            output.line(
                f"Copied the log up to commit {number}. commandbus is running: stop it, and run this command again "
                "for the last commits."
            )
            return
        try:
            _check_no_other(commits, data)
            number = _fill(commits, data, "Moving")  # commits of a commandbus that has stopped meanwhile
            # From now on, commandbus refuses the settings of one machine: two writers would acknowledge commits.
            mark_shared(data, commits.name)
        finally:
            lock.release()
    output.line(f"The log has moved, with {number} commits. Set DUALBUS_LOG to this address, and start the cluster.")


def _check_no_other(commits: CommitLog, data: Path) -> None:
    """Raise WrongUse for a replica of another commit log, to which the other machines would continue to write.

    Another commit log of the same name, such as on other servers, is empty.
    """
    name = shared_name(data)
    if name and (name != commits.name or commits.tail() == 0):
        raise output.WrongUse(
            f"The log in {data} is a replica of {name}: stop commandbus on all machines, run `dualbus move sqlite:` "
            "with the DUALBUS_LOG of the machines, so that no machine writes there any more, and then this command "
            "again. To fill a stream that has lost its commits, run `dualbus refill`."
        )


def refill() -> None:
    """Put lost commits from this replica into the commit log.

    Stop commandbus on all machines, and run the command on the machine with the highest position. If the lost
    commits include some that this replica lacks, restart the gateways, too.
    """
    found = settings()
    if found.log == ONE_MACHINE:
        raise output.WrongUse("DUALBUS_LOG is not set: the log on one machine has no commit log to fill.")
    lock = lock_data(found.data, "log", "commandbus writes the log")
    try:
        with closing(open_commit_log(found.log, create=True)) as commits:
            _check_address(commits, found.data)
            number = _fill(commits, found.data, "Filling")
    finally:
        lock.release()
    output.line(
        f"The commit log has all {number} commits of {found.data}. Restart the gateways, which remember the latest "
        "writer, and start commandbus on all machines."
    )


def _check_address(commits: CommitLog, data: Path) -> None:
    """Raise WrongUse for a replica of another commit log than that of DUALBUS_LOG, such as an earlier one."""
    name = shared_name(data)
    if name and name != commits.name:
        raise output.WrongUse(
            f"The log in {data} is a replica of {name}, and DUALBUS_LOG is the address of {commits.name}: set "
            "DUALBUS_LOG to the address of the first for this command."
        )


def _fill(commits: CommitLog, data: Path, what: str) -> int:
    with output.bar(what) as progress:
        return fill(commits, data, progress)[1]


def _move_back(found: Settings) -> None:
    """Allow commandbus to write the replica alone, if it has every commit; no other replica is written again."""
    data = found.data
    lock = lock_data(data, "log", "commandbus writes the log")
    try:
        if found.log != ONE_MACHINE:
            with closing(open_commit_log(found.log, create=False)) as commits:
                _check_address(commits, data)
                end(commits, data, found.host)
        elif name := shared_name(data):
            raise output.WrongUse(
                f"The log in {data} is a replica of {name}: set DUALBUS_LOG to its address for this command, so that "
                "no other machine writes after the last commit."
            )
        forget_shared(data)
    finally:
        lock.release()
    output.line(
        f"The log in {data} belongs to this machine alone. Unset DUALBUS_LOG and start the cluster here; start no "
        "commandbus on the other machines."
    )
