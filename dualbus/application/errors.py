"""The exceptions of decisions and of client calls: one class for each reaction of a caller."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

REJECTED, INVALID = "rejected", "invalid"  # the codes of a decision and of a rule without a code of their own
KEY_USED = "key_used"  # the code of a command under the key of another command


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason for a rejection: a sentence for users, the path of the field, and a code for programs.

    The path is `email`, `address.zip` or `lines[0].amount`, and None without a field; see docs/clients.md for codes.
    """

    text: str
    field: str | None = None
    code: str = REJECTED


def log_restored(position: int) -> Problem:
    """Return the problem of a subscriber to events if the log was restored to an earlier position than its own."""
    text = (
        f"The log has other events up to position {position} than this subscriber has received: it was restored to "
        "an earlier position. Undo the effects of the events after that position, and continue from it"
    )
    return Problem(text, "after_hash", "log_restored")


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
    """A rejected command or query, with its `problems`; `errors` has their sentences. A retry would be rejected too.

    A decision raises it, and the client's call raises it again:

        raise Rejected("Email is already taken", code="email_taken", field="email")

    For several problems, pass a sentence or a `Problem` for each.
    """

    def __init__(self, *problems: str | Problem, code: str = REJECTED, field: str | None = None) -> None:
        self.problems = problems_of(problems or ("The command was rejected",), code, field)
        self.errors = [problem.text for problem in self.problems]
        super().__init__("; ".join(self.errors))

    def __reduce__(self) -> tuple[type[Self], tuple[Problem, ...]]:
        return type(self), tuple(self.problems)


class Unavailable(DualbusError):
    """The cluster could not accept the message before its deadline. Nothing was executed; retry later."""


class DeadlineExceeded(DualbusError):
    """No reply arrived before the deadline; `outcome_known` is false for a command that was sent."""


class HandlerError(DualbusError):
    """A function of the application raised, or its process died. The cluster's logs have the details."""


class KeyUsed(HandlerError):
    """The idempotency key belongs to another command. Nothing was executed; use another key."""


class Executed(DualbusError):
    """The command was executed earlier under this key, and its events cannot be shown.

    Its events are at or before `position` of the log. `outcome_known` is false; a retry does not help.
    """

    def __init__(self, text: str, *, position: int = 0, idempotency_key: str | None = None) -> None:
        super().__init__(text, outcome_known=False, idempotency_key=idempotency_key)
        self.position = position


class ClientClosed(DualbusError):
    """The client was closed before the call, or before its reply arrived."""


def problems_of(found: Sequence[str | Problem], code: str = REJECTED, field: str | None = None) -> list[Problem]:
    """Return problems that UTF-8 can encode; a sentence becomes a problem with this code and field."""
    problems = [one if isinstance(one, Problem) else Problem(one, field, code) for one in found]
    return [
        Problem(
            replace_surrogates(one.text),
            None if one.field is None else replace_surrogates(one.field),
            replace_surrogates(one.code),
        )
        for one in problems
    ]


def stored_errors(problems: Sequence[Problem]) -> list[Any]:
    """Return problems as JSON for the log: a sentence, or an object if the problem has a field or a code."""
    return [
        one.text
        if (one.field, one.code) == (None, REJECTED)
        else {"text": one.text, "field": one.field, "code": one.code}
        for one in problems
    ]


def problems_from(errors: Sequence[Any]) -> list[Problem]:
    """Return the problems of `stored_errors`."""
    return [Problem(error) if isinstance(error, str) else Problem(**error) for error in errors]


def details_of(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return field and code of each problem, which supplement the sentences of a reply."""
    return [{"field": one.field, "code": one.code} for one in problems]


def replace_surrogates(text: object) -> str:
    """Return a text that UTF-8 can encode: each lone surrogate, such as of a cut emoji, becomes "?"."""
    return str(text).encode(errors="replace").decode()
