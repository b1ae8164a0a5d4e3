"""Fill a commit log from the log of a data folder, and end a commit log."""

from collections.abc import Callable
from pathlib import Path

from dualbus.log.body import check_identity, check_not_moved, mover, unpacked, verified
from dualbus.log.commits import CommitLog
from dualbus.log.contract import LogDamaged, LogError
from dualbus.log.engine import StoredCommits, replica_name

PUT_SECONDS = 30.0


def fill(commits: CommitLog, folder: Path, progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Put the commits that a commit log lacks; return the number of commits before, and after.

    Raises LogError if the commit log has other commits, if another process writes to it, or for a changed commit of
    the folder.
    """
    log = StoredCommits(folder)
    try:
        before = _present(commits, log)
        end = log.end(before)
        for number, body in log.bodies(before):
            if len(body) > commits.body_bytes_max:
                raise LogError(
                    f"Commit {number} has {len(body)} bytes, and the engine accepts {commits.body_bytes_max}: raise "
                    "its limit (max_payload of NATS, at most 64MB)."
                )
            try:
                end = verified(unpacked(body, number), log.identity, end).end
            except LogDamaged:
                raise LogDamaged(
                    f"Commit {number} of the log in {folder} was changed, and is not put into the commit log, where "
                    "it could never be repaired: run `dualbus verify`, and continue with another copy of the log."
                ) from None
            if not commits.put(number, body, PUT_SECONDS):
                raise LogError(
                    f"Another process has put commit {number}: stop commandbus on all machines, and start again."
                )
            progress(number, log.last)
        return before, max(before, log.last)
    finally:
        log.close()


def end(commits: CommitLog, folder: Path, host: str) -> None:
    """Put the last commit of a commit log: each commandbus that reads this commit ends. Has no effect again.

    Its number decides: a commandbus that writes at this time is first, or ends. Raises LogError if the log in the
    folder lacks a commit, or if the log has moved to another folder.
    """
    writer = mover(host, replica_name(folder))
    last = commits.tail() or 0
    if last and any(unpacked(body, last).writer == writer for body in commits.get(last - 1, 1)):
        return
    fill(commits, folder, lambda done, total: None)
    log = StoredCommits(folder)
    try:
        if not commits.put(log.last + 1, log.next_body(writer), PUT_SECONDS):
            raise LogError(
                f"Another process has put commit {log.last + 1}: stop commandbus on the other machines, start it "
                "here to copy this commit, stop it, and start again."
            )
    finally:
        log.close()


def _present(commits: CommitLog, log: StoredCommits) -> int:
    """Return the last commit of a commit log. Raises LogError if the log of the folder has another commit there."""
    number = commits.tail()
    if number is None:
        raise LogError("No majority of the engine answers: start its servers, and start again.")
    if number:
        found = commits.get(number - 1, 1)
        if not found:
            raise LogError(f"Commit {number} of the commit log cannot be read: start again.")
        body = unpacked(found[0], number)
        check_identity(body, log.identity)
        check_not_moved(body)
        known = log.commit_hash_at(number)
        if known is None:
            raise LogError(
                f"The commit log has {number} commits, more than the log in this folder ({log.last}): nothing is "
                "missing. Start commandbus, which copies them."
            )
        if known != body.hash:
            raise LogError(
                f"Commit {number} of the commit log differs from the log in this folder: use another name in the "
                "address, for a new commit log."
            )
    return number
