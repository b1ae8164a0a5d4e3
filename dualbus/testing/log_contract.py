"""The tests that every engine of the log must pass (see `dualbus.log.contract`).

To test an engine, write an `Engine` for it, and a subclass of `LogContract` with a fixture `engine`:

    class PostgresEngine:
        def writer(self) -> AbstractContextManager[Log]:
            return closing(PostgresLog(self.url, lambda secret: GENESIS))
        ...

    class TestPostgresLog(LogContract):
        @pytest.fixture
        def engine(self) -> Iterator[Engine]:
            with empty_database() as url:
                yield PostgresEngine(url)

Each test receives a new, empty engine. pytest collects only the subclass, because of its name. Each engine needs
further tests of its storage: power cuts, damaged files, a full audit (see tests/log and tests/faults).
"""

import pytest

from dualbus.log import contract
from dualbus.log.contract import NO_HASH, Decision, Head, LogUnavailable, Origin
from dualbus.runtime.errors import AlreadyRunningError
from dualbus.testing.log_conditions import ConditionContract
from dualbus.testing.log_engine import GENESIS, TIME, TRACE, Engine, decided, event, none_after, positions

__all__ = ["GENESIS", "Engine", "LogContract", "decided", "event"]


class LogContract(ConditionContract):
    """The tests. Every log has GENESIS at position 1."""

    # Appending and reading.

    def test_a_new_log_begins_with_its_genesis(self, engine: Engine) -> None:
        with engine.writer() as log:
            [begun] = log.read(0, 10)

            assert (begun.position, begun.type, begun.command_id) == (1, "Begun", contract.GENESIS)
            assert log.head() == Head(1, begun.hash)
            assert log.outcomes([contract.GENESIS])[contract.GENESIS].position == 1

    def test_events_are_read_as_appended(self, engine: Engine) -> None:
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

    def test_positions_have_no_holes_after_conflicts_and_rejections(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a")), decided("c2", errors=["No"]), decided("c3", event("a"), event())])
            log.append([decided("c4", event("b"), conditions=[none_after(2, "a")]), decided("c5", event())])
            log.append([decided("c6", event())])

            assert [one.position for one in log.read(0, 100)] == [1, 2, 3, 4, 5]
            assert log.head().position == 5

    def test_read_starts_after_a_position_and_stops_at_a_limit(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", *[event() for _ in range(9)])])

            assert [one.position for one in log.read(3, 4)] == [4, 5, 6, 7]
            assert [one.position for one in log.read(8, 4)] == [9, 10]
            assert log.read(10, 4) == []

    def test_a_history_has_each_event_with_the_tag_once_in_order(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("user:1"), event("user:10", "user:2"), event("user:1", "user:1"))])
            log.append([decided("c2", event("user:2", "user:1"))])

            assert positions(log, "user:1") == [2, 4, 5]
            assert positions(log, "user:1", after=2) == [4, 5]
            assert [one.position for one in log.history(["user:1"], after=2, limit=1)] == [4]
            assert positions(log, "user:10") == [3]
            assert positions(log, "user:%") == positions(log, "user:") == []
            assert log.history(["user:2"]) == [log.read(2, 1)[0], log.read(4, 1)[0]]

    def test_a_history_has_the_events_of_some_types_that_carry_all_tags(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append(
                [
                    decided("c1", event("a", "b", type_="X"), event("b", "a", type_="Y"), event("a", type_="X")),
                    decided("c2", event("b", type_="X"), event("c", "a", "b", type_="X"), event("a", type_="Z")),
                ]
            )

            assert positions(log, "a", types=["X"]) == [2, 4, 6]
            assert positions(log, "a", types=["Z", "Y", "never"]) == [3, 7]
            assert positions(log, "a", types=["X", "Z"], after=4) == [6, 7]
            assert positions(log, "a", "b") == positions(log, "b", "a", "b") == [2, 3, 6]
            assert positions(log, "a", "b", types=["X"], after=2) == [6]
            assert positions(log, "c", "b", "a") == [6]
            assert positions(log, "a", types=["never"]) == positions(log, "a", "never") == []

    def test_the_hash_of_an_event_depends_on_all_before_it(self, engine: Engine) -> None:
        with engine.writer() as log:
            hashes = [one.hash for one in log.append([decided("c1", event(), event())]).events]
            [third] = log.append([decided("c1-again", event())]).events

            assert len({NO_HASH, *hashes, third.hash}) == 4
            assert log.head() == Head(4, third.hash)

    def test_hashes_are_found_by_position_and_by_commit(self, engine: Engine) -> None:
        with engine.writer() as log, engine.reader() as reader:
            before = {log.commit_hash_at(number) for number in (0, 1)}
            [second, third] = log.append([decided("c1", event(), event())]).events
            log.append([decided("c2", errors=["No"])])

            for opened in (log, reader):
                hashes = [opened.hash_at(position) for position in (0, 2, 3, 4)]
                assert hashes == [NO_HASH, second.hash, third.hash, None]
                commits = [opened.commit_hash_at(number) for number in range(5)]
                assert commits[0] == NO_HASH
                assert commits[4] is None
                assert before < set(commits)
                assert len(set(commits)) == 5  # a commit without events has a hash, too

    def test_the_types_are_those_of_the_events_with_the_first_and_the_last_of_each(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event(type_="Done"), event(type_="Undone"), event(type_="Done"))])

            log.append([decided("c2", event(type_="Done"))])
            positions = {name: [event.position for event in events] for name, events in log.types().items()}

            assert positions == {"Begun": [1, 1], "Done": [2, 5], "Undone": [3, 3]}
            assert log.types()["Done"] == [log.read(1, 1)[0], log.read(4, 1)[0]]

    # Outcomes.

    def test_an_outcome_names_the_events_of_a_command(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event()), Decision("c2", TIME, [event(), event()], (), (), b"f" * 16)])

            found = log.outcomes(["c1", "c2", "never"])

            assert set(found) == {"c1", "c2"}
            assert (found["c1"].first, found["c1"].events, found["c1"].fingerprint) == (2, 1, None)
            assert (found["c2"].first, found["c2"].events, found["c2"].fingerprint) == (3, 2, b"f" * 16)
            assert found["c2"].position == 4
            assert [one.command_id for one in log.read(found["c2"].first - 1, found["c2"].events)] == ["c2", "c2"]

    @pytest.mark.parametrize("number", [1, 10, 11, 500])
    def test_outcomes_are_found_for_any_number_of_commands(self, engine: Engine, number: int) -> None:
        with engine.writer() as log:
            log.append([decided(f"c{index}", event()) for index in range(number)])

            found = log.outcomes([f"c{index}" for index in range(number + 3)])

            assert {id_: outcome.first for id_, outcome in found.items()} == {
                f"c{index}": index + 2 for index in range(number)
            }

    def test_a_rejection_has_an_outcome_with_errors_and_position(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event()), decided("c2", errors=["Email is “taken”", "Sorry"])])

            refused = log.outcomes(["c2"])["c2"]

            assert (refused.errors, refused.events, refused.position) == (["Email is “taken”", "Sorry"], 0, 2)

    def test_a_command_without_events_has_an_outcome(self, engine: Engine) -> None:
        with engine.writer() as log:
            assert log.append([decided("c1")])[:2] == (1, [])
            assert log.outcomes(["c1"])["c1"].position == 1

    def test_an_outcome_has_the_origin_of_its_command(self, engine: Engine) -> None:
        whole = Origin("Pay", "ada", 2, "first", TRACE, {"tenant": "t-1", "ключ": "🔑 \0"})
        with engine.writer() as log:
            log.append([decided("c1", event(), origin=Origin("Open"))])
            log.append([decided("c2", errors=["No"], origin=whole)])

        with engine.reader() as reader:
            found = reader.outcomes(["c1", "c2", contract.GENESIS])

            assert found["c1"].origin == Origin("Open", None, None, "c1", None, {})  # it begins its own chain
            assert found["c2"].origin == whole
            assert found[contract.GENESIS].origin == Origin("", correlation=contract.GENESIS)

    def test_commands_are_read_in_order_and_by_their_cause(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event()), decided("c2", errors=["No"], origin=Origin("Do", cause=2))])
            log.append([decided("c3"), decided("c4", event(), origin=Origin("Do", cause=2))])

            assert [one.command_id for one in log.commands(0, 3)] == [contract.GENESIS, "c1", "c2"]
            assert [one.command_id for one in log.commands(3, 10)] == ["c3", "c4"]
            assert [one.command_id for one in log.caused_by(2)] == ["c2", "c4"]
            assert log.caused_by(1) == []

    @pytest.mark.parametrize("id_", ["'; DROP TABLE events; --", "a\0b", "ключ-🔑", '"]', " "])
    def test_any_text_is_a_command_id_and_a_tag(self, engine: Engine, id_: str) -> None:
        with engine.writer() as log:
            log.append([decided(id_, event(f"user:{id_}"))])

            assert list(log.outcomes([id_, id_ + "x"])) == [id_]
            assert list(log.outcomes([id_, *map(str, range(100))])) == [id_]
            assert positions(log, f"user:{id_}") == [2]

    # Writers, readers, and a log that is opened again.

    def test_a_log_that_is_opened_again_is_unchanged_and_the_chain_continues(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"), event())])
            before, identity, secret = log.read(0, 10), log.identity, log.secret

        with engine.writer() as log:
            assert log.read(0, 10) == before
            assert (log.identity, log.secret) == (identity, secret)
            [after] = log.append([decided("c2", event("a"))]).events
            assert after.position == 4
            assert positions(log, "a") == [2, 4]
            assert set(log.outcomes([contract.GENESIS, "c1", "c2"])) == {contract.GENESIS, "c1", "c2"}

    def test_conditions_hold_when_the_log_is_opened_again(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"))])

        with engine.writer() as log:
            assert log.append([decided("c2", event("a"), conditions=[none_after(1, "a")])]).decisions == 0

    def test_a_reader_returns_the_same_as_the_writer(self, engine: Engine) -> None:
        with engine.writer() as log, engine.reader() as reader:
            for number in range(3):
                log.append([decided(f"c{number}", event("a"))])

                assert reader.head() == log.head()
                assert reader.read(0, 100) == log.read(0, 100)
                assert reader.history(["a"]) == log.history(["a"])
                assert reader.outcomes([f"c{number}"]) == log.outcomes([f"c{number}"])
            assert reader.identity == log.identity

    def test_a_second_writer_is_refused_and_the_first_continues(self, engine: Engine) -> None:
        with engine.writer() as log:
            with pytest.raises(AlreadyRunningError, match="stop it first"), engine.writer():
                pass

            assert log.append([decided("c1", event())]).decisions == 1

    def test_a_full_disk_leaves_the_log_unchanged_and_writing_resumes_later(self, engine: Engine) -> None:
        large = [event("a", data="x" * 100_000) for _ in range(5)]
        with engine.writer() as log, engine.reader() as reader:
            before = log.head()
            with engine.full(log):
                for number in range(2):
                    with pytest.raises(LogUnavailable, match="cannot be written now"):
                        log.append([decided("small", event("a")), decided(f"large-{number}", *large)])
                assert log.head() == reader.head() == before
                assert log.outcomes(["small", "large-0"]) == {}
                assert reader.read(1, 10) == log.history(["a"]) == []

            appended = log.append([decided("small", event("a")), decided("large-0", *large)])

            assert appended.decisions == 2
            assert reader.read(1, 10) == appended.events
        with engine.writer() as log:
            assert log.head().position == 7
