"""The calls of a client, without a socket and a clock: what is sent, when, and what replies come to."""

from concurrent.futures import Future
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from dualbus import ClientClosed, CommandResult, DeadlineExceeded, Executed, HandlerError, Rejected, Unavailable
from dualbus.client.call import Call
from dualbus.client.calls import IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, REPLY_GRACE_SECONDS, PendingCalls
from dualbus.gateway.access import CLUSTER
from dualbus.gateway.envelope import read_request
from dualbus.protocol.batches import batch, packed_messages, read_batch
from dualbus.protocol.codec import unpack_hostile
from dualbus.protocol.codes import Code, error
from dualbus.protocol.frames import BATCH_BYTES, REPLY
from tests.clients.seeing import unique
from tests.raw import wire
from users.messages import CreateUser

ADDRESS = "tcp://127.0.0.1:1"


class Desk:
    """Calls, the time, and what was sent."""

    def __init__(self, jitter: float = 1.0) -> None:
        self.calls = PendingCalls(ADDRESS, "desk", 5.0, lambda: jitter, unique)
        self.calls.connected = True
        self.now = 100.0

    def command(self, name: str = "Ada", **more: Any) -> "Future[Any]":
        call = self.calls.command("CreateUser", {"name": name}, more.get("timeout"), more.get("key"))
        return self.add(call)

    def query(self, **more: Any) -> "Future[Any]":
        return self.add(self.calls.query("GetUser", {"user_id": "u"}, more.get("timeout")))

    def add(self, call: Call) -> "Future[Any]":
        future: Future[Any] = Future()
        self.calls.add(call, future, self.now)
        return future

    def sent(self) -> list[dict[str, Any]]:
        """Return the envelopes that are sent now, each of which the gateway would take."""
        envelopes = []
        while made := self.calls.next_batch(self.now):
            assert len(made.message) <= BATCH_BYTES or len(made.calls) == 1
            envelopes += unpack_hostile(packed_messages([made.message]))
        for envelope in envelopes:
            read_request(envelope, CLUSTER)
        return envelopes

    def one(self) -> dict[str, Any]:
        [envelope] = self.sent()
        return envelope

    def reply(self, body: dict[str, Any], position: int = 0) -> None:
        reply = {"src": "commandbus", "dest": "desk", "position": position, "body": body}
        self.calls.received([batch(REPLY, [reply])], self.now)

    def fail(self, envelope: dict[str, Any], code: Code, text: str = "No.") -> None:
        self.reply(error(envelope["body"]["msg_id"], code, text))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.calls.expire(self.now)

    def next_try(self) -> dict[str, Any]:
        """Wait until something is sent; return it."""
        self.now = self.calls.next_time()
        return self.one()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def done(envelope: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"type": "command_result", "in_reply_to": envelope["body"]["msg_id"], "success": True, "events": []}
    return {**body, **more}


def test_a_command_is_sent_with_its_deadline_and_a_key_of_its_own(desk: Desk) -> None:
    future = desk.add(desk.calls.command(CreateUser(name="Ada", email="a@example.org"), {}, 2.5, None))
    desk.wait(0.5)
    sent = desk.one()
    assert sent["dest"] == "commandbus"
    assert sent["src"] == "desk"
    assert sent["timeout_ms"] == 2000
    assert sent["body"]["type"] == "CreateUser"
    assert sent["body"]["payload"] == {"name": "Ada", "email": "a@example.org"}

    desk.command()
    assert desk.one()["body"]["idempotency_key"] != sent["body"]["idempotency_key"]
    desk.reply(done(sent, events=[{"type": "E", "payload": {}}]), 7)
    assert future.result(0) == CommandResult([{"type": "E", "payload": {}}], 7)


def test_two_clients_of_one_name_never_make_the_same_key() -> None:
    one, other = Desk(), Desk()
    one.command()
    other.command()
    assert one.one()["body"]["idempotency_key"] != other.one()["body"]["idempotency_key"]


