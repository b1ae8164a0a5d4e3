"""The client for asyncio: many calls at once, cancelled calls, closing, other loops."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from dualbus import AsyncClient, ClientClosed, CommandResult, Rejected, Unavailable
from dualbus.client.calls import IN_FLIGHT_MAX
from dualbus.testing import Cluster
from tests.clients.notes import CountNotes, Note, Ponder
from tests.clients.seeing import data, events, logged
from tests.keyring import as_server
from tests.raw import SECONDS


@asynccontextmanager
async def calling(cluster: Cluster) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(cluster.front, timeout=SECONDS) as client:
        yield client


def test_ten_thousand_commands_at_once_have_one_effect_each_and_are_seen(notes: Cluster) -> None:
    async def run() -> None:
        async with calling(notes) as client:
            results = await asyncio.gather(*(client.command(Note(text=f"gather {n}")) for n in range(10_000)))
            counts = await asyncio.gather(
                *(client.query(CountNotes(text=f"gather {n}")) for n in range(0, 10_000, 10))
            )
        assert [result.events[0]["payload"]["text"] for result in results] == [f"gather {n}" for n in range(10_000)]
        assert len({result.position for result in results}) == 10_000
        assert counts == [1] * 1000

    asyncio.run(run())
    assert sum('"gather ' in one for one in data(notes)) == 10_000


def test_calls_that_are_made_at_once_are_decided_at_once(notes: Cluster) -> None:
    async def run() -> None:
        async with calling(notes) as client:
            await asyncio.gather(*(client.command(Note(text="at once")) for _ in range(500)))

    asyncio.run(run())
    assert len({event.time for event in events(notes) if '"at once"' in event.data}) < 50  # one for each commit


def test_a_refusal_among_many_harms_no_other(notes: Cluster) -> None:
    async def run() -> list[object]:
        async with calling(notes) as client:
            payloads: list[dict[str, object]] = [
                {"text": "fine"},
                {"text": ""},
                {"text": {1: 2}},
                {"text": object()},
            ] * 100
            calls = [client.command("Note", payload) for payload in payloads]
            return await asyncio.gather(*calls, return_exceptions=True)

    assert Counter(map(type, asyncio.run(run()))) == {CommandResult: 100, Rejected: 300}


def test_a_call_that_is_cancelled_leaves_the_others_alone(notes: Cluster) -> None:
    async def run() -> None:
        async with calling(notes) as client:
            tasks = [asyncio.create_task(client.command(Note(text=f"maybe {n}"))) for n in range(100)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in results[::2])
            assert all(isinstance(one, CommandResult) for one in results[1::2])
            for number in range(1, 100, 2):
                assert await client.query(CountNotes(text=f"maybe {number}")) == 1
        assert sum('"maybe ' in one for one in data(notes)) == 50  # they were given up before they were sent

    asyncio.run(run())


def test_a_timeout_of_asyncio_ends_a_call_and_the_client_goes_on(notes: Cluster) -> None:
    async def run() -> None:
        async with calling(notes) as client:
            with pytest.raises(asyncio.TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.command(Ponder(text="slow", seconds=0.3))
            assert await client.query(CountNotes(text="nothing of the kind")) == 0

    asyncio.run(run())


def test_closing_ends_the_calls_that_are_under_way(notes: Cluster) -> None:
    async def run() -> None:
        client = AsyncClient(notes.front)
        await client.command(Note(text="a"))
        call = asyncio.create_task(client.command(Ponder(text="b", seconds=0.2)))
        for _ in range(3):
            await asyncio.sleep(0)
        await client.close()
        with pytest.raises(ClientClosed, match="was closed before the reply arrived") as caught:
            await call
        assert not caught.value.outcome_known
        with pytest.raises(ClientClosed, match="create another client"):
            await client.query(CountNotes(text="a"))

    asyncio.run(run())


def test_a_client_belongs_to_one_loop_and_says_so(notes: Cluster) -> None:
    client = AsyncClient(notes.front)
    asyncio.run(client.command(Note(text="first loop")))
    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        asyncio.run(client.command(Note(text="second loop")))
    asyncio.run(client.close())
    assert logged(notes, "second loop") == 0


def test_ten_thousand_calls_without_a_gateway_are_told_in_time(cluster: Cluster) -> None:
    async def run() -> list[object]:
        async with AsyncClient(cluster.front, timeout=0.3) as client:
            calls = (client.command("CreateUser", name="Ada") for _ in range(10_000))
            return await asyncio.gather(*calls, return_exceptions=True)

    assert Counter(map(type, asyncio.run(run()))) == {Unavailable: 10_000}


def test_when_all_that_is_under_way_is_answered_in_one_message_the_rest_is_sent(folder: Path) -> None:
    # Given a gateway that answers the first calls, as many as are under way at most, in one message
    def gateway(socket: "zmq.Socket[bytes]") -> None:
        answered = 0
        while answered < IN_FLIGHT_MAX + 1:
            asked: list[Any] = []
            while len(asked) < min(IN_FLIGHT_MAX, IN_FLIGHT_MAX + 1 - answered):
                client, packed = socket.recv_multipart()
                kind, envelopes = msgpack.unpackb(packed)
                assert kind == "send"
                asked += envelopes
            socket.send_multipart([client, msgpack.packb(["reply", [answer(one) for one in asked]])])
            answered += len(asked)

    def answer(sent: Any) -> Any:
        body = {"type": "query_result", "in_reply_to": sent["body"]["msg_id"], "data": sent["body"]["params"]["n"]}
        return {"src": "querybus", "dest": sent["src"], "position": 1, "body": body}

    async def run(address: str) -> list[Any]:
        async with AsyncClient(address, timeout=SECONDS) as client:
            return await asyncio.gather(*(client.query("Echo", n=n) for n in range(IN_FLIGHT_MAX + 1)))

    address = f"ipc://{folder}/front"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket, ThreadPoolExecutor(1) as pool:
        socket.linger = 0
        as_server(socket, context=context, front=True)
        socket.rcvtimeo = round(SECONDS * 1000)
        socket.bind(address)
        served = pool.submit(gateway, socket)
        # Then every call has its answer
        assert asyncio.run(run(address)) == list(range(IN_FLIGHT_MAX + 1))
        served.result()
