"""Answers a query. No socket, no clock, no driver."""

import logging
from typing import Any

from dualbus.application.app import App
from dualbus.application.messages import Invalid
from dualbus.application.tables import ReadOnlyTables
from dualbus.protocol.codec import pack
from dualbus.protocol.codes import Code, MessageId, error
from dualbus.protocol.frames import MESSAGE_BYTES_MAX
from dualbus.protocol.records import Job
from dualbus.readmodel.values import answer_data
from dualbus.runtime.errors import RAISED
from dualbus.worker.interrupt import Interrupt

logger = logging.getLogger(__name__)


class Responder:
    """Answers queries from tables in a snapshot of the caller."""

    def __init__(self, app: App, interrupt: Interrupt | None = None) -> None:
        self._app = app
        self._interrupt = interrupt or Interrupt()

    def answer(self, job: Job, tables: ReadOnlyTables) -> bytes:
        """Return the packed body of the answer; an error answer if the query function raises.

        Raises Interrupted if the query was stopped.
        """
        msg_id: MessageId = job.body["msg_id"]
        try:
            with self._interrupt:
                body = pack(self._body(msg_id, job.body, tables))
            if len(body) <= MESSAGE_BYTES_MAX:
                return body
            text = f"The answer is over {MESSAGE_BYTES_MAX} bytes: request less at a time."
            return pack(error(msg_id, Code.ABORTED, text))
        except RAISED as problem:
            name = str(job.body["type"])
            logger.exception("The query %s raised.", name)
            text = f"The query {name} raised {type(problem).__name__}; the log of querybus has the details."
            return pack(error(msg_id, Code.ABORTED, text))

    def _body(self, msg_id: MessageId, body: dict[str, Any], tables: ReadOnlyTables) -> dict[str, Any]:
        name, params = body["type"], body.get("params")
        kind = self._app.query_types.get(name)
        if kind is None and name in self._app.command_types:
            return error(msg_id, Code.NOT_SUPPORTED, f"{name} is a command: send it to commandbus.")
        if kind is None:
            return error(msg_id, Code.NOT_SUPPORTED, f"There is no query {name!r} in this application.")
        if params is not None and not isinstance(params, dict):
            return error(msg_id, Code.MALFORMED, "body.params must be an object.")
        try:
            query = kind.parse(params or {})
        except Invalid as invalid:
            return error(msg_id, Code.MALFORMED, f"{name} has invalid parameters.", invalid.errors)
        data = answer_data(self._app.queries[kind](query, tables))
        return {"type": "query_result", "in_reply_to": msg_id, "data": data}
