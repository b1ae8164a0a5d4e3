"""Decides the commands of one group commit. No socket, no clock, no driver.

A decision sees the earlier decisions of its batch: a batch is equivalent to its commands in sequence.
"""

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from pydantic_core import from_json

from dualbus.application import event_json
from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.errors import KEY_USED, Problem, Rejected, details_of, problems_from, stored_errors
from dualbus.application.messages import Command, Event, Invalid, parse
from dualbus.application.past import limited
from dualbus.application.tables import Interrupted
from dualbus.log.contract import Appended, Decision, Log, NewEvent, Origin, Outcome, RecordedEvent
from dualbus.protocol.codec import packed_answer
from dualbus.protocol.codes import Code, MessageId, WireError, error
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.origin import MARK, PARTS
from dualbus.protocol.records import Job, Response
from dualbus.runtime.errors import application_errors
from dualbus.worker.interrupt import Interrupt

from .fingerprint import fingerprint, is_same
from .history import DecisionPast, History
from .state_cache import StateCache

DATA_CHARS_MAX = MESSAGE_BYTES_MAX // 4  # of one command; a character has at most four bytes
Result: TypeAlias = tuple[dict[str, Any], int]  # the body of an answer, and its position

logger = logging.getLogger(__name__)


class CommandError(Exception):
    """The error answer of a command without a decision."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.body = body


class CommandBatch:
    """The commands of one group commit: `decide` each, append `decisions`, then send the answers."""

    def __init__(
        self,
        app: App,
        log: Log,
        states: StateCache,
        now: str,
        new_id: Callable[[], str],
        known: dict[str, Outcome],
        interrupt: Interrupt | None = None,
    ) -> None:
        self.known = known
        self.interrupt = interrupt or Interrupt()
        self.answers: list[tuple[int, Response]] = []  # each with the number of decisions so far
        self._app = app
        self._log = log
        self._history = History(app, log, states, now, new_id, self.interrupt)
        self.decisions = self._history.decisions
        self._decided: dict[str, tuple[int, int]] = {}  # key: index of the decision, position after it

    def knows(self, job: Job) -> bool:
        """Return whether the command of a job has an outcome, from this batch or an earlier one."""
        return job.key in self.known or job.key in self._decided

    def refuse(self, job: Job, code: Code, text: str) -> None:
        """Answer a command with an error instead of a decision."""
        self._answer(job, error(job.body["msg_id"], code, text), 0)

    def responses(self, appended: Appended) -> list[Response]:
        """Return the answers to send after an append: those without a missing decision before them.

        If another writer appended events first, positions move behind these events.
        """
        responses = [response for count, response in self.answers if count <= appended.decisions]
        if moved := self._moved(appended):
            start = self._history.start
            return [(id_, at + moved if at > start else at, body, details) for id_, at, body, details in responses]
        return responses

    def update_states(self, appended: Appended) -> None:
        """Cache the states of the batch after an append, unless another writer's events are in between."""
        if appended.decisions == len(self.decisions) and not self._moved(appended):
            self._history.commit_states()

    def _moved(self, appended: Appended) -> int:
        """Return the number of events of other writers between the start of the batch and its first event."""
        return appended.events[0].position - self._history.start - 1 if appended.events else 0

    def _answer(self, job: Job, body: dict[str, Any], position: int) -> None:
        self.answers.append((len(self.decisions), (job.id, position, *packed_answer(body))))

    def decide(self, job: Job) -> None:
        """Decide one command. Do not send the answer before the decision is in the log."""
        msg_id: MessageId = job.body["msg_id"]
        try:
            body, position = self._result(job, msg_id)
        except CommandError as refused:
            body, position = refused.body, self._history.position
        except Interrupted:
            text = f"The decision on {job.what} was stopped at its deadline; nothing was written."
            body, position = error(msg_id, Code.UNAVAILABLE, text), self._history.position
        except WireError as problem:
            logger.exception("The decision on %s was aborted; nothing of it was written.", job.body["type"])
            text = f"The decision on {job.body['type']} was aborted, and nothing was written. {problem}"
            body, position = error(msg_id, Code.ABORTED, text), self._history.position
        except application_errors() as problem:
            name = str(job.body["type"])
            logger.exception("The decision on %s raised; nothing of it was written.", name)
            text = (
                f"The decision on {name} raised {type(problem).__name__}: nothing was written; "
                "the log of commandbus has the details."
            )
            body, position = error(msg_id, Code.ABORTED, text), self._history.position
        self._answer(job, body, position)

    def _result(self, job: Job, msg_id: MessageId) -> Result:
        """Return the result of a command, or its first result if the key is known.

        The key comes first: no later error may hide an executed command.
        """
        assert job.key is not None  # noqa: S101 - the gateway adds a key to every command
        if job.key in self._decided or job.key in self.known:
            body, position = self._earlier(job.key, job.body, msg_id)
            return {**body, "details": {**body.get("details", {}), "repeated": True}}, position
        if "idempotency_key" in job.body or job.what == MARK:  # the gateway makes the other keys
            self._check_key(job.key, job.body, msg_id)
        past = DecisionPast(self._history, job.body.get("actor"))
        with self.interrupt:
            command = None if job.what == MARK else self._parsed(job.body, msg_id)
            fingerprint = _fingerprint(job.body, command)
            problems: list[Problem] = []
            new: list[NewEvent] = []
            shown: list[dict[str, Any]] = []
            try:
                if command is not None:
                    function, kinds = self._app.decisions[type(command)]
                    new, shown = self._encoded(limited(function(command, past), function, kinds))
            except Rejected as rejected:
                problems = rejected.problems
        errors = stored_errors(problems) if problems else ()
        if errors and sum(len(str(error)) for error in errors) > DATA_CHARS_MAX:
            raise WireError(f"The refusal holds more than {DATA_CHARS_MAX} characters.")
        decision = Decision(job.key, self._history.now, new, errors, past.conditions, fingerprint, _origin(job.body))
        self._decided[job.key] = len(self.decisions), self._history.position + len(new)
        self._history.add(decision)
        return (_refusal(msg_id, problems) if problems else _success(msg_id, shown)), self._history.position

    def _check_key(self, key: str, body: dict[str, Any], msg_id: MessageId) -> None:
        """Raise CommandError for a key of a reaction, or a mark, in a command without a correlation.

        Only the reactor sends a correlation. A client's command under a key of a reaction would replace its command.
        """
        if "correlation" in body or ("/" not in key and body["type"] != MARK):
            return
        reaction = key.partition("/")[0]
        if body["type"] == MARK or reaction in self._app.reactors:
            text = f"The idempotency_key {key!r} belongs to the reaction {reaction}: use another key for the command."
            raise CommandError(error(msg_id, Code.MALFORMED, text))

    def _parsed(self, body: dict[str, Any], msg_id: MessageId) -> Command:
        """Return the command of a body. Raises CommandError, or any exception of the author's validators."""
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
            return parse(kind, payload or {})
        except Invalid as invalid:
            raise CommandError(_refusal(msg_id, invalid.problems)) from None

    def _earlier(self, key: str, body: dict[str, Any], msg_id: MessageId) -> Result:
        """Return the first result under this key."""
        outcome = self._outcome(key)
        if outcome.origin.actor != body.get("actor"):
            raise CommandError(_key_used(msg_id))
        command: Command | None
        try:
            command = self._parsed(body, msg_id)
        except application_errors():  # another command, or an earlier version of the application accepted it
            command = None
        sent = _fingerprint(body, command)
        if sent is None or outcome.fingerprint is None:
            same = sent is outcome.fingerprint
        else:
            same = is_same(sent, outcome.fingerprint)
        if not same and (command or not outcome.events or outcome.fingerprint is None):
            raise CommandError(_key_used(msg_id))
        if not same:
            return _not_known(msg_id, body["type"], outcome.position), outcome.position
        if outcome.errors:
            return _refusal(msg_id, problems_from(outcome.errors)), outcome.position
        try:
            shown = [self._shown(event) for event in self._events(outcome)]
        except application_errors() as problem:
            logger.exception("The events of the command executed at position %d cannot be shown.", outcome.position)
            return _not_shown(msg_id, problem, outcome.position), outcome.position
        return _success(msg_id, shown), outcome.position

    def _outcome(self, key: str) -> Outcome:
        if key not in self._decided:
            return self.known[key]
        number, position = self._decided[key]
        decision, count = self.decisions[number], len(self.decisions[number].events)
        first, errors = position - count + 1, list(decision.errors)
        return Outcome(key, decision.fingerprint, first, count, errors, decision.origin)

    def _shown(self, event: NewEvent | RecordedEvent) -> dict[str, Any]:
        """Return type and payload of an event as in the first answer, or after upcasts."""
        decoded = self._history.decode(event)
        if event.type in self._app.upcasts:
            return event_json.shown(decoded)
        return event_json.public(type(decoded), from_json(event.data))  # an equal set may have another order

    def _events(self, outcome: Outcome) -> Sequence[NewEvent | RecordedEvent]:
        if outcome.command_id in self._decided:
            return self.decisions[self._decided[outcome.command_id][0]].events
        return self._log.read(outcome.first - 1, outcome.events) if outcome.events else ()

    def _encoded(self, events: list[Event]) -> tuple[list[NewEvent], list[dict[str, Any]]]:
        """Return the events of a decision for the log, and for the reply."""
        new: list[NewEvent] = []
        shown: list[dict[str, Any]] = []
        size = 0
        tagger = self._history.tagger
        for event in events:
            stored, fields = tagger.encoded(event)
            new.append(stored)
            shown.append(event_json.public(type(event), fields))
            size += len(stored.data)
        if size > DATA_CHARS_MAX:
            raise WireError(f"The events hold more than {DATA_CHARS_MAX} characters.")
        return new, shown


