"""What both clients promise, each asked the same."""

import re
import signal
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from types import new_class
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from dualbus import (
    ClientClosed,
    CommandResult,
    DeadlineExceeded,
    DualbusError,
    HandlerError,
    Query,
    Rejected,
    Unavailable,
)
from dualbus.runtime.errors import ConfigError
from dualbus.testing import Cluster, until
from tests.clients.notes import Break, CountNotes, Dwell, Note, Ponder
from tests.clients.seeing import logged, unique
from tests.faults.seeing import stopped
from tests.raw import SECONDS

Make = Callable[..., Any]


def test_a_command_and_a_query_by_their_classes(caller: Any) -> None:
    text = unique()
    result = caller.command(Note(text=text, due=date(2026, 1, 31)))
    assert isinstance(result, CommandResult)
    [event] = result.events
    assert event == {"type": "Noted", "payload": {"id": event["payload"]["id"], "text": text, "timeout": 0}}
    assert caller.query(CountNotes(text=text)) == 1
    assert caller.command(Note(text=text)).position > result.position


def test_a_command_and_a_query_by_their_names(caller: Any) -> None:
    text = unique()
    caller.command("Note", text=text, due="2026-01-31")
    caller.command("Note", {"text": text, "timeout": 7}, timeout=SECONDS)  # a field that has the name of an option
    assert caller.query("CountNotes", text=text) == 2
    assert caller.query("CountNotes", {"text": text}) == 2


@pytest.mark.parametrize("raised", [KeyError, RuntimeError, SystemExit])
def test_an_answer_that_its_class_cannot_read_ends_no_other_call(caller: Any, raised: type[BaseException]) -> None:
    def read(count: Decimal) -> Decimal:
        raise raised(count)

    def add_field(names: dict[str, Any]) -> None:
        names["__annotations__"] = {"text": str}

    counted = new_class("CountNotes", (Query[Annotated[Decimal, AfterValidator(read)]],), exec_body=add_field)
    with pytest.raises(HandlerError, match=rf"The answer to CountNotes cannot be read \({raised.__name__}\)"):
        caller.query(counted(text="a"))
    assert caller.query(CountNotes(text=unique())) == 0


def test_every_command_that_was_answered_is_seen(caller: Any) -> None:
    text = unique()
    for number in range(1, 51):
        caller.command(Note(text=text))
        assert caller.query(CountNotes(text=text)) == number