def test_what_is_sent_carries_the_highest_position_seen_also_that_of_an_error(desk: Desk) -> None:
    desk.command()
    desk.reply(done(desk.one()), 7)
    desk.command()
    desk.reply(done(desk.one()), 5)
    desk.query()
    sent = desk.one()
    assert sent["after"] == 7
    assert sent["dest"] == "querybus"
    desk.reply({"type": "query_result", "in_reply_to": sent["body"]["msg_id"], "data": None}, 9)
    desk.query()
    assert desk.one()["after"] == 9


def test_no_more_is_under_way_than_the_gateway_takes_and_answers_make_room(desk: Desk) -> None:
    futures = [desk.command(str(number)) for number in range(IN_FLIGHT_MAX + 10)]
    sent = desk.sent()
    assert [one["body"]["payload"]["name"] for one in sent] == [str(number) for number in range(IN_FLIGHT_MAX)]
    for envelope in sent[:3]:
        desk.reply(done(envelope))
    assert [future.done() for future in futures[:4]] == [True, True, True, False]
    assert [one["body"]["payload"]["name"] for one in desk.sent()] == ["4000", "4001", "4002"]


def test_no_more_bytes_are_under_way_than_the_gateway_takes(desk: Desk) -> None:
    for _ in range(30):
        desk.command("x" * 900_000)
    sent = desk.sent()
    assert IN_FLIGHT_BYTES_MAX <= len(sent) * 900_000 < IN_FLIGHT_BYTES_MAX + 900_000
    desk.reply(done(sent[0]))
    assert len(desk.sent()) == 1


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.CRASH])
def test_it_tries_again_under_the_same_key_later_each_time(desk: Desk, code: Code) -> None:
    future = desk.command()
    sent = [desk.one()]
    times = [desk.now]
    for _ in range(5):
        desk.fail(sent[-1], code)
        assert desk.sent() == []
        sent.append(desk.next_try())
        times.append(desk.now)
    desk.reply(done(sent[-1]), 3)

    assert future.result(0).position == 3
    assert [round(after - before, 2) for before, after in pairwise(times)] == [
        0.05,
        0.1,
        0.2,
        0.4,
        0.8,
    ]
    assert len({one["body"]["idempotency_key"] for one in sent}) == 1
    assert [one["timeout_ms"] for one in sent] == sorted((one["timeout_ms"] for one in sent), reverse=True)


def test_chance_decides_how_much_of_the_wait_is_waited() -> None:
    desk = Desk(jitter=0.0)
    desk.command()
    desk.fail(desk.one(), Code.UNAVAILABLE)
    assert desk.one()


def test_a_query_is_tried_again_too(desk: Desk) -> None:
    future = desk.query()
    desk.fail(desk.one(), Code.UNAVAILABLE)
    sent = desk.next_try()
    desk.reply({"type": "query_result", "in_reply_to": sent["body"]["msg_id"], "data": [1]})
    assert future.result(0) == [1]


def test_what_stays_unavailable_is_unavailable_in_the_words_of_the_cluster(desk: Desk) -> None:
    future = desk.command(timeout=0.1)
    desk.fail(desk.one(), Code.UNAVAILABLE)
    desk.fail(desk.next_try(), Code.UNAVAILABLE, "The disk is full.")
    with pytest.raises(Unavailable, match=r"The disk is full\.") as caught:
        future.result(0)
    assert caught.value.outcome_known


def test_after_a_lost_connection_it_is_sent_again_in_order_with_the_same_keys(desk: Desk) -> None:
    for name in ("Ada", "Bob"):
        desk.command(name)
    sent = desk.sent()
    future = desk.command("Cyd")
    desk.calls.disconnected()
    desk.calls.connected = True
    again = desk.sent()
    assert [one["body"] for one in again[:2]] == [one["body"] for one in sent]
    assert again[2]["body"]["payload"] == {"name": "Cyd"}
    desk.reply(done(again[2]))
    assert future.done()


def test_unavailable_says_nothing_of_an_earlier_try_that_was_lost(desk: Desk) -> None:
    # Given a command that was sent, perhaps done, and whose answer is lost
    future = desk.command(timeout=0.1, key="k")
    desk.one()
    desk.calls.disconnected()
    desk.calls.connected = True

    # When every later try is refused as unavailable
    desk.fail(desk.one(), Code.UNAVAILABLE)
    desk.fail(desk.next_try(), Code.UNAVAILABLE)

    # Then nobody claims that nothing happened
    with pytest.raises(DeadlineExceeded) as caught:
        future.result(0)
    assert not caught.value.outcome_known
    assert caught.value.idempotency_key == "k"


