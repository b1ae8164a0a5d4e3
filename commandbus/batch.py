"""Decides commands: a command in, a decision and an answer out. No socket, no clock, no driver.

A CommandBatch decides the commands of one commit. Each decision sees the earlier decisions of the batch: a batch
has the same outcomes as its commands decided in separate commits.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.messages import Command, Event, Invalid, Rejected
from dualbus.application.past import S, limited, one_tag
from dualbus.application.tables import Interrupted
from dualbus.log.contract import Decision, Log, NewEvent, Outcome, RecordedEvent
from dualbus.log.tags import Tagger
from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, MessageId, WireError, error
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.records import Job, Response
from dualbus.runtime.errors import RAISED
from dualbus.worker.interrupt import Interrupt

from .fingerprint import fingerprint, is_same
from .state_cache import StateCache

DATA_CHARS_MAX = MESSAGE_BYTES_MAX // 4  # of one command; a character has four bytes at most

Result: TypeAlias = tuple[dict[str, Any], int]  # the body of the answer, and its position

logger = logging.getLogger(__name__)


class CommandError(Exception):
    """A command answered with this body instead of a decision."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.body = body


class CommandBatch:
    """The commands of one commit: `decide` each, append `decisions`, and then send `answers`."""

    def __init__(
        self,
        app: App,
        log: Log,
        folds: StateCache,
        now: str,
        new_id: Callable[[], str],
        known: dict[str, Outcome],
        interrupt: Interrupt | None = None,
    ) -> None:
        self.decisions: list[Decision] = []
        self.answers: list[tuple[int, Response]] = []  # each with the number of decisions it depends on
        self._app = app
        self._log = log
        self._tagger = Tagger(app.private_tags, log.secret)
        self._folds = folds
        self._now = now
        self._new_id = new_id
        self.known = known
        self.interrupt = interrupt or Interrupt()
        self._decided: dict[str, tuple[int, int]] = {}  # key: number of the decision, position after it
        self._pending: dict[str, list[Event]] = {}  # by tag, of the first `_indexed` decisions
        self._indexed = 0
        self._head = log.head().position

    def knows(self, job: Job) -> bool:
        """Tell whether a command was decided before, in this batch or an earlier one."""
        return job.key in self.known or job.key in self._decided

    def refuse(self, job: Job, code: Code, text: str) -> None:
        """Answer a command without a decision."""
        self._answer(job, error(job.body["msg_id"], code, text), 0)

    def _answer(self, job: Job, body: dict[str, Any], position: int) -> None:
        self.answers.append((len(self.decisions), (job.id, position, pack(body))))

    def decide(self, job: Job) -> None:
        """Decide a command; the answer must not be sent before the decision is in the log."""
        msg_id: MessageId = job.body["msg_id"]
        try:
            body, position = self._result(job, msg_id)
        except CommandError as refused:
            body, position = refused.body, self._head
        except Interrupted:
            text = f"The decision on {job.what} was stopped at its deadline; nothing was written."
            body, position = error(msg_id, Code.UNAVAILABLE, text), self._head
        except RAISED as problem:
            name = str(job.body["type"])
            logger.exception("The decision on %s raised; nothing of it was written.", name)
            text = (
                f"The decision on {name} raised {type(problem).__name__}: nothing was written; "
                "the log of commandbus has the details."
            )
            body, position = error(msg_id, Code.ABORTED, text), self._head
        self._answer(job, body, position)

    def _result(self, job: Job, msg_id: MessageId) -> Result:
        """Return the outcome of a command: its first outcome, if its key was decided before.

        The key is looked up first: no error may deny an executed command.
        """
        assert job.key is not None  # noqa: S101 - the gateway sends every command with a key
        if job.key in self._decided or job.key in self.known:
            return self._earlier(job.key, job.body, msg_id)
        past = _Past(self)  # not stored on the batch: a reference cycle would delay collection
        with self.interrupt:
            command = self._accepted(job.body, msg_id)
            fingerprint = _fingerprint(job.body, command)
            errors: Sequence[str] = ()
            new: list[NewEvent] = []
            shown: list[dict[str, Any]] = []
            try:
                new, shown = self._given(limited(self._app.commands[type(command)](command, past)))
            except Rejected as rejected:
                errors = rejected.errors
        if sum(map(len, errors)) > DATA_CHARS_MAX:
            raise WireError(f"Its refusal holds more than {DATA_CHARS_MAX} characters.")
        self._record(Decision(job.key, self._now, new, errors, past.reads, fingerprint))
        return (_refusal(msg_id, errors) if errors else _success(msg_id, shown)), self._head

    def _accepted(self, body: dict[str, Any], msg_id: MessageId) -> Command:
        """Return the command in a body. Raises CommandError, or the exception of a rule of the author's."""
        name, payload = body["type"], body.get("payload")
        kind = self._app.command_types.get(name)
        if kind is None and name in self._app.query_types:
            raise CommandError(error(msg_id, Code.NOT_SUPPORTED, f"{name} is a query: send it to querybus."))
        if kind is None:
            raise CommandError(
                error(msg_id, Code.NOT_SUPPORTED, f"There is no command {name!r} in this application.")
            )
        if payload is not None and not isinstance(payload, dict):
            raise CommandError(error(msg_id, Code.MALFORMED, "body.payload must be an object."))
        try:
            return kind.parse(payload or {})
        except Invalid as invalid:
            raise CommandError(_refusal(msg_id, invalid.errors)) from None

    def _earlier(self, key: str, body: dict[str, Any], msg_id: MessageId) -> Result:
        """Return the recorded outcome of the command with this key: the first answer."""
        outcome = self._outcome(key)
        command: Command | None
        try:
            command = self._accepted(body, msg_id)
        except RAISED:  # an earlier version accepted the command, or another command has this key
            command = None
        sent = _fingerprint(body, command)
        if sent is None or outcome.fingerprint is None:
            same = sent is outcome.fingerprint
        else:
            same = is_same(sent, outcome.fingerprint)
        if not same and (command or not outcome.events or outcome.fingerprint is None):
            text = "This idempotency_key was used for another command: give every command a key of its own."
            raise CommandError(error(msg_id, Code.ABORTED, text))
        if not same:
            return _not_known(msg_id, body["type"], outcome.position), outcome.position
        if outcome.errors:
            return _refusal(msg_id, outcome.errors), outcome.position
        try:
            shown = [self._event(one).shown() for one in self._events(outcome)]
        except RAISED as problem:
            logger.exception("What was executed at position %d cannot be shown.", outcome.position)
            return _not_shown(msg_id, problem, outcome.position), outcome.position
        return _success(msg_id, shown), outcome.position

    def _outcome(self, key: str) -> Outcome:
        if key not in self._decided:
            return self.known[key]
        number, position = self._decided[key]
        decision, count = self.decisions[number], len(self.decisions[number].events)
        return Outcome(key, decision.fingerprint, position - count + 1, count, list(decision.errors))

    def _events(self, outcome: Outcome) -> Sequence[NewEvent | RecordedEvent]:
        if outcome.command_id in self._decided:
            return self.decisions[self._decided[outcome.command_id][0]].events
        return self._log.read(outcome.first - 1, outcome.events) if outcome.events else ()

    def _given(self, events: list[Event]) -> tuple[list[NewEvent], list[dict[str, Any]]]:
        """Return the events of a decision in the forms of the log and of the reply."""
        new: list[NewEvent] = []
        shown: list[dict[str, Any]] = []
        size = 0
        for event in events:
            name = type(event).__name__
            if self._app.event_types.get(name) is not type(event):
                raise WireError(f"It gave {name}, which is not an event of the application's table.")
            shown.append(event.shown())  # raises for values outside the range of SQLite
            data = event.data()
            new.append(NewEvent(name, data, self._tagger.tags(event.tags())))
            size += len(data)
        if size > DATA_CHARS_MAX:
            raise WireError(f"Its events hold more than {DATA_CHARS_MAX} characters.")
        return new, shown

    def _record(self, decision: Decision) -> None:
        self._head += len(decision.events)
        self._decided[decision.command_id] = len(self.decisions), self._head
        self.decisions.append(decision)

    def appended(self) -> None:
        """Note that the batch is in the log: later batches start from its states."""
        tags = (tag for decision in self.decisions for new in decision.events for tag in new.tags)
        self._folds.appended(tags, self._pending_of)

    def _pending_of(self, tag: str) -> list[Event]:
        """Return the batch's own events with a tag. Decoded from the records to append: few decisions read them, and
        keeping every event object alive cost more than all decisions."""
        for decision in self.decisions[self._indexed :]:
            for new in decision.events:
                for carried in new.tags:
                    self._pending.setdefault(carried, []).append(self._event(new))
        self._indexed = len(self.decisions)
        return self._pending.get(tag, [])

    def _history(self, tag: str) -> list[Event]:
        return [self._event(one) for one in self._log.history(tag)]

    def _event(self, recorded: NewEvent | RecordedEvent) -> Event:
        return self._app.decode(recorded.type, recorded.data)


