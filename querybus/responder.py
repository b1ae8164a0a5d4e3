"""Answers a query. No socket, no clock, no driver."""

import logging
from typing import Any

from dualbus.application.answers import ChangedAnswer
from dualbus.application.app import App
from dualbus.application.causes import Unreadable
from dualbus.application.errors import details_of
from dualbus.application.messages import Invalid, parse
from dualbus.application.tables import ReadOnlyTables
from dualbus.log.contract import LogError
from dualbus.protocol.codec import pack, packed_answer
from dualbus.protocol.codes import Code, MessageId, error
from dualbus.protocol.feed import EVENTS
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.records import NO_DETAILS, Job, Progress
from dualbus.readmodel.values import answer_data
from dualbus.runtime.errors import application_errors
from dualbus.worker.interrupt import Interrupt

from .feed import EventFeed, Events

logger = logging.getLogger(__name__)


class Responder:
    """Answers queries from tables in a snapshot of the caller."""

    def __init__(self, app: App, feed: EventFeed, interrupt: Interrupt | None = None) -> None:
        self._app = app
        self._feed = feed
        self._interrupt = interrupt or Interrupt()

    def answer(self, job: Job, tables: ReadOnlyTables | None) -> tuple[bytes, bytes]:
        """Return the packed body and details of the answer; an error answer if the query function raises.

        Raises Interrupted if the query was stopped.
        """
        msg_id: MessageId = job.body["msg_id"]
        try:
            with self._interrupt:
                body, details = packed_answer(self._body(msg_id, job.body, tables))
            if len(body) <= MESSAGE_BYTES_MAX or job.what == EVENTS:
                return body, details
            text = f"The answer is over {MESSAGE_BYTES_MAX} bytes: request less at a time."
            return pack(error(msg_id, Code.ABORTED, text)), NO_DETAILS
        except LogError as problem:
            return pack(error(msg_id, Code.UNAVAILABLE, str(problem))), NO_DETAILS
        except Unreadable as problem:
            return pack(error(msg_id, Code.ABORTED, f"{problem}. Add an upcast.")), NO_DETAILS
        except ChangedAnswer as problem:
            logger.error("The answer to %s would change on the way; the reply names the place.", job.body["type"])
            return pack(error(msg_id, Code.ABORTED, str(problem))), NO_DETAILS
        except application_errors() as problem:
            name = str(job.body["type"])
            logger.exception("The query %s raised.", name)
            text = f"The query {name} raised {type(problem).__name__}; the log of querybus has the details."
            return pack(error(msg_id, Code.ABORTED, text)), NO_DETAILS

    def _body(self, msg_id: MessageId, body: dict[str, Any], tables: ReadOnlyTables | None) -> dict[str, Any]:
        name, params = body["type"], body.get("params")
        kind = Events if name == EVENTS else self._app.query_types.get(name)
        if kind is None and name in self._app.command_types:
            return error(msg_id, Code.NOT_SUPPORTED, f"{name} is a command: send it to commandbus.")
        if kind is None:
            return error(msg_id, Code.NOT_SUPPORTED, f"There is no query {name!r} in this application.")
        if params is not None and not isinstance(params, dict):
            return error(msg_id, Code.MALFORMED, "body.params must be an object.")
        try:
            query = parse(kind, params or {})
            events = self._feed.read(query) if isinstance(query, Events) else None
        except Invalid as invalid:
            refusal = error(msg_id, Code.MALFORMED, f"{name} has invalid parameters.", invalid.errors)
            return {**refusal, "details": {"problems": details_of(invalid.problems)}}
        data = events or answer_data(self._app.answers[kind](query, tables), kind)
        return {"type": "query_result", "in_reply_to": msg_id, "data": data}


def behind(position: int, after: int, model: str, projector: Progress | None) -> str:
    """Return the refusal of a query for a later position than that of the read model with this name.

    The text has the reason, if the last report of the projector shows it.
    """
    where = f"at position {position}" if position >= 0 else "being built"
    if projector and projector.model != model:
        stays = f"stays at position {position}" if position >= 0 else "does not exist"
        reason = (
            f"The read model of this querybus {stays}, because the projector runs another version of the "
            f"application, and is at position {projector.position}: restart querybus with that version."
        )
    elif projector and projector.failure:
        reason = f"The read model has not caught up: it is {where}. {projector.failure}."
    else:
        reason = f"The read model has not caught up: it is {where}."
    return f"{reason} You have seen position {after}. Try again."
