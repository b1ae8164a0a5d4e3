"""The tests of append conditions, a part of `dualbus.testing.log_contract`."""

import pytest

from dualbus.log.contract import AppendCondition
from dualbus.testing.log_engine import Engine, decided, event, none_after, positions


class ConditionContract:
    """The tests of append conditions. Every log has GENESIS at position 1."""

    def test_a_decision_is_appended_if_no_later_event_has_a_tag_of_its_condition(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"))])

            appended = log.append(
                [decided("c2", event("a"), conditions=[none_after(2, "a"), none_after(0, "never")])]
            )

            assert appended.decisions == 1

    def test_a_decision_conflicts_with_a_later_event_that_has_a_tag_of_its_condition(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("b"), event("a"))])

            appended = log.append(
                [decided("c2", event("a"), event("c"), conditions=[none_after(2, "b"), none_after(2, "a")])]
            )

            assert (appended.decisions, appended.events) == (0, [])
            assert log.outcomes(["c2"]) == {}
            assert positions(log, "c") == []  # all events of a decision, or none
            assert log.head().position == 3

    def test_a_condition_covers_a_tag_without_events(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("email:x"))])

            assert log.append([decided("c2", event("email:x"), conditions=[none_after(1, "email:x")])]).decisions == 0

    @pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two"])
    @pytest.mark.parametrize(
        ("condition", "met"),
        [
            (none_after(1, "a", types=["Z"]), True),
            (none_after(1, "a", types=["Z", "Y"]), False),
            (none_after(1, "b", types=["Y"]), True),
            (none_after(1, "b", types=["X"]), False),
            (none_after(2, "a"), False),
            (none_after(2, "a", "b"), True),
            (none_after(1, "b", "a"), False),
            (none_after(1, "a", "c"), True),
            (none_after(1, "a", "b", types=["Y", "Z"]), True),
            (none_after(1, "a", "b", types=["Y", "X"]), False),
        ],
    )
    def test_a_condition_covers_only_events_of_its_types_with_all_its_tags(
        self, engine: Engine, condition: AppendCondition, met: bool, together: bool
    ) -> None:
        others = decided("c1", event("a", "b", type_="X"), event("a", type_="Y"), event("c", type_="Z"))
        decision = decided("c2", event("d"), conditions=[condition])
        with engine.writer() as log:
            appended = [log.append(batch) for batch in ([[others, decision]] if together else [[others], [decision]])]

            assert sum(one.decisions for one in appended) == 1 + met
            assert set(log.outcomes(["c1", "c2"])) == ({"c1", "c2"} if met else {"c1"})

    def test_a_rejection_conflicts_like_a_decision_with_events(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"))])

            assert log.append([decided("c2", errors=["No"], conditions=[none_after(1, "a")])]).decisions == 0
            assert log.outcomes(["c2"]) == {}

    def test_a_batch_is_appended_up_to_the_first_conflict(self, engine: Engine) -> None:
        with engine.writer() as log:
            appended = log.append(
                [
                    decided("c1", event("a")),
                    decided("c2", event("b"), conditions=[none_after(1, "b")]),
                    decided("c3", event("c"), conditions=[none_after(1, "a")]),  # in conflict with c1
                    decided("c4", event("d")),  # may have read the event of c3
                ]
            )

            assert appended.decisions == 2
            assert [one.command_id for one in appended.events] == ["c1", "c2"]
            assert log.read(1, 10) == appended.events
            assert set(log.outcomes(["c1", "c2", "c3", "c4"])) == {"c1", "c2"}

    def test_a_decision_may_have_read_events_of_an_earlier_decision_in_the_batch(self, engine: Engine) -> None:
        with engine.writer() as log:
            batch = [decided("c1", event("a")), decided("c2", event("a"), conditions=[none_after(2, "a")])]

            assert log.append(batch).decisions == 2

    def test_a_decision_is_appended_when_decided_again_after_a_conflict(self, engine: Engine) -> None:
        with engine.writer() as log:
            log.append([decided("c1", event("a"))])
            log.append([decided("c2", event("a"), conditions=[none_after(1, "a")])])

            assert (
                log.append([decided("c2", event("a"), conditions=[none_after(log.head().position, "a")])]).decisions
                == 1
            )
            assert log.outcomes(["c2"])["c2"].first == 3
