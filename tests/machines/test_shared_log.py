"""The log on a commit log: the contract of every log, and replicas that follow."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from dualbus import Event as PublicEvent
from dualbus.log.commits import CommitLogUnreachable, OutcomeUnknown
from dualbus.log.contract import Appended, Log, LogDamaged, RecordedEvent
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.shared import SharedLog
from dualbus.log.writers import SILENT_SECONDS
from dualbus.testing.cluster import until
from dualbus.testing.log_contract import GENESIS, Engine, LogContract, decided, event
from tests.machines.servers import Servers, needs_nats

pytestmark = [needs_nats, pytest.mark.processes]


class SharedEngine:
    """A log on NATS, with a replica in a folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def writer(self) -> AbstractContextManager[SharedLog]:
        return closing(self.open(self.folder))

    def open(self, folder: Path) -> SharedLog:
        commits = NatsCommitLog(read_address(self.url), create=True)
        try:
            return SharedLog(folder, commits, lambda secret: GENESIS, folder.name)
        except BaseException:
            commits.close()
            raise

    def reader(self) -> AbstractContextManager[SqliteLogReader]:
        return closing(SqliteLogReader(self.folder))

    @contextmanager
    def full(self, log: Log) -> Iterator[None]:
        assert isinstance(log, SharedLog)
        info = self._config(log)
        self._update(log, info["config"] | {"max_bytes": info["state"]["bytes"] + 100})
        yield
        self._update(log, info["config"])

    def _config(self, log: SharedLog) -> dict:  # type: ignore[type-arg]
        commits = log._commits
        assert isinstance(commits, NatsCommitLog)
        return commits._thread.run(commits._stream.info(), 10)

    def _update(self, log: SharedLog, config: dict[str, object]) -> None:
        commits = log._commits
        assert isinstance(commits, NatsCommitLog)
        assert commits._client
        request = commits._client.request(
            f"$JS.API.STREAM.UPDATE.{commits._stream.name}", json.dumps(config).encode(), timeout=5
        )
        assert "error" not in json.loads(commits._thread.run(request, 10).data)


class TestSharedLog(LogContract):
    @pytest.fixture
    def engine(self, folder: Path, servers: Servers) -> Engine:
        return SharedEngine(folder, servers.new_url())


@pytest.fixture
def engine(folder: Path, one_server: Servers) -> SharedEngine:
    return SharedEngine(folder / "one", one_server.new_url())


def follow(log: SharedLog, position: int) -> list[RecordedEvent]:
    """Let a standby follow up to a position; return the events that it has returned."""
    found: list[RecordedEvent] = []

    def reached() -> bool:
        log._writers.active_sign(time.monotonic())  # so that it does not claim
        found.extend(log.turn())
        return log.head().position >= position

    until(reached)
    return found