def test_a_lost_query_leaves_no_doubt(desk: Desk) -> None:
    future = desk.query(timeout=0.1)
    desk.one()
    desk.calls.disconnected()
    desk.wait(0.1)
    with pytest.raises(Unavailable, match="Cannot reach a gateway at tcp"):
        future.result(0)


def test_what_was_never_sent_did_not_happen(desk: Desk) -> None:
    desk.calls.connected = False
    future = desk.command(timeout=1)
    desk.wait(0.99)
    assert not future.done()
    desk.wait(0.01)
    with pytest.raises(Unavailable, match=f"Cannot reach a gateway at {ADDRESS}"):
        future.result(0)
    desk.calls.connected = True
    assert desk.sent() == []


def test_what_was_to_be_tried_again_when_the_connection_was_lost_has_its_answer_by_its_deadline(desk: Desk) -> None:
    future = desk.command()
    desk.fail(desk.one(), Code.UNAVAILABLE)
    desk.calls.disconnected()
    while not future.done() and desk.calls.next_time() < 1000:
        desk.wait(desk.calls.next_time() - desk.now)
    with pytest.raises(Unavailable, match="Cannot reach a gateway"):
        future.result(0)
    assert desk.now == 105.0


def test_what_waits_too_long_behind_others_is_not_sent(desk: Desk) -> None:
    for _ in range(IN_FLIGHT_MAX):
        desk.command()
    future = desk.command(timeout=1)
    desk.sent()
    desk.wait(1)
    with pytest.raises(Unavailable, match="waited behind earlier calls"):
        future.result(0)


@pytest.mark.parametrize(("kind", "known"), [("command", False), ("query", True)])
def test_without_an_answer_a_commands_outcome_is_not_known_and_a_query_had_none(
    desk: Desk, kind: str, known: bool
) -> None:
    future = getattr(desk, kind)(timeout=1)
    sent = desk.one()
    desk.wait(1)
    assert not future.done()  # the gateway may have the last word
    desk.wait(REPLY_GRACE_SECONDS)
    with pytest.raises(DeadlineExceeded, match=r"was not answered within 1 s\.") as caught:
        future.result(0)
    assert caught.value.outcome_known is known
    assert caught.value.idempotency_key == sent["body"].get("idempotency_key")
    desk.reply(done(sent))  # which is late, and changes nothing


def test_the_last_word_of_the_gateway(desk: Desk) -> None:
    future, other = desk.command(), desk.query()
    command, query = desk.sent()
    desk.fail(command, Code.TIMEOUT, "It did not answer.")
    desk.fail(query, Code.TIMEOUT, "It did not answer.")
    for one, known in ((future, False), (other, True)):
        with pytest.raises(DeadlineExceeded, match=r"It did not answer\.") as caught:
            one.result(0)
        assert caught.value.outcome_known is known


def test_a_crash_to_the_end_leaves_the_outcome_unknown(desk: Desk) -> None:
    future = desk.command(timeout=0.04)
    desk.fail(desk.one(), Code.CRASH, "It died.")
    with pytest.raises(HandlerError, match=r"It died\.") as caught:
        future.result(0)
    assert not caught.value.outcome_known


def test_what_was_executed_earlier_is_not_tried_again_and_not_said_not_to_have_happened(desk: Desk) -> None:
    future = desk.command()
    desk.reply(error(desk.one()["body"]["msg_id"], Code.EXECUTED, "At position 7."), 7)

    with pytest.raises(Executed, match=r"At position 7\.") as caught:
        future.result(0)
    assert (caught.value.position, caught.value.outcome_known) == (7, False)
    assert caught.value.idempotency_key
    assert desk.calls.next_time() > desk.now + 1


