"""FastAPI: a command as the body of a route, and the page of the docs with a session for each request."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from pydantic import Field, TypeAdapter, ValidationError

from dualbus import Command
from dualbus.application.messages import parse
from dualbus.testing import Cluster
from tests.clients.orders import PlaceOrder
from tests.clients.seeing import order
from tests.conftest import ROOT

[PAGE] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "fastapi.md").read_text(), re.DOTALL)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run an application and a browser."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://web.test") as browser,
    ):
        yield browser


def worker() -> FastAPI:
    """Make the application of the page, as one web worker runs it."""
    names: dict[str, Any] = {"__name__": "docs.fastapi"}
    exec(compile(PAGE, "docs/fastapi.md", "exec"), names)
    made: FastAPI = names["app"]
    return made


@pytest.fixture
def web(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in running.environ.items():
        if name.startswith("DUALBUS_"):
            monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("web")
def test_a_user_sees_the_own_writes_whichever_web_worker_answers() -> None:
    async def run() -> None:
        async with serving(worker()) as first, serving(worker()) as second:
            for number in range(20):
                name = f"User {number}"
                created = await first.post("/users", json={"name": name, "email": "u@example.org"})
                assert created.status_code == 201
                [event] = created.json()["events"]
                second.cookies = first.cookies
                found = await second.get(f"/users/{event['payload']['id']}")
                assert (found.status_code, found.json()["name"]) == (200, name)
            assert (await second.get("/users/nobody")).status_code == 404

    asyncio.run(run())


@pytest.mark.usefixtures("web")
def test_a_slow_response_takes_back_no_position() -> None:
    async def run() -> None:
        async with serving(worker()) as browser:
            for number in (1, 2):
                await browser.post("/users", json={"name": f"User {number}", "email": "u@example.org"})
            [latest] = dict(browser.cookies)  # lower positions are removed
            number = int(latest.removeprefix("position-"))
            slow = [("set-cookie", f"position-{number - 1}=; Max-Age=60")]
            request = browser.build_request("GET", "/")
            browser.cookies.extract_cookies(httpx.Response(200, headers=slow, request=request))
            await browser.get("/users/nobody")
            assert [*dict(browser.cookies)] == [latest]

    asyncio.run(run())


@pytest.mark.usefixtures("web")
def test_a_request_that_is_sent_twice_has_one_effect_and_says_so() -> None:
    async def run() -> None:
        async with serving(worker()) as browser:
            key, body = {"Idempotency-Key": str(uuid4())}, {"name": "Ada", "email": "ada@example.org"}
            first, second = [(await browser.post("/users", json=body, headers=key)).json() for _ in range(2)]
            assert first["events"] == second["events"]
            assert (first["repeated"], second["repeated"]) == (False, True)

    asyncio.run(run())


@pytest.mark.usefixtures("web")
def test_what_is_wrong_is_answered_422_by_the_route_and_by_the_cluster() -> None:
    async def run() -> None:
        async with serving(worker()) as browser:
            of_route = await browser.post("/users", json={"name": 5, "email": "ada@example.org"})
            assert (of_route.status_code, of_route.json()["detail"][0]["loc"]) == (422, ["body", "name"])
            assert (await browser.get("/users/%20")).status_code == 422
            of_cluster = await browser.post("/names", json={"user_id": "nobody", "name": "Ada"})
            assert of_cluster.status_code == 422
            assert of_cluster.json() == {
                "problems": [{"text": "User does not exist", "field": None, "code": "rejected"}]
            }
            browser.cookies.clear()
            for cookie in ("x", "-1", "9" * 50):
                answer = await browser.get("/users/nobody", headers={"cookie": f"position-{cookie}="})
                assert answer.status_code == 404
                browser.cookies.clear()

    asyncio.run(run())


@pytest.mark.usefixtures("web")
def test_a_position_that_the_log_does_not_reach_is_answered_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALBUS_TIMEOUT_MS", "500")

    async def run() -> None:
        async with serving(worker()) as browser:
            answer = await browser.get("/users/nobody", headers={"cookie": f"position-{'9' * 18}="})
            assert answer.status_code == 503

    asyncio.run(run())


def test_without_a_cluster_a_request_is_answered_503(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    monkeypatch.setenv("DUALBUS_FRONT", cluster.front)
    monkeypatch.setenv("DUALBUS_TIMEOUT_MS", "200")

    async def run() -> None:
        async with serving(worker()) as browser:
            answer = await browser.get("/users/nobody")
            assert answer.status_code == 503
            assert "Cannot reach a gateway" in answer.json()["problems"][0]["text"]

    asyncio.run(run())


# A command as a body.

orders = FastAPI()


@orders.post("/order")
async def place(command: PlaceOrder) -> Any:
    return json.loads(command.model_dump_json())


@orders.post("/orders")
async def place_many(commands: list[PlaceOrder], first: PlaceOrder) -> int:
    return len([*commands, first])


def posted(path: str, body: Any) -> tuple[int, Any]:
    async def run() -> tuple[int, Any]:
        async with serving(orders) as browser:
            answer = await browser.post(path, json=body)
            return answer.status_code, answer.json()

    return asyncio.run(run())


def test_json_with_a_uuid_a_decimal_and_a_date_is_a_command() -> None:
    sent = order()
    assert posted("/order", sent) == (200, {**sent, "payment": "card"})
    assert posted("/orders", {"commands": [sent, order()], "first": order()}) == (200, 3)
    assert "uuid" in json.dumps(orders.openapi()["components"]["schemas"]["PlaceOrder"])


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"order": "5"}, ["order"]),
        ({"order": 5}, ["order"]),
        ({"price": True}, ["price"]),
        ({"due": 5}, ["due"]),
        ({"due": "soon"}, ["due"]),
        ({"payment": "gold"}, ["payment"]),
        ({"lines": [{"item": " ", "amount": 1}]}, ["lines", 0, "item"]),
        ({"more": 1}, ["more"]),
    ],
)
def test_a_body_is_as_strict_as_the_wire(wrong: dict[str, Any], where: list[Any]) -> None:
    status, answer = posted("/order", order(**wrong))
    assert (status, [problem["loc"] for problem in answer["detail"]]) == (422, [["body", *where]])


class Leaf(Command):
    kind: Literal["leaf"] = "leaf"
    id: UUID


class Branch(Command):
    kind: Literal["branch"] = "branch"
    left: "Branch | None" = None
    leaves: list[Leaf] = Field(default_factory=list)


def test_messages_in_messages_and_unions_are_read_from_json_objects_and_stay_strict_in_python() -> None:
    text = str(uuid4())
    leaf, branch = {"id": text}, {"kind": "branch", "left": {"leaves": [{"id": text}]}, "leaves": []}
    made = Leaf(id=UUID(text))

    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[Leaf | Branch, Field(discriminator="kind")])
    assert adapter.validate_python({"kind": "leaf", **leaf}) == made
    assert adapter.validate_python(branch) == Branch(left=Branch(leaves=[made]))
    assert adapter.validate_python(made) is made
    assert parse(Branch, branch) == Branch(left=Branch(leaves=[made]))
    for wrong in (leaf, {"id": 5}, {"id": object()}):
        with pytest.raises(ValidationError):
            Leaf(**wrong)
    with pytest.raises(ValidationError):
        TypeAdapter(Annotated[Leaf, Field()]).validate_python({"id": object()})
