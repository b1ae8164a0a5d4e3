"""The batches that clients have sent, read a slice at a time."""

import pytest

from dualbus.gateway.intake import BYTES_MAX, Intake
from dualbus.protocol.codec import PIECE_BYTES, PIECE_ITEMS, pack
from dualbus.protocol.codes import WireError
from tests.desk import Desk, query


def served(intake: Intake, seconds: dict[bytes, float], turns: int) -> list[bytes]:
    """Read slices, of which each takes the seconds of its client; return the clients in the order of their turns."""
    order: list[bytes] = []
    while intake and len(order) < turns:
        client, _ = intake.next_slice()
        intake.charge(seconds[client])
        order.append(client)
    return order


def test_a_batch_is_read_in_slices_of_few_messages_and_few_bytes() -> None:
    intake = Intake()
    large = "x" * (PIECE_BYTES // 2)
    messages = [*range(2 * PIECE_ITEMS), large, large, "x" * 3 * PIECE_BYTES, "last"]
    intake.put(b"a", pack(messages))

    slices = []
    while intake:
        slices.append(intake.next_slice()[1])
        intake.charge(0)

    assert [len(one) for one in slices] == [PIECE_ITEMS, PIECE_ITEMS, 1, 1, 1, 1]
    assert [message for one in slices for message in one] == messages


def test_clients_share_the_time_and_not_the_turns() -> None:
    intake = Intake()
    for _ in range(100):
        intake.put(b"greedy", pack(["slow"]))
    for _ in range(20):
        intake.put(b"modest", pack(["quick"]))

    order = served(intake, {b"greedy": 0.010, b"modest": 0.001}, 22)

    assert order.count(b"greedy") == 2
    assert order.count(b"modest") == 20


def test_a_client_with_one_batch_at_a_time_is_not_taken_for_a_new_client() -> None:
    intake = Intake()
    seconds = {b"greedy": 0.010, b"modest": 0.001}
    intake.put(b"greedy", pack(["slow"]))
    served(intake, seconds, 1)
    for _ in range(30):
        intake.put(b"modest", pack(["quick"]))
    order: list[bytes] = []
    while intake:
        if order[-1:] != [b"greedy"]:
            intake.put(b"greedy", pack(["slow"]))
        order += served(intake, seconds, 1)
        if order.count(b"modest") == 30:
            break

    assert order.index(b"greedy") >= 9
    assert order.count(b"greedy") <= 3


def test_a_client_that_was_idle_has_no_time_to_make_up_for() -> None:
    intake = Intake()
    seconds = {b"bulk": 0.001, b"idle": 0.001}
    for _ in range(40):
        intake.put(b"bulk", pack(["one"]))
    served(intake, seconds, 20)
    for _ in range(20):
        intake.put(b"idle", pack(["one"]))

    order = served(intake, seconds, 10)

    assert 4 <= order.count(b"idle") <= 6


def test_a_client_with_too_much_unread_is_refused_and_the_others_are_not() -> None:
    intake = Intake()
    batch = pack(["x" * (BYTES_MAX // 4)])
    for _ in range(4):
        intake.put(b"greedy", batch)
    with pytest.raises(WireError, match="unread"):
        intake.put(b"greedy", batch)
    intake.put(b"modest", batch)
    # when it has been read, there is room again
    intake.next_slice()
    intake.charge(0)
    intake.put(b"greedy", pack(["more"]))


def test_empty_batches_are_bounded_too_and_leave_their_room_when_they_are_read() -> None:
    intake = Intake()
    for _ in range(2):
        for _ in range(BYTES_MAX // 128):
            intake.put(b"greedy", b"")
        with pytest.raises(WireError, match="unread"):
            intake.put(b"greedy", b"")
        assert served(intake, {b"greedy": 0}, BYTES_MAX) == [b"greedy"] * (BYTES_MAX // 128)


def test_a_batch_that_is_none_is_reported_with_its_client_and_the_next_is_read() -> None:
    intake = Intake()
    intake.put(b"a", b"\xc1")
    intake.put(b"a", pack(["good"]))

    client, [problem] = intake.next_slice()
    intake.charge(0)
    assert client == b"a"
    assert isinstance(problem, WireError)
    assert intake.next_slice() == (b"a", ["good"])
    assert not intake


def test_messages_put_back_are_read_first_in_the_next_slice_of_their_client() -> None:
    intake = Intake()
    intake.put(b"a", pack(["report", "second", "third"]))
    intake.next_slice()
    intake.put_back(["second", "third"])
    intake.charge(0.010)
    intake.put(b"a", pack(["later"]))
    intake.put(b"b", pack(["other"]))

    slices = []
    while intake:
        slices.append(intake.next_slice())
        intake.charge(0.001)

    assert slices == [(b"b", ["other"]), (b"a", ["second", "third"]), (b"a", ["later"])]


def test_a_slice_ends_after_a_report_of_the_gateway() -> None:
    """A report takes as long as many messages: a slice of 64 took up to 160 ms."""
    desk, intake = Desk(), Intake()
    names = ("Status", "Rates", "Timeline")
    reports = [{"dest": "gateway", "body": {"type": name, "msg_id": name}} for name in names]
    intake.put(b"client", pack([query(1), *reports, query(2)]))

    answered = []
    while intake:
        if unread := desk.router.accept(*intake.next_slice(), desk.now):
            intake.put_back(unread)
        intake.charge(0)
        answered.append([number for number, _ in desk.told()])

    assert answered == [["Status"], ["Rates"], ["Timeline"], []]
    assert len(desk.router.pending) == 2
