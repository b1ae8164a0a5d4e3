"""What every log must do, whatever engine keeps it. To put another engine to the test:

class TestOther(LogContract):
    @pytest.fixture
    def engine(self, folder: Path) -> Engine:
        return OtherEngine(folder)
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pytest

from dualbus.log.contract import NO_HASH, Appended, Decision, Head, Log, LogUnavailable, NewEvent, ReadableLog
from dualbus.runtime.errors import AlreadyRunningError

TIME = "2026-01-31T12:00:00.000000Z"
GENESIS = Decision("genesis", TIME, [NewEvent("Begun", "{}", ())])


class Engine(Protocol):
    """One log, which can be opened as its only writer (made with GENESIS if there is none) and as a reader."""

    def writer(self) -> AbstractContextManager[Log]: ...

    def reader(self) -> AbstractContextManager[ReadableLog]: ...

    def full(self, log: Log) -> AbstractContextManager[None]:
        """There is no room for more, as long as this lasts."""
        ...


def event(*tags: str, data: str = "{}", type_: str = "Done") -> NewEvent:
    """Make an event that carries these tags."""
    return NewEvent(type_, data, tags)


def decided(
    id_: str, *events: NewEvent, condition: dict[str, int] | None = None, errors: Sequence[str] = ()
) -> Decision:
    """Make what a command came to."""
    return Decision(id_, TIME, events, errors, condition or {}, None)


def positions(log: ReadableLog, tag: str, after: int = 0) -> list[int]:
    """Return where a tag's events are."""
    return [one.position for one in log.history(tag, after)]