@pytest.mark.parametrize("code", [Code.UNKNOWN_DEST, Code.NOT_SUPPORTED, Code.MALFORMED])
def test_what_is_wrong_is_refused_and_not_tried_again(desk: Desk, code: Code) -> None:
    future = desk.query()
    desk.reply(error(desk.one()["body"]["msg_id"], code, "Wrong.", ["A is required", "B is required"]))
    other = desk.query()
    desk.fail(desk.one(), code, "Wrong.")
    with pytest.raises(Rejected) as caught:
        future.result(0)
    assert caught.value.errors == ["A is required", "B is required"]
    with pytest.raises(Rejected) as caught:
        other.result(0)
    assert caught.value.errors == ["Wrong."]
    assert desk.calls.next_time() > desk.now + 1


def test_a_call_that_was_given_up_is_not_sent(desk: Desk) -> None:
    given_up, other = desk.command("Ada"), desk.command("Bob")
    given_up.cancel()
    assert desk.one()["body"]["payload"] == {"name": "Bob"}
    other.cancel()
    desk.reply(done({"body": {"msg_id": 2}}))


def test_what_could_not_be_sent_is_sent_later_and_is_not_in_doubt(desk: Desk) -> None:
    futures = [desk.command("Ada", timeout=1), desk.command("Bob", timeout=1)]
    refused = desk.calls.next_batch(desk.now)
    assert refused
    desk.calls.put_back(refused)
    assert [one["body"]["payload"]["name"] for one in desk.sent()] == ["Ada", "Bob"]
    for envelope in read_batch([refused.message])[1]:
        desk.reply(done(envelope))
    assert all(future.done() for future in futures)


def answer(sent: dict[str, Any]) -> dict[str, Any]:
    return {"type": "query_result", "in_reply_to": sent["body"]["msg_id"], "data": "read"}


def test_a_query_is_sent_again_behind_an_earlier_command_that_was_refused(desk: Desk) -> None:
    command, query = desk.command("Ada"), desk.query()
    create, get = desk.sent()
    # When the command is refused for now, and the gateway answers the query, which it then knows no command before
    desk.fail(create, Code.UNAVAILABLE)
    desk.reply(answer(get))
    assert not query.done()
    desk.now = desk.calls.next_time()
    again = desk.sent()
    assert [one["body"]["type"] for one in again] == ["CreateUser", "GetUser"]
    # Then the query is answered after the command
    desk.reply(done(again[0]), 7)
    desk.reply(answer(again[1]), 7)
    assert (command.result(0).position, query.result(0)) == (7, "read")


def test_a_query_that_fails_before_an_earlier_command_that_was_refused_is_sent_again(desk: Desk) -> None:
    """Its function raised, such as for the row of the user whom the command creates."""
    desk.command("Ada")
    query, refused = desk.query(), desk.query()
    create, get, other = desk.sent()
    desk.fail(create, Code.UNAVAILABLE)
    desk.fail(get, Code.ABORTED, "The query GetUser raised KeyError.")
    desk.fail(other, Code.MALFORMED)
    assert not query.done()
    with pytest.raises(Rejected):  # whatever the command changes
        refused.result(0)

    desk.now = desk.calls.next_time()
    create, get = desk.sent()
    desk.reply(done(create), 7)
    desk.reply(answer(get), 7)

    assert query.result(0) == "read"


def test_a_query_does_not_wait_for_later_commands_or_for_those_of_other_sessions(desk: Desk) -> None:
    query, _ = desk.query(), desk.command("Ada")
    get, create = desk.sent()
    desk.fail(create, Code.UNAVAILABLE)
    desk.reply(answer(get))
    assert query.result(0) == "read"


def test_a_query_ends_at_its_deadline_if_the_earlier_command_is_refused_until_then(desk: Desk) -> None:
    desk.command("Ada", timeout=60)
    query = desk.query(timeout=0.5)
    create, get = desk.sent()
    desk.fail(create, Code.UNAVAILABLE)
    desk.reply(answer(get))
    desk.wait(0.6)
    with pytest.raises(Unavailable):
        query.result(0)


@pytest.mark.parametrize("code", [Code.FORBIDDEN, Code.NOT_SUPPORTED, Code.MALFORMED])
def test_a_refusal_after_a_lost_try_leaves_the_outcome_unknown(desk: Desk, code: Code) -> None:
    future = desk.command()
    desk.one()
    desk.calls.disconnected()
    desk.calls.connected = True
    desk.fail(desk.one(), code)
    with pytest.raises(HandlerError) as caught:
        future.result(0)
    assert not caught.value.outcome_known


