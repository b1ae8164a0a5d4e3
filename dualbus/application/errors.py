"""The exceptions of decisions and of client calls: one class for each reaction of a caller."""

from typing import Self


class DualbusError(Exception):
    """The base of every error that a client's call raises.

    `outcome_known` is true if nothing was executed and nothing will be. If it is false, the command may have been
    executed, once. Retry with the same `idempotency_key` to receive the outcome; never retry with another key.
    """

    def __init__(self, text: str, *, outcome_known: bool = True, idempotency_key: str | None = None) -> None:
        super().__init__(text)
        self.outcome_known = outcome_known
        self.idempotency_key = idempotency_key


class Rejected(DualbusError):
    """A rejected command or query; `errors` has a sentence for each problem. A retry would be rejected too.

    A decision raises it, `raise Rejected("Email is already taken")`, and the client's call raises it again.
    """

    def __init__(self, *errors: str) -> None:
        self.errors = [replace_surrogates(error) for error in errors] or ["The command was rejected"]
        super().__init__("; ".join(self.errors))

    def __reduce__(self) -> tuple[type[Self], tuple[str, ...]]:
        return type(self), tuple(self.errors)


class Unavailable(DualbusError):
    """The cluster could not accept the message before its deadline. Nothing was executed; retry later."""


class DeadlineExceeded(DualbusError):
    """No reply arrived before the deadline; `outcome_known` is false for a command that was sent."""


class HandlerError(DualbusError):
    """A function of the application raised, or its process died. The cluster's logs have the details."""


class Executed(DualbusError):
    """The command was executed earlier under this key, and its events cannot be shown.

    Its events are at or before `position` of the log. `outcome_known` is false; a retry does not help.
    """

    def __init__(self, text: str, *, position: int = 0, idempotency_key: str | None = None) -> None:
        super().__init__(text, outcome_known=False, idempotency_key=idempotency_key)
        self.position = position


class ClientClosed(DualbusError):
    """The client was closed before the call, or before its reply arrived."""


def replace_surrogates(sentence: object) -> str:
    """Return a sentence that UTF-8 can encode: each lone surrogate, such as of a cut emoji, becomes "?"."""
    return str(sentence).encode(errors="replace").decode()
