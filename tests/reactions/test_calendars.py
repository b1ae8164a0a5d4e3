"""The times of schedules around the hours that a clock skips or repeats."""

from datetime import UTC, datetime, timedelta

import pytest

from dualbus import Every
from tests.reactions.shop import CancelOrder

HOUR = timedelta(hours=1)
CHANGES = {
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30"],  # by half an hour
    "America/Santiago": ["2026-04-05T03:00", "2026-09-06T04:00"],  # at midnight
    "Antarctica/Troll": ["2026-03-29T01:00", "2026-10-25T01:00"],  # by two hours
    "Asia/Kolkata": ["2026-03-29T01:00"],  # never
}
SCHEDULES = ["30 2 * * *", "0 3 * * *", "15,45 1-3 * * *", "30 23 * * *", "0 0 * * *", "10 0,1 * * 0"]
OFTEN = ["*/20 * * * *", "5 * * * *", "*/30 2 * * *"]


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("schedule", [*SCHEDULES, *OFTEN])
def test_the_next_time_is_later_and_the_latest_is_the_one_before_it(schedule: str, zone: str) -> None:
    every = Every(schedule, CancelOrder(order="all"), zone=zone)
    for change in CHANGES[zone]:
        middle = datetime.fromisoformat(f"{change}+00:00")
        for quarter in range(-30 * 4, 30 * 4):
            now = middle + quarter * HOUR / 4
            found, before = every.next(now), every.latest(now)
            assert before < now < found
            if schedule in SCHEDULES:
                second = timedelta(seconds=1)
                assert every.latest(found + second) == found == every.next(found - second)
                assert every.next(before) in (now, found)


def test_a_daily_time_in_a_repeated_hour_is_executed_once_and_in_a_skipped_hour_at_its_end() -> None:
    every = Every("30 2 * * *", CancelOrder(order="all"), zone="Europe/Berlin")

    def times(start: str) -> list[str]:
        found = [datetime.fromisoformat(f"{start}+00:00")]
        for _ in range(3):
            found.append(every.next(found[-1]))
        return [f"{time:%d %H:%M}" for time in found[1:]]

    assert times("2026-10-24T00:00") == ["24 00:30", "25 00:30", "26 01:30"]
    assert times("2026-03-28T00:00") == ["28 01:30", "29 01:00", "30 00:30"]
    assert every.next(datetime(2026, 10, 25, 1, 15, tzinfo=UTC)) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert every.latest(datetime(2026, 10, 25, 1, 15, tzinfo=UTC)) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