def test_garbage_from_the_gateway_harms_no_call(desk: Desk) -> None:
    future = desk.command()
    sent = desk.one()
    for frames in ([], [b"x"], [b"reply", b"\x90"], [wire("reply", b"\xc1")], [wire("reply", b"\x01")]):
        desk.calls.received(frames, desk.now)
    for message in (batch("work", [1]), batch(REPLY, [{}]), batch(REPLY, [1])):
        desk.calls.received([message], desk.now)
    desk.reply({"type": "error", "in_reply_to": sent["body"]["msg_id"], "code": 99, "text": "?"})
    desk.reply({"type": "command_result", "in_reply_to": sent["body"]["msg_id"], "success": True})
    desk.reply(error(None, Code.MALFORMED, "Whose?"))
    assert not future.done()
    desk.reply(done(sent), 2)
    assert future.result(0).position == 2


def test_closing_tells_every_call_what_is_known(desk: Desk) -> None:
    sent, resting = desk.command(key="k"), desk.command()
    envelopes = desk.sent()
    desk.fail(envelopes[1], Code.UNAVAILABLE)
    waiting = desk.command()
    desk.calls.close()
    for future, known in ((sent, False), (resting, True), (waiting, True)):
        with pytest.raises(ClientClosed) as caught:
            future.result(0)
        assert caught.value.outcome_known is known


@pytest.mark.parametrize("timeout", [0, -1, 3601, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(desk: Desk, timeout: float) -> None:
    with pytest.raises(ValueError, match="more than 0 and at most 3600"):
        desk.command(timeout=timeout)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        pytest.param(float("nan"), "not finite", id="NaN"),
        pytest.param(2**63, "64 bits", id="2 to the 63"),
        pytest.param({1, 2}, "set has no place", id="a set"),
        pytest.param(datetime(2026, 1, 31), "use an aware datetime", id="a time without a zone"),
        pytest.param(Decimal("NaN"), "not finite", id="a Decimal that is no number"),
        pytest.param(Decimal("1e400"), "out of the range", id="a Decimal beyond floats"),
        pytest.param(Decimal("1e-999999999"), "out of the range", id="a Decimal of a billion zeros"),
        pytest.param(Decimal("0." + "1" * 401), "more than 400 characters", id="a Decimal of many digits"),
        pytest.param({1: 2}, "not text", id="a key that is no text"),
        pytest.param("\ud800", "cannot be packed", id="half a character"),
        pytest.param([[[[]]]] * 20_000, "more than 20000 values", id="very many lists"),
        pytest.param("x" * (1 << 20), "over 1048576 bytes", id="a mebibyte"),
    ],
)
def test_what_the_gateway_could_not_read_is_refused_before_it_harms_its_neighbours(
    desk: Desk, value: Any, why: str
) -> None:
    with pytest.raises(Rejected, match=why):
        desk.calls.query("GetUser", {"user_id": value}, None)
    deep: list[Any] = []
    for _ in range(600):
        deep = [deep]
    with pytest.raises(Rejected, match="nested"):
        desk.calls.query("GetUser", {"user_id": deep}, None)
    desk.query()
    assert desk.one()


def test_many_messages_of_many_lists_fit_into_batches_that_the_gateway_reads(desk: Desk) -> None:
    for _ in range(20):
        desk.add(desk.calls.query("GetUser", {"user_id": [[]] * 15_000}, None))
    assert len(desk.sent()) == 20


def test_a_name_and_fields_or_a_whole_message(desk: Desk) -> None:
    with pytest.raises(TypeError, match="Pass fields with the name of a type only"):
        desk.calls.command(CreateUser(name="Ada", email="a@example.org"), {"name": "Bob"}, None, None)
    with pytest.raises(TypeError, match="the name of its type"):
        desk.calls.command(17, {}, None, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="src must be text"):
        PendingCalls(ADDRESS, "x" * 257, 1.0, lambda: 0.0, unique)
