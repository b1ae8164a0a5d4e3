"""The OpenAPI document of an application: an operation for each command and query."""

from typing import Any

from pydantic import TypeAdapter
from pydantic_core import core_schema

from dualbus.application.answer_types import AnswerTypes
from dualbus.application.app import App
from dualbus.application.json_schemas import JsonSchemas
from dualbus.application.json_validation import is_open
from dualbus.application.messages import Message, Query, result_type
from dualbus.protocol.feed import EVENTS_DEFAULT, EVENTS_MAX
from dualbus.protocol.values import INT_MAX

from .components import OWN_SCHEMAS, PARAMETERS, POSITION_TEXT, PROBLEMS, QUERY_PROBLEMS, REF_RESULT, RESPONSES
from .examples import example, message_example
from .parameters import field_forms
from .streams import MEDIA_TYPE as STREAM_TYPE

Json = dict[str, Any]
REF = "#/components/schemas/{model}"


class Document:
    """The OpenAPI 3.1 document of an application. `secured`: requests need a token."""

    def __init__(self, app: App, *, secured: bool = False) -> None:
        self._app = app
        self._secured = secured
        types = AnswerTypes()
        inputs: list[Any] = [(kind, "validation", TypeAdapter(kind)) for kind in (*app.decisions, *app.answers)]
        inputs += [(("answer", kind), "serialization", types.adapter(result_type(kind))) for kind in app.answers]
        found, definitions = TypeAdapter.json_schemas(inputs, ref_template=REF, schema_generator=_Schemas)
        self._schemas: dict[Any, Json] = {key: schema for (key, _), schema in found.items()}
        self._shared: Json = definitions.get("$defs", {})

    def as_json(self, title: str, version: str) -> Json:
        """Return the document."""
        app = self._app
        paths: Json = {f"/commands/{kind.__name__}": {"post": self._command(kind)} for kind in app.decisions}
        paths |= {f"/queries/{kind.__name__}": self._query(kind) for kind in app.answers}
        paths["/events"] = {"get": _events(sorted(app.event_types))}
        paths["/healthz"] = {"get": _check("healthz", "The process runs.")}
        paths["/readyz"] = {"get": _check("readyz", "The cluster executes commands and queries.", "503")}
        components = {"schemas": self._shared | OWN_SCHEMAS, "parameters": PARAMETERS, "responses": RESPONSES}
        info = {"title": title, "version": version, "description": "Commands, queries and events of a cluster."}
        document: Json = {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}
        if self._secured:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
        return document

    def _command(self, kind: type[Message]) -> Json:
        return {
            **_described(kind, "commands"),
            "parameters": _refs("parameters", "IdempotencyKey", "Timeout"),
            "requestBody": self._body(kind),
            "responses": {"200": _answer(REF_RESULT, "The events of the command."), **_problems(*PROBLEMS)},
        }

    def _query(self, kind: type[Query[Any]]) -> Json:
        answer = self._schemas["answer", kind]
        described = _described(kind, "queries")
        shared = _refs("parameters", "After", "Timeout")
        found = _answer(answer, "The answer, or a stream of answers: the present answer, and each changed answer.")
        found["content"][STREAM_TYPE] = {"schema": {"type": "string"}}
        post = {
            **described,
            "operationId": f"{kind.__name__}_post",
            "parameters": shared,
            "requestBody": self._body(kind),
            "responses": {"200": found, **_problems(*QUERY_PROBLEMS)},
        }
        fields = self._parameters(kind)
        if fields is None:
            return {"post": post}
        unchanged = {"description": "The answer has the ETag of If-None-Match."}
        responses = {"200": found, "304": unchanged, **_problems(*QUERY_PROBLEMS)}
        return {"get": {**described, "parameters": fields + shared, "responses": responses}, "post": post}

    def _parameters(self, kind: type[Query[Any]]) -> list[Json] | None:
        """Return the parameters of a query; None if a required field does not fit in a query string."""
        schema, forms = self._schema(kind), field_forms(kind)
        required = schema.get("required", ())
        fitting = [name for name in schema.get("properties", ()) if forms[name].fits]
        if not {*required} <= {*fitting}:
            return None
        found = []
        for name in fitting:
            field = _without_null(schema["properties"][name])
            value = example(field, self._shared)
            parameter = {"name": name, "in": "query", "required": name in required, "schema": field}
            found.append(parameter if value is None else {**parameter, "example": value})
        return found

    def _body(self, kind: type[Message]) -> Json:
        value = message_example(self._schema(kind), self._shared)
        content = {"schema": self._schemas[kind], "example": value}
        return {"required": True, "content": {"application/json": content}}

    def _schema(self, kind: type[Message]) -> Json:
        """Return the schema of a message without a reference."""
        schema = self._schemas[kind]
        found: Json = self._shared[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        return found


class _Schemas(JsonSchemas):
    """Requests with undeclared fields in a record are refused, also where pydantic would ignore them."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Json:
        """Return the schema of a class of pydantic."""
        return self._closed(schema, super().model_schema(schema))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> Json:
        """Return the schema of a dataclass."""
        return self._closed(schema, super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> Json:
        """Return the schema of a TypedDict."""
        return self._closed(schema, super().typed_dict_schema(schema))

    def _closed(self, schema: Any, found: Json) -> Json:
        return {**found, "additionalProperties": False} if self.mode == "validation" and is_open(schema) else found


def _described(kind: type[Message], tag: str) -> Json:
    text = " ".join((vars(kind).get("__doc__") or "").split())
    return {"operationId": kind.__name__, "tags": [tag], **({"summary": text} if text else {})}


def _without_null(field: Json) -> Json:
    """Return the schema of a field as a parameter: a query string has no null."""
    others = [each for each in field.get("anyOf", ()) if each.get("type") != "null"]
    if not others:
        return field
    rest = {name: value for name, value in field.items() if name != "anyOf" and (name, value) != ("default", None)}
    return {**rest, **(others[0] if len(others) == 1 else {"anyOf": others})}


def _answer(schema: Json, description: str) -> Json:
    return {
        "description": description,
        "headers": {"Dualbus-Position": {"schema": {"type": "string"}, "description": POSITION_TEXT}},
        "content": {"application/json": {"schema": schema}},
    }


def _refs(kind: str, *names: str) -> list[Json]:
    return [{"$ref": f"#/components/{kind}/{name}"} for name in names]


def _problems(*statuses: str) -> Json:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _events(types: list[str]) -> Json:
    names: Json = {"type": "array", "items": {"type": "string", "enum": types}}
    position = {"type": "integer", "minimum": 0, "maximum": INT_MAX}
    page = _answer(
        {"$ref": "#/components/schemas/dualbus.EventPage"}, "Events, or a stream of events without an end."
    )
    page["content"][STREAM_TYPE] = {"schema": {"type": "string"}}
    del page["headers"]
    limit = {"type": "integer", "minimum": 1, "maximum": EVENTS_MAX, "default": EVENTS_DEFAULT}
    return {
        "operationId": "events",
        "tags": ["events"],
        "summary": "The events after a position, without private fields.",
        "parameters": [
            {"name": "after", "in": "query", "schema": {**position, "default": 0}},
            {
                "name": "after_hash",
                "in": "query",
                "schema": {"type": "string"},
                "description": "The hash of the event at this position, which a restored log may lack.",
            },
            {"name": "type", "in": "query", "schema": names},
            {"name": "tag", "in": "query", "schema": {"type": "string"}, "description": "A tag, such as user:17."},
            {"name": "limit", "in": "query", "schema": limit, "description": "Not for a stream."},
            {"name": "Last-Event-ID", "in": "header", "schema": position, "description": "For a stream."},
        ],
        "responses": {"200": page, **_problems("400", "401", "403", "422", "500", "503", "504")},
    }


def _check(name: str, text: str, *others: str) -> Json:
    answer = {"application/json": {"schema": {"type": "object"}}}
    responses = {status: {"description": text, "content": answer} for status in ("200", *others)}
    return {"operationId": name, "tags": ["health"], "summary": text, "security": [], "responses": responses}
