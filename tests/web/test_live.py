"""Live queries: the answer now, and again whenever it has changed."""

import asyncio
import json
import shlex
import socket
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from dualbus import AsyncClient, Rejected
from dualbus.protocol.feed import EVENTS
from dualbus.testing import Cluster, until
from tests.web.conftest import head, serving, wait_until_serving
from tests.web.listening import Listener
from web.event_pages import EventPages
from web.head import Head
from web.live import LiveQueries
from web.streams import COMMENT


@pytest.fixture(scope="module")
def app() -> str:
    return "tests.web.shop:app"


def add(browser: httpx.Client, item: str) -> int:
    answer = browser.post("/commands/AddItem", json={"item": item})
    assert answer.status_code == 200, answer.text
    position: int = answer.json()["position"]
    return position


def stream_request(site: Cluster, path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\n%bAccept: text/event-stream\r\n\r\n" % (path.encode(), head(site))


def names(answer: Any) -> list[str]:
    return [item["item"] for item in answer]


def test_a_listener_gets_the_answer_now_and_whenever_it_has_changed(site: Cluster, browser: httpx.Client) -> None:
    first = add(browser, "Live 1")
    with Listener(site, "/queries/ListItems?prefix=Live", **{"dualbus-after": str(first)}) as listener:
        until(lambda: listener.ids == [first])
        add(browser, "Other")  # the answer does not change
        second = add(browser, "Live 2")
        until(lambda: listener.ids == [first, second])
        assert [names(answer) for answer in listener.data] == [["Live 1"], ["Live 1", "Live 2"]]


def test_a_query_by_post_is_live_and_shares_the_evaluation_of_an_equal_query(
    site: Cluster, browser: httpx.Client
) -> None:
    first = add(browser, "Posted 1")
    body, after = {"prefix": "Posted"}, {"dualbus-after": str(first)}
    with (
        Listener(site, "/queries/ListItems", body, **after) as posted,
        Listener(site, "/queries/ListItems?prefix=Posted", **after) as listener,
    ):
        until(lambda: posted.ids == [first] == listener.ids)
        second = add(browser, "Posted 2")
        until(lambda: posted.ids == [first, second] == listener.ids)
        assert [names(answer) for answer in posted.data] == [["Posted 1"], ["Posted 1", "Posted 2"]]
        assert posted.data == listener.data


def test_a_live_query_that_would_keep_much_memory_is_refused(browser: httpx.Client) -> None:
    headers = {"accept": "text/event-stream"}
    for prefix, status in (("a" * 20_000, 413), (1, 422)):
        answer = browser.post("/queries/ListItems", json={"prefix": prefix}, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_listener_sees_its_own_writes_and_resumes_from_its_last_answer(
    site: Cluster, browser: httpx.Client
) -> None:
    for number in range(20):
        item = f"Own {number:02d}"
        position = add(browser, item)
        header = ("last-event-id", "dualbus-after")[number % 2]
        with Listener(site, "/queries/ListItems?prefix=Own", **{header: str(position)}) as listener:
            until(lambda: listener.data)
            assert names(listener.data[0])[-1] == item
            assert listener.ids[0] >= position


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/queries/ListItems?prefix=a&more=1", 422),
        ("/queries/Fail", 500),
        ("/queries/AddItem", 405),
        ("/queries/Nothing", 404),
        ("/queries/Echo?part=x", 400),
    ],
)
def test_a_problem_of_the_first_answer_is_a_problem_of_the_request(
    browser: httpx.Client, path: str, status: int
) -> None:
    answer = browser.get(path, headers={"accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_position_beyond_the_log_is_refused_at_the_deadline(browser: httpx.Client) -> None:
    headers = {"accept": "text/event-stream", "last-event-id": "1000000"}
    answer = browser.get("/queries/ListItems?timeout_ms=300", headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_equal_queries_of_many_listeners_share_an_evaluation(cluster: Cluster) -> None:
    """A thousand listeners cost one evaluation a change."""
    cluster.environ["DUALBUS_APP"] = "tests.web.shop:app"
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    asyncio.run(_thousand(cluster))


async def _thousand(cluster: Cluster) -> None:
    host, port = cluster.http.removeprefix("http://").split(":")

    async def listen() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(stream_request(cluster, "/queries/ListItems?prefix=Many"))
        assert await next_answer(reader) == []
        return reader, writer

    async def next_answer(reader: asyncio.StreamReader) -> Any:
        while True:
            line = await reader.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                return json.loads(line[6:])

    async with AsyncClient(cluster.front) as client:
        listeners = [await listen() for _ in range(1000)]
        before = await evaluations(client)
        for number in range(5):
            await client.command("AddItem", item=f"Many {number}")
            found = await asyncio.gather(*(next_answer(reader) for reader, _ in listeners))
            assert {len(answer) for answer in found} == {number + 1}
        spent = await evaluations(client) - before
        for _, writer in listeners:
            writer.close()
    assert spent == 5


async def evaluations(client: AsyncClient) -> int:
    """Return the number of answers to ListItems."""
    requests = (await client.status())["requests"]
    [found] = [each for each in requests if (each["dest"], each["type"]) == ("querybus", "ListItems")]
    return sum(found["outcomes"].values())


def test_a_slow_reader_gets_the_newest_answer_and_never_a_queue(site: Cluster, browser: httpx.Client) -> None:
    # Given a listener that does not read, of an answer that grows to megabytes in total
    host, port = site.http.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(stream_request(site, "/queries/ListItems?prefix=Slow"))
        before = memory(site)
        with Listener(site, "/queries/ListItems?prefix=Slow") as quick:
            for number in range(300):
                last = add(browser, f"Slow {number:04d} {'x' * 200}")
            until(lambda: quick.ids and quick.ids[-1] == last)
            total = sum(len(json.dumps(answer)) for answer in quick.data)
        assert total > 1 << 20
        assert memory(site) - before < 30 << 20

        # When it reads, then it gets a few old answers, and the newest
        received = b""
        slow.settimeout(10)
        while f"id: {last}\n".encode() not in received or not received.endswith(b"\n\n\r\n"):
            received += slow.recv(65_536)
    assert received.count(b"\nid: ") < len(quick.ids) / 2


def memory(site: Cluster) -> int:
    """Return the resident memory of the web process in bytes."""
    with open(f"/proc/{site.process('web').pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_a_live_query_survives_the_death_of_any_process(cluster: Cluster) -> None:
    cluster.environ["DUALBUS_APP"] = "tests.web.shop:app"
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    with (
        httpx.Client(base_url=cluster.http, headers=cluster.http_headers, timeout=60) as browser,
        Listener(cluster, "/queries/ListItems") as live,
    ):
        for number, name in enumerate(("querybus", "projector", "commandbus", "gateway")):
            cluster.restart(name)
            last = add(browser, f"After {name}")
            until(lambda: live.ids and live.ids[-1] == last)  # noqa: B023
            assert len(live.data[-1]) == number + 1
        assert live.ids == sorted(set(live.ids))
        assert live.events == []


def test_the_stop_of_the_process_ends_all_streams(cluster: Cluster) -> None:
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    with Listener(cluster, "/events") as events, Listener(cluster, "/queries/ListUsers") as live:
        until(lambda: events.data and live.data)
        assert cluster.stop("web") == 0
        until(lambda: events.ended and live.ended)
    assert cluster.process("web").stderr_text.count("\n") == 1  # the address


def test_a_failure_is_not_served_to_a_listener_that_knows_a_later_position(
    site: Cluster, browser: httpx.Client
) -> None:
    first = add(browser, "Stale 1")
    with Listener(site, "/queries/CountItems?item=Stale", **{"dualbus-after": str(first)}) as listener:
        until(lambda: listener.ids == [first])
        add(browser, "Stale 2")
        until(lambda: listener.events == ["problem"])
        for number in range(3, 6):  # while the failing query is not evaluated
            position = add(browser, f"Stale {number}")
            headers = {"dualbus-after": str(position)}
            with Listener(site, "/queries/CountItems?item=Stale", **headers) as later:
                assert later.status == 200
                until(lambda: later.data)
                assert later.data[0] == number


def test_a_listener_that_connects_again_does_not_get_its_last_frame_twice(
    site: Cluster, browser: httpx.Client
) -> None:
    path = "/queries/ListItems?prefix=Twice"
    first = add(browser, "Twice 1")
    with Listener(site, path, **{"dualbus-after": str(first)}) as listener:
        until(lambda: listener.ids == [first])
    add(browser, "Another")  # the answer does not change
    with Listener(site, path, **{"last-event-id": str(first)}) as alone:
        until(lambda: alone.comments)
        with Listener(site, path, **{"last-event-id": str(first)}) as second, Listener(site, path) as new:
            until(lambda: second.comments and new.ids == [first])
            last = add(browser, "Twice 2")
            until(lambda: alone.ids and second.ids and len(new.ids) == 2)
            assert (alone.ids, second.ids, new.ids) == ([last], [last], [first, last])
    add(browser, "Twice 3")
    with Listener(site, path, **{"last-event-id": str(last)}) as changed:
        until(lambda: changed.data)
        assert len(changed.data[0]) == 3


class Answering:
    """A client whose answer can change without an event."""

    position, answer = 10, 1

    @property
    def streams(self) -> "Answering":
        return self

    def session(self) -> "Answering":
        return self

    async def query(self, name: str, params: dict[str, Any], **options: Any) -> int:
        return await asyncio.Future() if name == EVENTS else self.answer


def test_a_listener_that_connects_again_gets_another_answer_at_the_same_position() -> None:
    client: Any = Answering()
    live = LiveQueries(client, Head(client))

    async def first_frame(known: int) -> bytes:
        async with asyncio.timeout(30), aclosing(live.frames("Get", {}, known, known, 30)) as frames:
            return await anext(frames)

    async def scenario() -> None:
        assert await first_frame(0) == b"id: 10\ndata: 1\n\n"
        assert await first_frame(10) == COMMENT
        client.answer = 2  # such as of a new version of the function
        assert await first_frame(10) == b"id: 10\ndata: 2\n\n"
        assert await first_frame(10) == b"id: 10\ndata: 2\n\n"  # the listener may have either answer of position 10
        client.position = 11
        client.answer = 3
        assert await first_frame(10) == b"id: 11\ndata: 3\n\n"
        assert await first_frame(11) == COMMENT

    asyncio.run(scenario())


SHOP = """
from tests.web.shop import *

def count(query: CountItems, tables: ReadOnlyTables) -> int:
    return {answer}

app = App(commands=[add_item], projections=[Projection("items", 1, tables=TABLES, on=[insert_item])], queries=[count])
"""


def test_a_listener_gets_the_answer_of_a_new_version_without_an_event(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    folder.joinpath("versions.py").write_text(SHOP.format(answer=1))
    cluster.environ |= {"DUALBUS_APP": "versions:app", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    serving(cluster)
    with Listener(cluster, "/queries/CountItems?item=a") as listener:
        until(lambda: listener.data == [1])
        folder.joinpath("versions.py").write_text(SHOP.format(answer=2))
        cluster.restart("querybus")
        until(lambda: listener.data == [1, 2], 30)
        assert listener.ids[0] == listener.ids[1]


class Reading(Answering):
    """A client of a log with ten events."""

    async def query(self, name: str, params: dict[str, Any], **options: Any) -> Any:
        if params.get("limit") == 1 and params["after"]:
            return await asyncio.Future()  # no further event
        return {"events": [], "position": 10, "hash": "h", "head": 10}


def test_a_stream_of_events_ends_with_a_problem_after_a_restore_to_an_earlier_position() -> None:
    async def scenario() -> None:
        client: Any = Reading()
        head = Head(client)
        params = {"after": 10, "after_hash": "", "types": []}
        async with asyncio.timeout(30), aclosing(EventPages(client, head).frames(params)) as frames:
            assert await anext(frames) == COMMENT
            further = asyncio.ensure_future(anext(frames))
            while not further.done():
                head._recover(5)
                await asyncio.sleep(0.01)
            with pytest.raises(Rejected, match="restored to an earlier position"):
                further.result()

    asyncio.run(scenario())


def test_a_stream_begins_without_a_querybus_and_continues_with_one(cluster: Cluster) -> None:
    """After a status, a browser would not connect again; comments keep the response open in proxies."""
    cluster.environ["DUALBUS_APP"] = "tests.web.shop:app"
    cluster.environ["DUALBUS_TIMEOUT_MS"] = "3000"
    cluster.start("gateway", "commandbus", "projector", "web")
    wait_until_serving(cluster)
    with httpx.Client(base_url=cluster.http, headers=cluster.http_headers, timeout=60) as browser:
        last = add(browser, "First")
        headers = {"last-event-id": str(last)}
        with (
            Listener(cluster, "/queries/ListItems?timeout_ms=500", **headers) as live,
            Listener(cluster, "/queries/ListItems?prefix=F", **headers) as other,
            Listener(cluster, "/events") as events,
            Listener(cluster, "/events?after=0", **headers) as resumed,
        ):
            listeners = (live, other, events, resumed)
            assert {listener.status for listener in listeners} == {200}
            until(lambda: all(listener.events == ["problem"] for listener in listeners))
            assert {listener.data[0]["status"] for listener in listeners} <= {503, 504}
            until(lambda: all(listener.comments for listener in listeners))
            cluster.start("querybus")
            until(lambda: live.ids == other.ids == events.ids == [last])
            until(lambda: resumed.comments)
            last = add(browser, "Further")
            until(lambda: all(listener.ids[-1:] == [last] for listener in (live, events, resumed)))
            assert [len(listener.data) for listener in (live, events, resumed)] == [3, 3, 2]

            # A definite error remains a status.
            for path, status in (("/queries/Fail", 500), ("/events?type=Nothing", 422), ("/events?after=99", 503)):
                answer = browser.get(path, headers={"accept": "text/event-stream"})
                assert answer.status_code == status


def test_the_bound_on_streams_includes_streams_that_have_not_begun(cluster: Cluster) -> None:
    command = cluster.commands["web"]
    cluster.commands["web"] = ["/bin/sh", "-c", f"ulimit -n 100; exec {shlex.join(command)}"]
    cluster.start()
    cluster.start("web")
    wait_until_serving(cluster)
    address = ("127.0.0.1", int(cluster.http.rpartition(":")[2]))
    headers = {"accept": "text/event-stream", "last-event-id": "1000000"}
    waiting = stream_request(cluster, "/queries/ListUsers?timeout_ms=60000")
    waiting = waiting.replace(b"\r\n\r\n", b"\r\nLast-Event-ID: 1000000\r\n\r\n")
    with ExitStack() as stack:
        for _ in range(25):  # half of the connections: half of the descriptors
            stack.enter_context(socket.create_connection(address)).sendall(waiting)
        with httpx.Client(base_url=cluster.http, headers=cluster.http_headers, timeout=60) as browser:

            def refusal() -> str:
                return str(browser.get("/queries/ListUsers?timeout_ms=300", headers=headers).json()["detail"])

            until(lambda: refusal() == "There are 25 listeners already: retry later.")


def test_a_query_that_fails_later_is_a_frame_without_an_id_and_recovers(site: Cluster, browser: httpx.Client) -> None:
    first = add(browser, "Brittle 1")
    with Listener(site, "/queries/CountItems?item=Brittle", **{"dualbus-after": str(first)}) as listener:
        until(lambda: listener.ids == [first])
        add(browser, "Brittle 2")
        until(lambda: listener.events == ["problem"])
        assert listener.ids == [first]
        assert listener.data[-1]["status"] == 500
        third = add(browser, "Brittle 3")
        until(lambda: listener.ids == [first, third])
        assert listener.data[-1] == 3