def test_no_reader_sees_a_commit_before_the_commit_log_has_stored_it(
    engine: SharedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.writer() as one, engine.reader() as reader:
        before, seen = one.head(), []
        put = one._commits.put

        def observed(number: int, body: bytes, seconds: float, meanwhile: Callable[[], None]) -> bool:
            stored = put(number, body, seconds, meanwhile)
            seen.append(reader.head())
            return stored

        def unanswered(number: int, body: bytes, seconds: float, meanwhile: Callable[[], None]) -> bool:
            meanwhile()
            raise OutcomeUnknown("No majority.")

        monkeypatch.setattr(one._commits, "put", unanswered)
        with pytest.raises(OutcomeUnknown):
            one.append([decided("c1", event("a"))])
        assert reader.head() == one.head() == before

        monkeypatch.setattr(one._commits, "put", observed)
        assert one.append([decided("c1", event("a"))]).decisions == 1
        assert seen == [before]
        assert reader.head() == one.head() != before


def test_a_replica_has_the_same_log_and_returns_the_events_of_others(engine: SharedEngine, folder: Path) -> None:
    with engine.writer() as one:
        one.append([decided("c0", event("a"))])
        with closing(engine.open(folder / "two")) as two:
            assert (two.identity, two.secret, two.read(0, 10)) == (one.identity, one.secret, one.read(0, 10))
            appended = one.append([decided("c1", event("a"), event("b")), decided("c2", errors=["No"])])

            assert follow(two, 4) == appended.events
            assert two.head() == one.head()
            assert two.outcomes(["c1", "c2"]) == one.outcomes(["c1", "c2"])
            assert [two.commit_hash_at(n) for n in range(5)] == [one.commit_hash_at(n) for n in range(5)]


def test_of_two_writers_the_second_appends_nothing_and_then_knows_what_the_first_appended(
    engine: SharedEngine, folder: Path
) -> None:
    with engine.writer() as one, closing(engine.open(folder / "two")) as two:
        first = one.append([decided("key", event("a"))])

        assert two.append([decided("key", event("b"))]) == Appended(0, [])
        assert two.outcomes(["key"]) == one.outcomes(["key"])
        assert two.turn() == first.events
        assert two.append([decided("c2", event("b"))]).decisions == 1
        assert one.append([decided("c3", event("c"))]) == Appended(0, [])
        assert one.append([decided("c3", event("c"))]).decisions == 1
        assert [found.command_id for found in one.read(1, 10)] == ["key", "c2", "c3"]


def test_a_writer_that_is_second_answers_nothing_while_it_cannot_read_what_the_first_appended(
    engine: SharedEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(after: int, limit: int) -> list[bytes]:
        raise CommitLogUnreachable("No server answers.")

    with engine.writer() as one, closing(engine.open(folder / "two")) as two:
        first = one.append([decided("key", event("a"))])
        with monkeypatch.context() as patch:
            patch.setattr(two._commits, "get", unreachable)
            assert two.append([decided("key", event("a"))]) == Appended(0, [])  # and not a definite error
        assert two.turn() == first.events
        assert two.outcomes(["key"]) == one.outcomes(["key"])


def test_a_standby_claims_after_silence_and_the_first_writer_stands_by_at_once(
    engine: SharedEngine, folder: Path
) -> None:
    with engine.writer() as one, closing(engine.open(folder / "two")) as two:
        until(lambda: one.turn() or one.since)
        assert one.since == 2

        until(lambda: two.turn() or two.since)  # the first is silent, as if stopped
        assert two.since == 3
        assert one.append([decided("late", event())]) == Appended(0, [])
        assert one.since is None
        assert one.outcomes(["late"]) == {}
        assert two.append([decided("next", event())]).decisions == 1


def test_a_writer_that_leaves_is_followed_at_once(engine: SharedEngine, folder: Path) -> None:
    with engine.writer() as one, closing(engine.open(folder / "two")) as two:
        until(lambda: one.turn() or one.since)
        follow(two, one.head().position)
        until(lambda: [one.turn(), two.turn()] and two.status()["writers"])
        one.leave()
        began = time.monotonic()

        until(lambda: two.turn() or two.since)
        assert time.monotonic() - began < SILENT_SECONDS


def test_a_log_with_claims_passes_the_audit(engine: SharedEngine, folder: Path) -> None:
    with engine.writer() as one, closing(engine.open(folder / "two")) as two:
        one.append([decided("c1", event())])
        until(lambda: [two.turn()] and two.since)

        assert two.outcomes([f"writer/{two._writer}/{two.since}"])
    audit_of(folder / "two")


def audit_of(folder: Path) -> None:
    from dualbus.application.app import App
    from dualbus.log.sqlite.audit import LogAudit

    class Begun(PublicEvent):
        pass

    class Done(PublicEvent):
        pass

    app = App(commands=[], projections=[], queries=[], genesis=[Begun(), Done()])
    audit = LogAudit(folder, app)
    assert [found.type for found, _ in audit.events()] == ["Begun", "Done"]
    audit.check_file()
    audit.close()


def test_a_commit_is_split_when_it_does_not_fit_into_a_message(engine: SharedEngine) -> None:
    large = [decided(f"c{number}", event("a", data="x" * 260_000)) for number in range(40)]
    with engine.writer() as one:
        first = one.append(large).decisions

        assert 0 < first < 40
        left = large[first:]
        while left:
            left = left[one.append(left).decisions :]
        assert [found.command_id for found in one.read(1, 100)] == [f"c{number}" for number in range(40)]


def test_a_commit_that_was_changed_on_its_way_is_never_applied(
    engine: SharedEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.writer() as one, closing(engine.open(folder / "two")) as two:
        for flip in range(0, 400, 23):
            one.append([decided(f"c{flip}", event("a", data='{"name": "Ada"}'))])
            before = two.head()
            [body] = two._commits.get(two._end.number, 1)
            changed = bytearray(body)
            changed[flip % len(changed)] ^= 1
            with monkeypatch.context() as patch:
                patch.setattr(two._commits, "get", lambda after, limit, changed=changed: [bytes(changed)])
                try:
                    two._follow()
                except LogDamaged:
                    assert two.head() == before
                # Without an error, the name of the writer was changed, which is not under the hash.

            two._follow()
            assert two.read(0, 100) == one.read(0, 100)


def test_the_stream_of_another_log_is_refused(engine: SharedEngine, one_server: Servers, folder: Path) -> None:
    with engine.writer() as one:
        one.append([decided("c1", event())])
    other = SharedEngine(folder / "other", one_server.new_url())
    with other.writer() as log:
        log.append([decided("c1", event())])

    engine.url = other.url
    with pytest.raises(LogDamaged, match=r"The commit log has the log .* and the replica here is of"):
        engine.open(engine.folder)


def test_a_replica_is_copied_again_after_its_file_was_removed_and_checked_against_log_head(
    engine: SharedEngine,
) -> None:
    with engine.writer() as one:
        for number in range(300):
            one.append([decided(f"c{number}", event("a"))])
        before = one.read(0, 1000)
    (engine.folder / "log.db").unlink()

    with engine.writer() as one:
        assert one.read(0, 1000) == before
        assert one.append([decided("more", event("a"))]).decisions == 1


def test_a_folder_of_another_log_begins_no_new_log(engine: SharedEngine, one_server: Servers) -> None:
    with engine.writer() as one:
        one.append([decided("c1", event())])
    (engine.folder / "log.db").unlink()
    engine.url = one_server.new_url()

    with pytest.raises(LogDamaged, match="The log has lost acknowledged events"):
        engine.open(engine.folder)
    with closing(NatsCommitLog(read_address(engine.url), create=False)) as commits:
        assert commits.get(0, 10) == []


def test_two_machines_that_begin_at_once_have_the_same_log(engine: SharedEngine, folder: Path) -> None:
    opened: list[SharedLog] = []
    threads = [
        threading.Thread(target=lambda name=name: opened.append(engine.open(folder / name)))
        for name in ("one", "two", "three")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({(log.identity, log.secret, log.head()) for log in opened}) == 1
    assert len(opened) == 3
    for log in opened:
        log.close()


def delete_stream(commits: NatsCommitLog, *, keep: int) -> None:
    """Delete a stream behind the back of its writers; keep some of the first commits."""
    kept = commits.get(0, keep) if keep else []
    commits._thread.run(commits._stream._request(f"STREAM.DELETE.{commits._stream.name}", None), 10)
    if kept:
        commits._thread.run(commits._stream.create(1), 10)
    for number, body in enumerate(kept, 1):
        assert commits.put(number, body, 10)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("busy", [False, True])
def test_lost_commits_are_noticed_at_the_next_start_and_while_running(
    engine: SharedEngine, monkeypatch: pytest.MonkeyPatch, keep: int, busy: bool
) -> None:
    for name, seconds in (("PUT", 1.0), ("CLAIM", SILENT_SECONDS + 0.2), ("TAIL", 0.1), ("LOST", 2.0)):
        monkeypatch.setattr(f"dualbus.log.sqlite.shared.{name}_SECONDS", seconds)
    lost = rf"The commit log has lost commits {keep + 1} to [23], which the replica in"
    with engine.writer() as one:
        until(lambda: one.turn() or one.since)
        one.append([decided("c1", event())])
        assert isinstance(one._commits, NatsCommitLog)
        delete_stream(one._commits, keep=keep)

        if busy:
            with pytest.raises(OutcomeUnknown):
                one.append([decided("c2", event())])
        with pytest.raises(LogDamaged, match=lost):
            until(lambda: one.turn() and False)
    with pytest.raises(LogDamaged, match=lost):
        engine.open(engine.folder)


def test_an_old_end_of_the_commit_log_is_no_loss_for_a_while(
    engine: SharedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.writer() as one:
        one.append([decided("c1", event())])
        now = time.monotonic()
        with monkeypatch.context() as patch:
            patch.setattr(one._commits, "tail", lambda: 1)  # of a leader that was cut off
            for seconds in (0, 3, 20):
                one._check_tail(now + seconds)
        one._check_tail(now + 25)
        monkeypatch.setattr(one._commits, "tail", lambda: 1)
        for seconds in (26, 40, 50):
            one._check_tail(now + seconds)
        with pytest.raises(LogDamaged, match="has lost commits 2 to 2"):
            one._check_tail(now + 57)


@pytest.mark.parametrize("paused", [False, True])
def test_old_ends_without_answers_or_checks_between_are_no_loss(
    engine: SharedEngine, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    with engine.writer() as one:
        one.append([decided("c1", event())])
        now = time.monotonic()
        monkeypatch.setattr(one._commits, "tail", lambda: 1)
        one._check_tail(now)
        with monkeypatch.context() as patch:
            patch.setattr(one._commits, "tail", lambda: None)
            for seconds in () if paused else range(5, 35, 5):
                one._check_tail(now + seconds)

        one._check_tail(now + 35)
        one._check_tail(now + 50)
        one._check_tail(now + 64)
        with pytest.raises(LogDamaged, match="has lost commits 2 to 2"):
            one._check_tail(now + 66)
