"""The role of a reactor, by the publications of the commandbus on its host."""

import pytest

from dualbus.reactor.role import SILENT_SECONDS, TAKEOVER_SECONDS, Role


def heard(role: Role, first: float, last: float, *, active: bool = True) -> None:
    """Let a publication arrive twice a second."""
    for step in range(int(2 * (last - first)) + 1):
        now = first + step / 2
        role.turn(now)
        role.published(now, active=active)


def test_on_one_machine_the_reactor_is_always_active() -> None:
    role = Role(shared=False)
    assert role.takes_over(100.0)
    assert role.active(1000.0)


def test_a_reactor_takes_over_after_a_while_beside_an_active_commandbus() -> None:
    role = Role(shared=True)
    heard(role, 100.0, 110.0, active=False)
    assert not role.takes_over(110.0)
    heard(role, 110.0, 110.0 + TAKEOVER_SECONDS - 0.5)
    assert not role.takes_over(110.0 + TAKEOVER_SECONDS - 0.5)
    heard(role, 110.0 + TAKEOVER_SECONDS, 110.0 + TAKEOVER_SECONDS)
    assert role.takes_over(110.0 + TAKEOVER_SECONDS)
    assert role.active(110.0 + TAKEOVER_SECONDS + SILENT_SECONDS)


@pytest.mark.parametrize("active", [False, None])
def test_a_reactor_stands_by_when_commandbus_does_or_is_silent(active: bool | None) -> None:
    role = Role(shared=True)
    heard(role, 100.0, 110.0)
    assert role.takes_over(110.0)
    if active is None:
        for step in range(7):
            role.turn(110.0 + step / 2)
        assert not role.active(110.1 + SILENT_SECONDS)
        heard(role, 110.2 + SILENT_SECONDS, 111.0 + SILENT_SECONDS)
        assert not role.active(111.0 + SILENT_SECONDS)  # it has to take over again
    else:
        role.published(110.1, active=False)
        assert not role.active(110.1)


def test_queued_publications_after_a_pause_of_the_reactor_do_not_count() -> None:
    role = Role(shared=True)
    heard(role, 100.0, 110.0)
    assert role.takes_over(110.0)

    role.turn(130.0)  # after SIGSTOP and SIGCONT
    role.published(130.0, active=True)

    assert not role.active(130.0)
    assert not role.takes_over(130.0)
    heard(role, 130.0, 130.0 + TAKEOVER_SECONDS)
    assert role.takes_over(130.0 + TAKEOVER_SECONDS)