class _Past:
    """The history that a decision may read, and a record of its reads."""

    __slots__ = ("_drain", "reads")

    def __init__(self, drain: CommandBatch) -> None:
        self.reads: dict[str, int] = {}
        self._drain = drain

    def new_id(self) -> str:
        return self._drain._new_id()

    def now(self) -> str:
        return self._drain._now

    def events(self, **tag: str | int) -> list[Event]:
        read = self._read(tag)
        with self._drain.interrupt.shield:
            return self._drain._history(read) + self._drain._pending_of(read)

    def fold(self, state: type[S], **tag: str | int) -> S:
        read = self._read(tag)
        drain = self._drain
        with drain.interrupt.shield:  # an interrupted read would have to start over
            return drain._folds.fold(state, read, lambda: drain._history(read), drain._pending_of(read))

    def _read(self, tag: dict[str, str | int]) -> str:
        name, value = one_tag(tag, self._drain._app.tags)
        text = self._drain._tagger.tag(name, value)
        self.reads.setdefault(text, self._drain._head)
        return text


def _fingerprint(body: dict[str, Any], command: Command | None) -> bytes | None:
    """Return the fingerprint of a command with a client's own key: another command must not use that key."""
    return fingerprint(body["type"], body.get("payload"), command) if "idempotency_key" in body else None


def _not_shown(msg_id: MessageId, problem: BaseException, position: int) -> dict[str, Any]:
    why = f"Its events cannot be read ({type(problem).__name__}; the log of commandbus has the details): correct that"
    if isinstance(problem, Unreadable):
        why = f"This version of the application cannot read its events ({problem.type}): add an upcast"
    return error(
        msg_id,
        Code.EXECUTED,
        f"The command was executed earlier, at position {position}. {why}, and send the command again under the same "
        "idempotency_key.",
    )


def _not_known(msg_id: MessageId, type_: str, position: int) -> dict[str, Any]:
    return error(
        msg_id,
        Code.EXECUTED,
        f"A command was executed earlier under this idempotency_key, at position {position}. Whether it was this one "
        f"is not known, because this version of the application does not accept this {type_}: read position "
        f"{position} of the log before you send it under another key.",
    )


def _success(msg_id: MessageId, events: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "command_result", "in_reply_to": msg_id, "success": True, "events": events}


def _refusal(msg_id: MessageId, errors: Sequence[str]) -> dict[str, Any]:
    return {"type": "command_result", "in_reply_to": msg_id, "success": False, "errors": list(errors)}
