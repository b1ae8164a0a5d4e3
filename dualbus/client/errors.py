"""What a client's call raises when it has no result: one class for each thing a caller may want to do about it."""

from collections.abc import Sequence
from typing import Self


class Error(Exception):
    """What all of them are.

    `outcome_known` is true when nothing happened, for sure, and nothing will. Where it is false, the command
    may have been done, once: call it again with the same `idempotency_key`, and the answer is the first one's.
    Never call it again with another key.
    """

    def __init__(self, text: str, *, outcome_known: bool = True, idempotency_key: str | None = None) -> None:
        super().__init__(text)
        self.outcome_known = outcome_known
        self.idempotency_key = idempotency_key


class Refused(Error):
    """The message was refused, and would be again; `errors` says why, a sentence each."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = list(errors)

    def __reduce__(self) -> tuple[type[Self], tuple[list[str]]]:
        return type(self), (self.errors,)


class Unavailable(Error):
    """It could not be taken on before its deadline; nothing happened. Try again later."""


class Timeout(Error):
    """There was no answer before the deadline; `outcome_known` is false if it was a command that was sent."""


class Failed(Error):
    """The application raised, or a process died over it; the logs of the cluster have the details."""


class Executed(Error):
    """A command was executed earlier under this key, up to `position` of the log, and its events cannot be shown.

    `outcome_known` is false: something happened. To call again at once changes nothing.
    """

    def __init__(self, text: str, *, position: int = 0, idempotency_key: str | None = None) -> None:
        super().__init__(text, outcome_known=False, idempotency_key=idempotency_key)
        self.position = position


class Closed(Error):
    """The client was closed before the call, or before its answer came."""
