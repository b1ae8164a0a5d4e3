"""Tokens of HTTP: without, with a wrong and with a limited token; in a header, and in the cookie of a browser."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from dualbus import Client
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.web.conftest import wait_until_serving
from tests.web.listening import listeners
from web.live import LIVE_MAX_EACH

from .conftest import Operator, command_line

CREATE = {"name": "Ada", "email": "ada@example.org"}
ALL = ("--commands", "*", "--queries", "*", "--events", "*")


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """A running cluster with keys of its own, for the tests that leave the token of the operator valid."""
    folder = Path(tempfile.mkdtemp(prefix="db"))
    with Cluster(folder, cwd=ROOT) as made:
        made.environ.pop("DUALBUS_KEYS", None)
        made.start("gateway", "commandbus", "projector", "querybus", "web")
        wait_until_serving(made)
        yield made
    shutil.rmtree(folder)


@pytest.fixture
def http(shared: Cluster) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=shared.http, timeout=60) as made:
        yield made


@pytest.fixture
def admin(shared: Cluster) -> Operator:
    """The command line of the shared cluster."""
    return command_line(shared)


def token(operator: Operator, name: str, *options: str) -> dict[str, str]:
    """Create a token; return the header with the token."""
    return {"Authorization": f"Bearer {operator('tokens', 'add', name, *options).strip()}"}


PATHS = ["/", "/events", "/metrics", "/docs", "/openapi.json", "/page/static/page.css", "/queries/ListUsers"]


def test_every_path_needs_a_token_on_loopback_too(http: httpx.Client, shared: Cluster, admin: Operator) -> None:
    own = shared.http_headers
    assert {http.get(path).status_code for path in [*PATHS, "/nowhere", "//queries/ListUsers", "/healthz/"]} == {401}
    text = own["authorization"]
    for wrong in ("", "Bearer", "Bearer x", f"Basic {text[7:]}", f"{text}x", text[:-1], text[7:], "Bearer \xff"):
        answer = http.get("/queries/ListUsers", headers=httpx.Headers({"Authorization": wrong}, "latin-1"))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert http.post("/commands/CreateUser", json=CREATE).status_code == 401
    assert http.get("/queries/ListUsers", headers=httpx.Headers([("Authorization", text)] * 2)).status_code == 401
    assert http.get("/queries/ListUsers", params={"token": text[7:]}).status_code == 401
    # The control: the same with the token of the operator, and probes without
    assert {http.get(path, headers=own).status_code for path in PATHS} == {200}
    assert {http.get(path).status_code for path in ("/healthz", "/readyz")} == {200}
    # A token with every permission permits the same
    ada = token(admin, "ada", *ALL)
    until(lambda: http.get("/", headers=ada).status_code == 200)
    assert {http.get(path, headers=ada).status_code for path in PATHS} == {200}


def test_control_with_keys_off_no_path_needs_a_token(keyed: Cluster) -> None:
    keyed.environ["DUALBUS_KEYS"] = "off"
    assert keyed.http_headers == {}
    keyed.start("gateway", "commandbus", "projector", "querybus", "web")
    wait_until_serving(keyed)
    with httpx.Client(base_url=keyed.http, timeout=60) as http:
        assert {http.get(path).status_code for path in PATHS} == {200}
        assert http.post("/commands/CreateUser", json=CREATE).status_code == 200
        assert "securitySchemes" not in http.get("/openapi.json").json()["components"]
    assert "DUALBUS_KEYS is off: every user of this machine can send" in keyed.process("web").stderr_text


def test_the_token_of_the_operator_is_kept_until_its_file_is_removed(
    http: httpx.Client, shared: Cluster, admin: Operator
) -> None:
    path, first = shared.data / "keys" / "http.header", shared.http_headers
    assert (path.stat().st_mode & 0o777, path.read_text()) == (0o600, f"Authorization: {first['authorization']}\n")
    shared.restart("web")
    wait_until_serving(shared)
    assert shared.http_headers == first
    assert http.get("/", headers=first).status_code == 200
    # When the operator replaces it, the old token has no effect within a second, and the new one has
    path.unlink()
    until(lambda: http.get("/", headers=first).status_code == 401)
    [address] = admin("tokens", "show").split()
    until(lambda: http.get("/", headers=shared.http_headers).status_code == 200)
    assert address == f"{shared.http}/?token={shared.http_headers['authorization'].removeprefix('Bearer ')}"


def test_a_token_permits_its_types_and_is_the_actor(http: httpx.Client, shared: Cluster, admin: Operator) -> None:
    shop = token(admin, "shop", "--commands", "Create*", "--queries", "GetUser", "--events", "UserCreated")
    eve = token(admin, "eve", "--commands", "*", "--queries", "Status")
    until(lambda: http.get("/queries/ListUsers", headers=eve).status_code == 403)

    def status(method: str, path: str, **body: object) -> int:
        return http.request(method, path, headers=shop, json=body or None).status_code

    assert status("POST", "/commands/CreateUser", **CREATE) == 200
    assert status("GET", "/queries/GetUser?user_id=user-123") == 200
    assert status("GET", "/events?type=UserCreated") == 200
    forbidden = ["/queries/ListUsers", "/events", "/events?type=UserRenamed", "/metrics", "/", "/docs", "/events/"]
    forbidden += [
        "/events?type=UserCreated&type=UserRenamed",
        "/queries/%4cistUsers",
        "/queries/GetUser%2F..%2FListUsers",
    ]
    forbidden += [
        "/queries/GetUser/../ListUsers",
        "/queries/ListUsers?user_id=x",
        "/queries//ListUsers",
        "/QUERIES/GetUser",
    ]
    assert {status("GET", path) for path in forbidden} == {403}
    assert status("POST", "/commands/RenameUser", user_id="user-123", name="X") == 403
    tricks = {
        "X-Original-URL": "/healthz",
        "X-Rewrite-URL": "/healthz",
        "X-Forwarded-User": "root",
        "X-HTTP-Method": "GET",
    }
    assert http.get("/queries/ListUsers", headers={**shop, **tricks}).status_code == 403
    # The control: the operator is permitted the paths that exist
    reached = [http.get(path, headers=shared.http_headers).status_code for path in forbidden]
    assert reached == [200, 200, 200, 200, 200, 200, 404, 200, 200, 404, 200, 422, 404, 404]
    assert http.get("/metrics", headers=eve).status_code == 200
    # another token with the same key has a command of its own
    same = {"Idempotency-Key": '"k"'}
    first, second = (http.post("/commands/CreateUser", json=CREATE, headers={**who, **same}) for who in (shop, eve))
    assert (first.json()["events"] != second.json()["events"], second.headers.get("dualbus-repeated")) == (True, None)
    assert http.post("/commands/CreateUser", json=CREATE, headers=shared.http_headers).status_code == 200
    log = SqliteLogReader(shared.data)
    assert [outcome.origin.actor for outcome in log.commands(1, 10)][-4:] == ["shop", "shop", "eve", None]
    log.close()


def test_a_browser_moves_the_token_from_the_address_to_a_cookie(http: httpx.Client, admin: Operator) -> None:
    [address] = admin("tokens", "show").split()

    assert http.get("/?token=wrong").status_code == 401
    assert http.get(address.replace("/?", "/docs?")).status_code == 401
    moved = http.get(address)
    assert (moved.status_code, moved.headers["location"], moved.text) == (303, "/", "")
    assert (moved.headers["referrer-policy"], moved.headers["cache-control"]) == ("same-origin", "no-store")
    cookie = moved.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert http.get("/queries/ListUsers").status_code == 200


@pytest.mark.parametrize("other", ['theme={"dark":true}', "_xsrf=2|ab", "seen", "a b=c", "path=/", "name=é".encode()])
def test_the_cookie_of_a_token_is_accepted_beside_every_cookie_of_other_programs(
    http: httpx.Client, admin: Operator, other: str | bytes
) -> None:
    http.get(admin("tokens", "show").strip())
    own = "; ".join(f"{name}={text}" for name, text in http.cookies.items()).encode()
    http.cookies.clear()
    assert http.get("/queries/ListUsers").status_code == 401

    foreign = other if isinstance(other, bytes) else other.encode()
    for cookies in (foreign + b"; " + own, own + b"; " + foreign):
        assert http.get("/queries/ListUsers", headers={b"Cookie": cookies}).status_code == 200


def test_a_removed_token_ends_its_streams(http: httpx.Client, admin: Operator) -> None:
    bob = token(admin, "bob", *ALL)
    until(lambda: http.get("/", headers=bob).status_code == 200)
    headers = {**bob, "Accept": "text/event-stream"}
    with http.stream("GET", "/events", headers=headers) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("id: ")
        admin("tokens", "remove", "bob")
        for _ in lines:
            pass  # until the end of the stream
    assert http.get("/events", headers=headers).status_code == 401


def test_a_removed_token_ends_its_streams_that_have_not_begun(http: httpx.Client, admin: Operator) -> None:
    """A live query that waits for a later position would begin with the next event, and would have no end."""
    bob = token(admin, "bob", *ALL)
    until(lambda: http.get("/", headers=bob).status_code == 200)
    head = http.get("/events", headers=bob).json()["head"]
    headers = {**bob, "Accept": "text/event-stream", "Last-Event-ID": str(head + 1)}
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(http.get, "/queries/ListUsers?timeout_ms=3600000", headers=headers)
        until(lambda: listeners(http, **bob) == 1)
        admin("tokens", "remove", "bob")
        assert answer.result(timeout=30).content == b""
    assert http.get("/queries/ListUsers", headers=headers).status_code == 401


def test_the_live_queries_of_a_token_leave_room_for_others(
    http: httpx.Client, shared: Cluster, admin: Operator
) -> None:
    bob = token(admin, "listener", *ALL)
    until(lambda: http.get("/", headers=bob).status_code == 200)
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**bob, "Accept": "text/event-stream"}.items())
    address = "127.0.0.1", int(shared.http.rpartition(":")[2])

    def status(number: int, lines: str) -> bytes:
        made = stack.enter_context(socket.create_connection(address, timeout=30))
        made.sendall(f"GET /queries/GetUser?user_id={number} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
        return made.recv(12)[-3:]

    with ExitStack() as stack:
        assert {status(number, lines) for number in range(LIVE_MAX_EACH)} == {b"200"}
        assert status(LIVE_MAX_EACH, lines) == b"503"
        assert status(0, lines) == b"200"  # equal to another one
        operator = f"Authorization: {shared.http_headers['authorization']}\r\nAccept: text/event-stream\r\n"
        assert status(LIVE_MAX_EACH, operator) == b"200"


def test_a_removed_token_is_refused_while_the_file_of_the_operator_is_refused_too(
    http: httpx.Client, shared: Cluster, admin: Operator
) -> None:
    bob = token(admin, "bob", *ALL)
    until(lambda: http.get("/", headers=bob).status_code == 200)
    path = shared.data / "keys" / "http.header"
    path.chmod(0o644)
    try:
        admin("tokens", "remove", "bob")
        until(lambda: http.get("/", headers=bob).status_code == 401)
    finally:
        path.chmod(0o600)
    assert http.get("/", headers=shared.http_headers).status_code == 200


def test_a_token_that_is_removed_while_a_body_arrives_executes_nothing(
    http: httpx.Client, shared: Cluster, admin: Operator
) -> None:
    bob = token(admin, "bob", *ALL)
    until(lambda: http.get("/", headers=bob).status_code == 200)
    body = json.dumps(CREATE).encode()
    head = f"POST /commands/CreateUser HTTP/1.1\r\nhost: localhost\r\nauthorization: {bob['Authorization']}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    last = http.get("/events", headers=shared.http_headers).json()["head"]
    with socket.create_connection(("127.0.0.1", int(shared.http.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(head.encode() + body[:5])
        admin("tokens", "remove", "bob")
        until(lambda: http.get("/", headers=bob).status_code == 401)
        connection.sendall(body[5:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")
    assert http.get("/events", headers=shared.http_headers).json()["head"] == last


def test_a_removed_token_ends_its_waiting_calls_and_no_others(
    http: httpx.Client, shared: Cluster, admin: Operator
) -> None:
    bob, eve = token(admin, "bob", *ALL), token(admin, "waiting", *ALL)
    until(lambda: http.get("/", headers=eve).status_code == http.get("/", headers=bob).status_code == 200)
    last = http.get("/events", headers=shared.http_headers).json()["head"]
    path = "/commands/CreateUser?timeout_ms=3600000"
    shared.stop("commandbus")
    with ThreadPoolExecutor() as threads, Client(shared.front, keys=shared.data / "keys") as client:
        removed, kept = (threads.submit(http.post, path, headers=each, json=CREATE) for each in (bob, eve))
        until(lambda: client.status()["gateway"]["queued"]["commandbus"] == 2)
        admin("tokens", "remove", "bob")
        ended = removed.result(timeout=30)
        assert (ended.status_code, ended.json()["outcome"]) == (504, "unknown")
        assert "the token was removed" in ended.json()["detail"]
        until(lambda: client.status()["gateway"]["queued"]["commandbus"] == 1)
        shared.start("commandbus")
        assert kept.result(timeout=30).json()["position"] == last + 1
    assert http.get("/events", headers=shared.http_headers).json()["head"] == last + 1


@pytest.mark.parametrize(
    ("site", "status"), [("none", 303), ("same-origin", 303), ("same-site", 403), ("cross-site", 403)]
)
def test_a_link_of_another_site_replaces_no_token(
    http: httpx.Client, admin: Operator, site: str, status: int
) -> None:
    text = token(admin, "mallory", *ALL)["Authorization"].removeprefix("Bearer ")
    until(lambda: http.get(f"/?token={text}").status_code == 303)
    answer = http.get(f"/?token={text}", headers={"Sec-Fetch-Site": site})
    admin("tokens", "remove", "mallory")

    assert answer.status_code == status
    assert ("set-cookie" in answer.headers) == (status == 303)


def test_the_token_is_on_the_terminal_and_in_no_log(keyed: Cluster) -> None:
    ours, theirs = os.openpty()  # as under honcho: standard input is the terminal, standard error a pipe
    web = subprocess.Popen(
        keyed.commands["web"], cwd=ROOT, env=keyed.environ, stdin=theirs, stderr=subprocess.PIPE, text=True
    )
    shown = os.read(ours, 10_000).decode()
    assert web.stderr
    logged = web.stderr.readline()
    web.terminate()
    logged += web.stderr.read()
    text = keyed.http_headers["authorization"].removeprefix("Bearer ")
    assert shown.strip() == f"web: The page: {keyed.http}/?token={text}"
    assert f"Serving HTTP on {keyed.http}" in logged
    assert text not in logged
    web.stderr.close()
    os.close(ours)
    os.close(theirs)
    assert web.wait() == 0


def test_without_a_terminal_the_log_shows_how_to_read_the_token(keyed: Cluster) -> None:
    keyed.start("web")
    wait_until_serving(keyed)
    assert "The page: run `dualbus tokens show`." in keyed.process("web").stderr_text
    assert keyed.http_headers["authorization"].removeprefix("Bearer ") not in keyed.process("web").stderr_text


def test_a_damaged_header_and_one_that_others_can_read_are_refused(keyed: Cluster, operator: Operator) -> None:
    path = keyed.data / "keys" / "http.header"
    operator("tokens", "show")
    path.chmod(0o644)
    assert "is open to other users" in operator("tokens", "show", code=2)
    path.chmod(0o600)
    path.write_text("Authorization: Bearer x\n")
    [web] = keyed.start("web")
    assert web.wait() == 78
    assert "http.header is not valid: remove the file" in web.stderr_text


def test_only_hashes_of_tokens_are_kept(keyed: Cluster, operator: Operator) -> None:
    text = operator("tokens", "add", "ada", "--queries", "*").strip()

    kept = (keyed.data / "keys" / "tokens.json").read_text()
    assert text not in kept + operator("tokens", "list") + operator("tokens", "list", "--json")
    [listed] = map(json.loads, operator("tokens", "list", "--json").splitlines())
    assert listed == {"name": "ada", "commands": [], "queries": ["*"], "events": []}
    assert "ada has a token" in operator("tokens", "add", "ada", code=2)
    assert "bob has no token" in operator("tokens", "remove", "bob", code=2)
    assert (keyed.data / "keys" / "tokens.json").stat().st_mode & 0o777 == 0o600
