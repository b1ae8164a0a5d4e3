"""The batches that clients have sent, read a slice at a time."""

import pytest

from dualbus.gateway.intake import BYTES_MAX, SLICE_MESSAGES, Intake, Unreadable
from dualbus.protocol.codec import pack
from dualbus.protocol.codes import WireError


def test_clients_take_turns_however_large_their_batches_are() -> None:
    intake = Intake()
    intake.put(b"greedy", pack(list(range(3 * SLICE_MESSAGES))))
    intake.put(b"modest", pack(["one"]))
    intake.put(b"modest", pack(["two"]))

    slices = []
    while intake:
        slices.append(intake.next_slice())

    assert [(client, len(messages)) for client, messages in slices] == [
        (b"greedy", SLICE_MESSAGES),
        (b"modest", 1),
        (b"greedy", SLICE_MESSAGES),
        (b"modest", 1),
        (b"greedy", SLICE_MESSAGES),
    ]
    assert [one for client, messages in slices for one in messages if client == b"greedy"] == list(
        range(3 * SLICE_MESSAGES)
    )


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
    intake.put(b"greedy", pack(["more"]))


def test_a_batch_that_is_none_is_reported_with_its_client_and_the_next_is_read() -> None:
    intake = Intake()
    intake.put(b"a", b"\xc1")
    intake.put(b"a", pack(["good"]))
    with pytest.raises(Unreadable) as unreadable:
        intake.next_slice()
    assert unreadable.value.client_id == b"a"
    assert intake.next_slice() == (b"a", ["good"])
    assert not intake
