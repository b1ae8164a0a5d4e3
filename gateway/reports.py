"""The requests that the gateway answers itself: Status, Rates and Timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dualbus.protocol.codec import unpack
from dualbus.protocol.codes import Code, error

from .access import scoped_key
from .request import Request
from .status import status

if TYPE_CHECKING:
    from .router import Router

STATUS, RATES, TIMELINE = "Status", "Rates", "Timeline"


def report(router: Router, request: Request, now: float) -> dict[str, Any]:
    """Return the body of the reply to a request of the dest `gateway`."""
    if request.type == STATUS:
        return {"type": "status_result", "in_reply_to": request.msg_id, "data": status(router, now)}
    if request.type == RATES:
        return {"type": "rates_result", "in_reply_to": request.msg_id, "data": router.rates.as_dict()}
    if request.type == TIMELINE:
        return _timeline(router, request)
    router.counters["refused"] += 1
    text = f"The gateway answers {STATUS}, {RATES} and {TIMELINE}, not {request.type!r}."
    return error(request.msg_id, Code.NOT_SUPPORTED, text)


def _timeline(router: Router, request: Request) -> dict[str, Any]:
    match unpack(request.body).get("params"):
        case {"key": str(key), **rest} if not rest:
            found = router.workers.timeline.find(scoped_key(request.client.holder.actor, key), None)
        case {"position": int(position), **rest} if not rest:
            found = router.workers.timeline.find(None, position)
        case _:
            text = f"{TIMELINE} has the params key (text) or position (a whole number)."
            return error(request.msg_id, Code.MALFORMED, text)
    return {"type": "timeline_result", "in_reply_to": request.msg_id, "data": found}
