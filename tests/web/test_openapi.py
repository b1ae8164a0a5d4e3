"""GET /openapi.json and /docs: a valid document, with examples that the application accepts."""

import json
import re
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import httpx
import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel

from dualbus import App, Command, Event, Past, Projection, Query, ReadOnlyTables, page
from dualbus.application.answer_types import AnswerTypes
from dualbus.application.messages import parse
from dualbus.testing import Cluster
from web.openapi import Document

APPLICATIONS = ["users", "examples.bank", "examples.courses", "tests.web.shop", "tests.clients.orders", "tests.doors"]


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.shop:app"


def document(app: App) -> Any:
    return json.loads(json.dumps(Document(app).as_json("test", "1")))


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_document_is_valid_and_the_application_accepts_its_examples(name: str) -> None:
    application: App = import_module(name).app
    found = document(application)

    validate(found)
    for path, operations in found["paths"].items():
        kind = {**application.command_types, **application.query_types}.get(path.rpartition("/")[2])
        for method, operation in operations.items():
            if method == "post":
                assert kind
                example = operation["requestBody"]["content"]["application/json"]["example"]
                assert type(parse(kind, example)) is kind


def test_an_operation_has_the_fields_of_its_message_and_the_type_of_its_answer() -> None:
    found = document(import_module("users").app)

    assert set(found["paths"]) == {
        "/commands/CreateUser",
        "/commands/RenameUser",
        "/queries/GetUser",
        "/queries/ListUsers",
        "/events",
        "/healthz",
        "/readyz",
    }
    get = found["paths"]["/queries/GetUser"]["get"]
    assert get["parameters"][0] == {
        "name": "user_id",
        "in": "query",
        "required": True,
        "schema": {"minLength": 1, "title": "User Id", "type": "string"},
        "example": "text",
    }
    assert get["responses"]["200"]["content"]["application/json"]["schema"] == {
        "anyOf": [{"$ref": "#/components/schemas/User"}, {"type": "null"}]
    }
    assert found["components"]["schemas"]["CreateUser"]["required"] == ["name", "email"]


def test_a_query_with_an_object_is_sent_in_a_body_only() -> None:
    class Part(BaseModel):
        name: str

    class FindParts(Query[int]):
        part: Part

    def find_parts(query: FindParts, tables: ReadOnlyTables) -> int:
        return 0

    assert set(document(App(queries=[find_parts]))["paths"]["/queries/FindParts"]) == {"post"}


def test_undeclared_fields_are_refused_by_the_document_as_by_the_cluster() -> None:
    class Part(BaseModel):
        name: str

    class Note(BaseModel, extra="allow"):
        text: str

    @dataclass
    class Place:
        city: str

    class FindParts(Query[list[Part]]):
        part: Part
        place: Place
        note: Note

    def find_parts(query: FindParts, tables: ReadOnlyTables) -> list[Part]:
        return []

    schemas = document(App(queries=[find_parts]))["components"]["schemas"]

    closed = {name: schema.get("additionalProperties") for name, schema in schemas.items() if "." not in name}
    assert closed == {
        "FindParts": False,
        "Part-Input": False,
        "Part-Output": None,
        "Place": False,
        "Note": True,
    }


T = TypeVar("T")


class Leaf(TypedDict):
    value: int
    more: NotRequired[str]


class Branch(TypedDict):
    leaves: list[Leaf]
    inner: "list[Branch]"


class Box(TypedDict, Generic[T]):
    content: T


@pytest.mark.parametrize(
    ("annotation", "value", "wrong"),
    [
        (Leaf, {"value": 1}, {"more": "a"}),
        (list[Leaf] | None, None, [{"value": "a"}]),
        (Branch, {"leaves": [{"value": 1}], "inner": []}, {"leaves": []}),
        (Box[Leaf], {"content": {"value": 1}}, {"content": {}}),
        (dict[str, Annotated[Leaf, "a comment"]], {"a": {"value": 1}}, {"a": 1}),
        (tuple[Leaf, Literal["a"]], ({"value": 1}, "a"), ({"value": 1}, "b")),
        (page.__annotations__["return"], {"items": [{"a": 1}], "next": None}, {"items": 1}),
    ],
)
def test_the_type_of_an_answer_has_a_schema(annotation: Any, value: Any, wrong: Any) -> None:
    adapter = AnswerTypes().adapter(annotation)

    assert adapter.validate_python(value, strict=True) == value
    with pytest.raises(ValueError):
        adapter.validate_python(wrong, strict=True)


def test_names_of_the_application_do_not_replace_those_of_the_document() -> None:
    class Problem(Command):
        text: str

    class EventPage(Query[int]):
        pass

    class Done(Event):
        text: str

    def problem(command: Problem, past: Past) -> Any:
        return [Done(text=command.text)]

    def event_page(query: EventPage, tables: ReadOnlyTables) -> int:
        return 0

    problem.__annotations__["return"] = list[Done]
    found = document(
        App(commands=[problem], queries=[event_page], events=[Done], projections=[Projection("p", 1, "", on=[])])
    )
    assert found["components"]["schemas"]["Problem"]["required"] == ["text"]
    validate(found)


def test_the_document_requires_a_token_but_for_probes(browser: httpx.Client) -> None:
    document = browser.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert document["security"] == [{"token": []}]
    operations = {path: operation for path, methods in document["paths"].items() for operation in methods.values()}
    assert [path for path, each in operations.items() if each.get("security") == []] == ["/healthz", "/readyz"]


def test_the_page_shows_every_operation_without_a_script_and_without_the_network(
    site: Cluster, browser: httpx.Client
) -> None:
    answer = browser.get("/docs")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script" not in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    for path in browser.get("/openapi.json").json()["paths"]:
        assert path in answer.text
    assert f"http.header {site.http}/commands/AddItem --json" in answer.text
    sources = re.findall(r'(?:src|href)="([^"#]*)"', answer.text)
    assert sources
    for source in sources:
        assert source.startswith("/")
        assert browser.get(source).status_code == 200