def _fingerprint(body: dict[str, Any], command: Command | None) -> bytes | None:
    """Return the fingerprint of a command with a client's idempotency key; no client reuses a generated key."""
    return fingerprint(body["type"], body.get("payload"), command) if "idempotency_key" in body else None


def _origin(body: dict[str, Any]) -> Origin:
    if PARTS.isdisjoint(body):
        return _origin_of(body["type"])
    return Origin(
        body["type"],
        body.get("actor"),
        body.get("cause"),
        body.get("correlation", ""),
        body.get("trace"),
        body.get("metadata") or {},
    )


@lru_cache(1024)  # by the types of the application's commands
def _origin_of(type_: str) -> Origin:
    return Origin(type_)


def _key_used(msg_id: MessageId) -> dict[str, Any]:
    text = "This idempotency_key was used for another command: use a key of its own for every command."
    return {**error(msg_id, Code.ABORTED, text), "details": {"problems": details_of([Problem(text, code=KEY_USED)])}}


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


def _refusal(msg_id: MessageId, problems: Sequence[Problem]) -> dict[str, Any]:
    errors = [problem.text for problem in problems]
    body = {"type": "command_result", "in_reply_to": msg_id, "success": False, "errors": errors}
    return {**body, "details": {"problems": details_of(problems)}}
