"""The parts of an OpenAPI document that are the same for every application; their schemas have a prefix."""

from typing import Any

from dualbus.application.classes import TIMEOUT
from dualbus.client.call import TIMEOUT_SECONDS_MAX
from dualbus.protocol.values import ID_CHARS_MAX, INT_MAX

from .problems import MEDIA_TYPE as PROBLEM_TYPE

Json = dict[str, Any]
PROBLEMS = {
    "400": "The request does not have the form of this document.",
    "401": "The request has no valid token.",
    "403": "The token does not permit this.",
    "404": "The cluster does not have this type.",
    "409": "The idempotency key belongs to another command, or the events of the executed command cannot be read.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The message is rejected; `errors` has the reasons.",
    "500": "A function of the application failed, and nothing was written.",
    "503": "Nothing was executed: retry later.",
    "504": "No reply before the deadline. With the outcome `unknown`, repeat the command under the same key.",
}
QUERY_PROBLEMS = [status for status in PROBLEMS if status != "409"]

REF_RESULT = {"$ref": "#/components/schemas/dualbus.CommandResult"}
POSITION_TEXT = "The position of the log: pass it as Dualbus-After to read at least this position."
_TEXT, _POSITION = {"type": "string"}, {"type": "integer", "minimum": 0}
_EVENT = {"type": _TEXT, "payload": {"type": "object"}}
_ERROR = {"detail": _TEXT, "pointer": _TEXT, "code": _TEXT}
OWN_SCHEMAS: Json = {
    "dualbus.CommandResult": {
        "type": "object",
        "properties": {
            "events": {
                "type": "array",
                "items": {"type": "object", "properties": _EVENT, "required": ["type", "payload"]},
            },
            "position": _POSITION,
        },
        "required": ["events", "position"],
    },
    "dualbus.EventPage": {
        "type": "object",
        "properties": {
            "events": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"position": _POSITION, "time": _TEXT, **_EVENT, "hash": _TEXT},
                    "required": ["position", "time", "type", "payload", "hash"],
                },
            },
            "position": _POSITION,
            "hash": _TEXT,
            "head": _POSITION,
        },
        "required": ["events", "position", "hash", "head"],
    },
    "dualbus.Problem": {
        "description": "A problem of RFC 9457.",
        "type": "object",
        "properties": {
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "errors": {
                "type": "array",
                "items": {"type": "object", "properties": _ERROR, "required": ["detail", "code"]},
            },
            "outcome": {"type": "string", "enum": ["unknown", "executed"]},
            "idempotency_key": {"type": ["string", "null"]},
        },
        "required": ["title", "status", "detail"],
    },
}
PARAMETERS: Json = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "All copies of a command with this key have one effect and the same response.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": ID_CHARS_MAX,
            "pattern": r'^([!#-~][!-~]*|"([ !#-\[\]-~]|\\["\\])+")$',
        },
    },
    "After": {
        "name": "Dualbus-After",
        "in": "header",
        "description": "A position: the response is not older.",
        "schema": {"type": "integer", "minimum": 0, "maximum": INT_MAX},
    },
    "Timeout": {
        "name": TIMEOUT,
        "in": "query",
        "description": "The deadline in milliseconds.",
        "schema": {"type": "integer", "minimum": 1, "maximum": TIMEOUT_SECONDS_MAX * 1000},
    },
}
RESPONSES: Json = {
    status: {
        "description": text,
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/dualbus.Problem"}}},
        **({"headers": {"Retry-After": {"schema": {"type": "string"}}}} if status == "503" else {}),
    }
    for status, text in PROBLEMS.items()
}