def test_a_refusal_tells_every_sentence(caller: Any) -> None:
    with pytest.raises(Rejected, match="Text is required; Due") as caught:
        caller.command("Note", due="soon")
    assert caught.value.errors[0] == "Text is required"
    assert len(caught.value.errors) == 2
    assert caught.value.outcome_known
    with pytest.raises(Rejected) as caught:
        caller.query("CountNotes", txt="a")
    assert caught.value.errors == ["Text is required", "Txt is not a field of CountNotes"]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda caller: caller.command("Nothing"), "There is no command 'Nothing'"),
        (lambda caller: caller.query("Nothing"), "There is no query 'Nothing'"),
        (lambda caller: caller.command("CountNotes", text="a"), "CountNotes is a query"),
        (lambda caller: caller.query("Note", text="a"), "Note is a command"),
        (lambda caller: caller.query("CountNotes", text=float("nan")), "not finite"),
        (lambda caller: caller.command("Note", text="a", idempotency_key=""), "idempotency_key must not be empty"),
    ],
)
def test_what_the_cluster_does_not_take_is_refused(caller: Any, call: Any, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        call(caller)


def test_a_decision_that_raises_is_told_apart_from_a_refusal(caller: Any) -> None:
    with pytest.raises(HandlerError, match="The decision on Break raised KeyError: nothing was written") as caught:
        caller.command(Break())
    assert caught.value.outcome_known
    assert isinstance(caught.value, DualbusError)


def test_one_key_is_one_effect_and_the_first_answer(caller: Any) -> None:
    text, key = unique(), unique()
    first = caller.command(Note(text=text), idempotency_key=key)
    assert caller.command(Note(text=text), idempotency_key=key) == first
    assert caller.query(CountNotes(text=text)) == 1
    with pytest.raises(HandlerError, match="was used for another command"):
        caller.command(Note(text="other"), idempotency_key=key)


def test_after_a_timeout_the_same_key_tells_what_became_of_it(caller: Any, notes: Cluster) -> None:
    # Given a command whose deadline passes while commandbus is stopped
    bus, command = notes.process("commandbus"), Note(text=unique())
    caller.command(Note(text=unique()))
    bus.send(signal.SIGSTOP)
    until(lambda: stopped(bus.pid))
    with pytest.raises(DeadlineExceeded) as caught:
        caller.command(command, timeout=0.5)
    bus.send(signal.SIGCONT)
    late = caught.value
    assert "The outcome is not known" in str(late)
    assert not late.outcome_known

    # When it is called again under the key that the client gave it
    result = caller.command(command, idempotency_key=late.idempotency_key)

    # Then it has been done, once
    assert result.events[0]["payload"]["text"] == command.text
    assert logged(notes, command.text) == 1


def test_a_decision_past_its_deadline_is_stopped_and_nothing_is_written(caller: Any, notes: Cluster) -> None:
    slow = Ponder(text=unique(), seconds=60)

    def is_known() -> bool:
        """Return whether the client learns of the stop in time: a busy machine stops a decision late."""
        with pytest.raises((Unavailable, DeadlineExceeded)) as caught:
            caller.command(slow, timeout=1.5)
        text = "stopped at its deadline; nothing was written|before the command was"
        return isinstance(caught.value, Unavailable) and re.search(text, str(caught.value)) is not None

    until(is_known)
    caller.command(Note(text=unique()))
    assert logged(notes, slow.text) == 0


def test_a_query_that_takes_too_long_leaves_nothing_unknown(caller: Any) -> None:
    with pytest.raises((DeadlineExceeded, Unavailable)) as caught:
        caller.query(Dwell(seconds=0.4), timeout=0.05)
    assert caught.value.outcome_known


def test_after_it_is_closed_a_call_says_so_and_closing_again_does_nothing(make: Make, notes: Cluster) -> None:
    client = make(notes.front)
    client.command(Note(text=unique()))
    client.close()
    client.close()
    for call in (client.command, client.query):
        with pytest.raises(ClientClosed, match="The client is closed: create another client"):
            call("Any")
    unused = make(notes.front)
    unused.close()
    with pytest.raises(ClientClosed):
        unused.command(Note(text="a"))


def test_without_a_gateway_it_is_unavailable_and_is_never_done(make: Make, cluster: Cluster) -> None:
    # Given a client of a gateway that is not there, and a command that has had its time
    client = make(cluster.front, timeout=0.2)
    with pytest.raises(Unavailable, match=f"Cannot reach a gateway at {cluster.front}"):
        client.command("CreateUser", name="Too early", email="a@example.org")

    # When the cluster comes, a call that is made before is answered
    cluster.start("commandbus", "gateway")
    client.command("CreateUser", name="Ada", email="a@example.org", timeout=SECONDS)

    # Then the one that was too early has not been kept for it
    assert logged(cluster, "Ada") == 1
    assert logged(cluster, "Too early") == 0


def test_the_address_and_the_timeout_are_those_of_the_settings(
    make: Make, notes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUALBUS_FRONT", notes.front)
    monkeypatch.setenv("DUALBUS_TIMEOUT_MS", "100")
    client = make()
    assert client.query(CountNotes(text="a"), timeout=SECONDS) == 0
    with pytest.raises((DeadlineExceeded, Unavailable), match=r"deadline|within 0\.1 s"):
        client.command(Ponder(text=unique(), seconds=0.5))
    with pytest.raises(ConfigError, match="use tcp://"):
        make("nonsense")
    with pytest.raises(ValueError, match="at most 3600 seconds"):
        make(timeout=0)