class LogContract:
    """The suite. GENESIS is at position 1 of every log here."""

    # Appending and reading.

    def test_a_new_log_begins_with_its_genesis(self, engine: Engine) -> None:
        with engine.writer() as log:
            [begun] = log.read(0, 10)

            assert (begun.position, begun.type, begun.command_id) == (1, "Begun", "genesis")
            assert log.head() == Head(1, begun.hash)
            assert log.outcomes(["genesis"])["genesis"].position == 1

    def test_what_is_appended_is_what_is_read(self, engine: Engine) -> None:
        with engine.writer() as log:
            first = event("user:1", data='{"name":"Ã…da \\u0000 \\"x\\""}', type_="UserCreated")

            appended = log.append([decided("c1", first, event()), decided("c2", event("user:2"))])

            assert appended.decisions == 2
            assert [(one.position, one.type, one.data, one.command_id) for one in appended.events] == [
                (2, "UserCreated", first.data, "c1"),
                (3, "Done", "{}", "c1"),
                (4, "Done", "{}", "c2"),
            ]
            assert log.read(1, 10) == appended.events
            assert {one.time for one in appended.events} == {TIME}

    def test_positions_have_no_holes_whatever_is_left_out_or_refused(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a")), decided("c2", errors=["No"]), decided("c3", event("a"), event())])
            log.append([decided("c4", event("b"), condition={"a": 2}), decided("c5", event())])
            log.append([decided("c6", event())])

            assert [one.position for one in log.read(0, 100)] == [1, 2, 3, 4, 5]
            assert log.head().position == 5

    def test_reading_goes_on_after_a_position_and_stops_at_a_limit(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", *[event() for _ in range(9)])])

            assert [one.position for one in log.read(3, 4)] == [4, 5, 6, 7]
            assert [one.position for one in log.read(8, 4)] == [9, 10]
            assert log.read(10, 4) == []

    def test_a_history_is_the_events_that_carry_a_tag_in_order_and_once(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("user:1"), event("user:10", "user:2"), event("user:1", "user:1"))])
            log.append([decided("c2", event("user:2", "user:1"))])

            assert positions(log, "user:1") == [2, 4, 5]
            assert positions(log, "user:1", after=2) == [4, 5]
            assert positions(log, "user:10") == [3]
            assert positions(log, "user:%") == positions(log, "user:") == []
            assert log.history("user:2") == [log.read(2, 1)[0], log.read(4, 1)[0]]

    def test_the_hash_of_an_event_depends_on_all_before_it(self, engine: Engine) -> None:
        with engine.writer() as log:
            hashes = [one.hash for one in log.append([decided("c1", event(), event())]).events]
            [third] = log.append([decided("c1-again", event())]).events

            assert len({NO_HASH, *hashes, third.hash}) == 4
            assert log.head() == Head(4, third.hash)

    # Outcomes.

    def test_a_command_is_remembered_with_its_events(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event()), Decision("c2", TIME, [event(), event()], (), {}, b"f" * 16)])

            found = log.outcomes(["c1", "c2", "never"])

            assert set(found) == {"c1", "c2"}
            assert (found["c1"].first, found["c1"].events, found["c1"].fingerprint) == (2, 1, None)
            assert (found["c2"].first, found["c2"].events, found["c2"].fingerprint) == (3, 2, b"f" * 16)
            assert found["c2"].position == 4
            assert [one.command_id for one in log.read(found["c2"].first - 1, found["c2"].events)] == ["c2", "c2"]

    @pytest.mark.parametrize("number", [1, 10, 11, 500])
    def test_commands_are_remembered_however_many_are_asked_for(self, engine: Engine, number: int) -> None:
        with engine.writer() as log:
            log.append([decided(f"c{index}", event()) for index in range(number)])

            found = log.outcomes([f"c{index}" for index in range(number + 3)])

            assert {id_: outcome.first for id_, outcome in found.items()} == {
                f"c{index}": index + 2 for index in range(number)
            }

    def test_a_refusal_is_remembered_with_its_sentences_and_the_position_it_saw(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event()), decided("c2", errors=["Email is “taken”", "Sorry"])])

            refused = log.outcomes(["c2"])["c2"]

            assert (refused.errors, refused.events, refused.position) == (["Email is “taken”", "Sorry"], 0, 2)

    def test_a_command_that_came_to_nothing_is_remembered_too(self, engine: Engine) -> None:
        with engine.writer() as log:
            assert log.append([decided("c1")]) == Appended(1, [])
            assert log.outcomes(["c1"])["c1"].position == 1

    @pytest.mark.parametrize("id_", ["'; DROP TABLE events; --", "a\0b", "ключ-🔑", '"]', " "])
    def test_any_text_is_a_command_id_and_a_tag(self, engine: Engine, id_: str) -> None:
        with engine.writer() as log:
            log.append([decided(id_, event(f"user:{id_}"))])

            assert list(log.outcomes([id_, id_ + "x"])) == [id_]
            assert list(log.outcomes([id_, *map(str, range(100))])) == [id_]
            assert positions(log, f"user:{id_}") == [2]

    # What a decision has read.

    def test_a_decision_stands_if_nothing_it_read_has_changed(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"))])

            appended = log.append([decided("c2", event("a"), condition={"a": 2, "never": 0})])

            assert appended.decisions == 1

    def test_a_decision_falls_if_a_later_event_carries_what_it_read(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("b"), event("a"))])

            appended = log.append([decided("c2", event("a"), event("c"), condition={"b": 2, "a": 2})])

            assert appended == Appended(0, [])
            assert log.outcomes(["c2"]) == {}
            assert positions(log, "c") == []  # all of a decision's events or none
            assert log.head().position == 3

    def test_a_tag_that_nobody_carried_is_protected_too(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("email:x"))])

            assert log.append([decided("c2", event("email:x"), condition={"email:x": 1})]).decisions == 0

    def test_a_refusal_falls_as_well_if_what_it_read_has_changed(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"))])

            assert log.append([decided("c2", errors=["No"], condition={"a": 1})]).decisions == 0
            assert log.outcomes(["c2"]) == {}

    def test_within_a_batch_what_stands_before_the_first_that_falls_is_appended(self, engine: Engine) -> None:
        with engine.writer() as log:
            appended = log.append(
                [
                    decided("c1", event("a")),
                    decided("c2", event("b"), condition={"b": 1}),
                    decided("c3", event("c"), condition={"a": 1}),  # c1 came between
                    decided("c4", event("d")),  # it may have read what c3 did
                ]
            )

            assert appended.decisions == 2
            assert [one.command_id for one in appended.events] == ["c1", "c2"]
            assert log.read(1, 10) == appended.events
            assert set(log.outcomes(["c1", "c2", "c3", "c4"])) == {"c1", "c2"}

    def test_within_a_batch_a_decision_may_have_read_the_one_before_it(self, engine: Engine) -> None:
        with engine.writer() as log:
            batch = [decided("c1", event("a")), decided("c2", event("a"), condition={"a": 2})]

            assert log.append(batch).decisions == 2

    def test_what_fell_is_appended_when_it_has_been_decided_again(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"))])
            log.append([decided("c2", event("a"), condition={"a": 1})])

            assert log.append([decided("c2", event("a"), condition={"a": log.head().position})]).decisions == 1
            assert log.outcomes(["c2"])["c2"].first == 3

    # Writers, readers, and what is there when it is opened again.

    def test_opened_again_it_is_as_it_was_and_the_chain_goes_on(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"), event())])
            before, identity, secret = log.read(0, 10), log.identity, log.secret

        with engine.writer() as log:
            assert log.read(0, 10) == before
            assert (log.identity, log.secret) == (identity, secret)
            [after] = log.append([decided("c2", event("a"))]).events
            assert after.position == 4
            assert positions(log, "a") == [2, 4]
            assert set(log.outcomes(["genesis", "c1", "c2"])) == {"genesis", "c1", "c2"}

    def test_opened_again_what_was_read_before_is_protected_still(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"))])

        with engine.writer() as log:
            assert log.append([decided("c2", event("a"), condition={"a": 1})]).decisions == 0

    def test_a_reader_sees_what_the_writer_appends_and_is_told_the_same(self, engine: Engine) -> None:
        with engine.writer() as log, engine.reader() as reader:
            for number in range(3):
                log.append([decided(f"c{number}", event("a"))])

                assert reader.head() == log.head()
                assert reader.read(0, 100) == log.read(0, 100)
                assert reader.history("a") == log.history("a")
                assert reader.outcomes([f"c{number}"]) == log.outcomes([f"c{number}"])
            assert reader.identity == log.identity

    def test_a_second_writer_is_refused_and_the_first_writes_on(self, engine: Engine) -> None:
        with engine.writer() as log:
            with pytest.raises(AlreadyRunningError, match="stop it first"), engine.writer():
                pass

            assert log.append([decided("c1", event())]).decisions == 1

    def test_where_there_is_no_room_nothing_is_written_and_with_room_again_writing_resumes(
        self, engine: Engine
    ) -> None:
        large = [event("a", data="x" * 100_000) for _ in range(5)]
        with engine.writer() as log, engine.reader() as reader:
            before = log.head()
            with engine.full(log):
                for number in range(2):
                    with pytest.raises(LogUnavailable, match="cannot be written now"):
                        log.append([decided("small", event("a")), decided(f"large-{number}", *large)])
                assert log.head() == reader.head() == before
                assert log.outcomes(["small", "large-0"]) == {}
                assert reader.read(1, 10) == log.history("a") == []

            appended = log.append([decided("small", event("a")), decided("large-0", *large)])

            assert appended.decisions == 2
            assert reader.read(1, 10) == appended.events
        with engine.writer() as log:
            assert log.head().position == 7
