"""Tokens of HTTP: without, with a wrong and with a limited token; in a header, and in the cookie of a browser."""

import json
from collections.abc import Iterator

import httpx
import pytest

from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster, until
from tests.web.conftest import wait_until_serving

from .conftest import Operator

CREATE = {"name": "Ada", "email": "ada@example.org"}
ALL = ("--commands", "*", "--queries", "*", "--events", "*")


@pytest.fixture
def http(keyed: Cluster) -> Iterator[httpx.Client]:
    keyed.start("gateway", "commandbus", "projector", "querybus", "web")
    wait_until_serving(keyed)
    with httpx.Client(base_url=keyed.http, timeout=60) as made:
        assert made.get("/queries/ListUsers").status_code == 200  # the control: no token was ever created
        yield made


def token(operator: Operator, name: str, *options: str) -> dict[str, str]:
    """Create a token; return the header with the token."""
    return {"Authorization": f"Bearer {operator('tokens', 'add', name, *options).strip()}"}


def closed(http: httpx.Client) -> bool:
    return http.get("/queries/ListUsers").status_code == 401


def test_from_the_first_token_on_every_path_needs_one(http: httpx.Client, operator: Operator) -> None:
    all_ = token(operator, "ada", *ALL)
    until(lambda: closed(http))

    paths = ["/", "/events", "/metrics", "/readyz", "/docs", "/openapi.json", "/page/static/page.css", "/nowhere"]
    assert {http.get(path).status_code for path in [*paths, "//queries/ListUsers", "/healthz/"]} == {401}
    text = all_["Authorization"]
    for wrong in ("", "Bearer", "Bearer x", f"Basic {text[7:]}", f"{text}x", "Bearer \xff"):
        answer = http.get("/queries/ListUsers", headers=httpx.Headers({"Authorization": wrong}, "latin-1"))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert httpx.post(f"{http.base_url}/commands/CreateUser", json=CREATE).status_code == 401
    twice = httpx.Headers([("Authorization", all_["Authorization"])] * 2)
    assert http.get("/queries/ListUsers", headers=twice).status_code == 401
    assert http.get("/healthz").status_code == 200
    assert {http.get(path, headers=all_).status_code for path in ("/", "/events", "/metrics", "/docs")} == {200}
    # also after the last token was removed
    operator("tokens", "remove", "ada")
    until(lambda: http.get("/", headers=all_).status_code == 401)


def test_a_token_permits_its_types_and_is_the_actor(http: httpx.Client, keyed: Cluster, operator: Operator) -> None:
    shop = token(operator, "shop", "--commands", "Create*", "--queries", "GetUser", "--events", "UserCreated")
    eve = token(operator, "eve", "--commands", "*")
    until(lambda: http.get("/queries/ListUsers", headers=eve).status_code == 403)

    def status(method: str, path: str, **body: object) -> int:
        return http.request(method, path, headers=shop, json=body or None).status_code

    assert status("POST", "/commands/CreateUser", **CREATE) == 200
    assert status("GET", "/queries/GetUser?user_id=user-123") == 200
    assert status("GET", "/events?type=UserCreated") == 200
    forbidden = ["/queries/ListUsers", "/events", "/events?type=UserRenamed", "/metrics", "/", "/docs", "/events/"]
    assert {status("GET", path) for path in [*forbidden, "/events?type=UserCreated&type=UserRenamed"]} == {403}
    assert status("POST", "/commands/RenameUser", user_id="user-123", name="X") == 403
    # another token with the same key has a command of its own
    same = {"Idempotency-Key": '"k"'}
    first, second = (http.post("/commands/CreateUser", json=CREATE, headers={**who, **same}) for who in (shop, eve))
    assert (first.json()["events"] != second.json()["events"], second.headers.get("dualbus-repeated")) == (True, None)
    log = SqliteLogReader(keyed.data)
    assert [outcome.origin.actor for outcome in log.commands(1, 10)] == ["shop", "shop", "eve"]
    log.close()


def test_a_browser_moves_the_token_from_the_address_to_a_cookie(http: httpx.Client, operator: Operator) -> None:
    text = token(operator, "ada", *ALL)["Authorization"].removeprefix("Bearer ")
    until(lambda: closed(http))

    assert http.get("/?token=wrong").status_code == 401
    moved = http.get(f"/?token={text}")
    assert (moved.status_code, moved.headers["location"]) == (303, "/")
    cookie = moved.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert http.get("/queries/ListUsers").status_code == 200
    foreign = http.post("/commands/CreateUser", json=CREATE, headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403


def test_a_removed_token_ends_its_streams(http: httpx.Client, operator: Operator) -> None:
    ada = token(operator, "ada", *ALL)
    until(lambda: closed(http))
    headers = {**ada, "Accept": "text/event-stream"}
    with http.stream("GET", "/events", headers=headers) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("id: ")
        operator("tokens", "remove", "ada")
        for _ in lines:
            pass  # until the end of the stream
    assert http.get("/events", headers=headers).status_code == 401


def test_only_hashes_of_tokens_are_kept(keyed: Cluster, operator: Operator) -> None:
    text = operator("tokens", "add", "ada", "--queries", "*").strip()

    kept = (keyed.data / "keys" / "tokens.json").read_text()
    assert text not in kept + operator("tokens", "list") + operator("tokens", "list", "--json")
    [listed] = map(json.loads, operator("tokens", "list", "--json").splitlines())
    assert listed == {"name": "ada", "commands": [], "queries": ["*"], "events": []}
    assert "ada has a token" in operator("tokens", "add", "ada", code=2)
    assert "bob has no token" in operator("tokens", "remove", "bob", code=2)
    assert (keyed.data / "keys" / "tokens.json").stat().st_mode & 0o777 == 0o600
