"""The commit log in PostgreSQL: the contracts of every commit log and of every log."""

import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from dualbus.log.commits import CommitLogRefused, CommitLogUnreachable, OutcomeUnknown
from dualbus.log.contract import Log, LogError
from dualbus.log.postgresql.commit_log import PostgresCommitLog
from dualbus.log.postgresql.connection import Connection, ConnectionThread, LostConnection
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.log.sqlite.shared import SharedLog
from dualbus.testing.cluster import until
from dualbus.testing.commit_log_contract import CommitLogContract, Opener
from dualbus.testing.log_contract import GENESIS, Engine, LogContract
from reactor.role import TAKEOVER_SECONDS
from tests.machines.postgres import Postgres, needs_postgresql, running_postgres
from tests.machines.proxy import SilentProxy

pytestmark = needs_postgresql
SECONDS = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    with running_postgres(folder) as found:
        until(lambda: found.ready)
        yield found
    shutil.rmtree(folder)


class TestPostgresCommitLog(CommitLogContract):
    @pytest.fixture
    def opener(self, server: Postgres) -> Opener:
        url = server.new_url()
        return lambda: PostgresCommitLog(url, create=True)


class PostgresEngine:
    """A log in PostgreSQL, with a replica in a folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    def writer(self) -> AbstractContextManager[SharedLog]:
        commits = PostgresCommitLog(self.url, create=True)
        try:
            return closing(SharedLog(self.folder, commits, lambda secret: GENESIS, "here"))
        except BaseException:
            commits.close()
            raise

    def reader(self) -> AbstractContextManager[SqliteLogReader]:
        return closing(SqliteLogReader(self.folder))

    @contextmanager
    def full(self, log: Log) -> Iterator[None]:
        with psycopg.connect(self.url.replace("&replicas=1", ""), autocommit=True) as connection:
            connection.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"
            )
            connection.execute(
                "CREATE TRIGGER full_disk BEFORE INSERT ON dualbus_commits EXECUTE FUNCTION full_disk()"
            )
            yield
            connection.execute("DROP TRIGGER full_disk ON dualbus_commits")


class TestPostgresLog(LogContract):
    @pytest.fixture
    def engine(self, folder: Path, server: Postgres) -> Engine:
        return PostgresEngine(folder, server.new_url())


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("synchronous_commit", "off", "PostgreSQL has synchronous_commit = off, which can lose acknowledged commits"),
        ("synchronous_commit", "local", "PostgreSQL has synchronous_commit = local, which can lose"),
    ],
)
def test_a_server_that_can_lose_commits_is_refused(server: Postgres, setting: str, value: str, text: str) -> None:
    url = server.new_url().replace("options=", f"options=-c{setting}%3D{value}%20")

    with pytest.raises(CommitLogRefused, match=text):
        PostgresCommitLog(url, create=True)


def test_a_server_without_a_standby_is_refused_unless_a_single_copy_is_accepted(server: Postgres) -> None:
    with pytest.raises(CommitLogRefused, match="no synchronous standby: set synchronous_standby_names"):
        PostgresCommitLog(server.new_url().replace("replicas=1", "replicas=2"), create=True)


def test_a_user_without_privileges_and_an_unknown_option_are_refused(server: Postgres) -> None:
    url = server.new_url()
    with psycopg.connect(url.replace("&replicas=1", ""), autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        [schema] = connection.execute("SELECT current_schema").fetchone() or ()
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader")

    with pytest.raises(CommitLogRefused, match=r"refuses to open the log \(permission denied for schema .* allow"):
        PostgresCommitLog(url.replace("dualbus@", "reader@"), create=True)
    with pytest.raises(CommitLogRefused, match=r"refuses to open the log \(.*wrong.*\): correct DUALBUS_LOG"):
        PostgresCommitLog(f"{url}&wrong=1", create=True)
    with pytest.raises(CommitLogRefused, match=r"\(the address is invalid: %") as refused:
        PostgresCommitLog(url.replace("dualbus@", "dualbus:secret%zz@"), create=True)
    assert "secret" not in str(refused.value)


def test_the_start_goes_on_when_a_lock_is_released_and_ends_while_it_is_held(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.new_url()
    with psycopg.connect(url.replace("&replicas=1", ""), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('dualbus_commits'))")
        impatient = url.replace("options=", "options=-clock_timeout%3D100%20")
        with monkeypatch.context() as patch:
            patch.setattr("dualbus.log.postgresql.commit_log.START_SECONDS", 0.3)
            with pytest.raises(CommitLogUnreachable, match="lock timeout"):
                PostgresCommitLog(impatient, create=True)

        threading.Timer(0.5, connection.close).start()
        PostgresCommitLog(impatient, create=True).close()


def test_a_commit_cannot_be_changed_or_deleted(server: Postgres) -> None:
    url = server.new_url()
    with closing(PostgresCommitLog(url, create=True)) as log:
        log.put(1, b"first", SECONDS)
        with psycopg.connect(url.replace("&replicas=1", ""), autocommit=True) as connection:
            for sql in ("DELETE FROM", "TRUNCATE"):
                with pytest.raises(psycopg.Error, match="A commit of dualbus is never changed or deleted"):
                    connection.execute(f"{sql} dualbus_commits")

        assert log.get(0, 10) == [b"first"]


def test_a_put_goes_on_when_the_server_is_restarted_and_is_unknown_while_it_is_stopped(server: Postgres) -> None:
    with closing(PostgresCommitLog(server.new_url(), create=True)) as log:
        assert log.put(1, b"first", SECONDS)
        assert server.popen
        server.popen.send_signal(signal.SIGINT)
        server.popen.wait()
        with pytest.raises(OutcomeUnknown, match="PostgreSQL has not answered for commit 2"):
            log.put(2, b"second", 0.5)
        assert log.tail() is None

        threading.Timer(0.5, server.start).start()
        assert log.put(2, b"second", SECONDS)
        assert log.get(0, 10) == [b"first", b"second"]


@contextmanager
def without_standby(url: str) -> Iterator[psycopg.Connection[tuple[int]]]:
    """Let the commits of the server wait for a standby that does not exist."""
    with psycopg.connect(url.replace("&replicas=1", ""), autocommit=True) as connection:
        try:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            connection.execute("SELECT pg_reload_conf()")
            yield connection
        finally:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")


def test_a_commit_that_no_standby_has_is_not_acknowledged(server: Postgres) -> None:
    url = server.new_url()
    PostgresCommitLog(url, create=True).close()
    with (
        without_standby(url),
        closing(PostgresCommitLog(url.replace("replicas=1", "replicas=2"), create=False)) as log,
    ):
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            log.put(1, b"first", 1.0)
        assert time.monotonic() - began < SECONDS


def test_without_its_standby_the_server_keeps_few_connections_and_further_commits_are_refused(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without privileges sees the waits of its own connections only."""
    url = server.new_url().replace("dualbus@", "writer@")
    with psycopg.connect(url.replace("&replicas=1", "").replace("writer@", "dualbus@")) as connection:
        [schema] = connection.execute("SELECT current_schema").fetchone() or ()
        connection.execute(f"CREATE ROLE writer LOGIN; GRANT ALL ON SCHEMA {schema} TO writer")
    refused = "[345] earlier writes wait in PostgreSQL for the synchronous standby or for a lock: start the standby"
    with (
        closing(PostgresCommitLog(url, create=True)) as log,
        closing(PostgresCommitLog(url, create=True)) as other,
        without_standby(server.url()) as connection,
    ):
        until(lambda: _shown(url) == "nobody")
        for name in ("START", "READ"):
            monkeypatch.setattr(f"dualbus.log.postgresql.commit_log.{name}_SECONDS", 0.3)

        for _ in range(10):
            with pytest.raises((OutcomeUnknown, CommitLogUnreachable)):
                log.put(1, b"first", 0.2)
        with pytest.raises(CommitLogUnreachable, match=refused):
            log.put(1, b"first", SECONDS)
        with pytest.raises(CommitLogUnreachable, match=refused):
            PostgresCommitLog(url, create=True)
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'writer' AND wait_event = 'SyncRep'"
        found = connection.execute(count).fetchone()
        assert found and 1 <= found[0] <= 3

        def heard() -> bool:
            log.announce(b"here")  # waits for no standby
            return b"here" in other.announcements()

        until(heard)
    with closing(PostgresCommitLog(url, create=False)) as log:
        assert until(lambda: log.get(0, 10)) == [b"first"]
        assert log.put(1, b"first", SECONDS)


def _shown(url: str) -> str:
    """Return the standbys that a new connection waits for."""
    with psycopg.connect(url.replace("&replicas=1", "")) as connection:
        return str((connection.execute("SHOW synchronous_standby_names").fetchone() or ("",))[0])


@contextmanager
def primary_and_standby() -> Iterator[tuple[Postgres, Postgres]]:
    """Start two servers of their own: the primary waits for the standby at each commit."""
    folders = [Path(tempfile.mkdtemp(prefix="pg")) for _ in range(2)]
    with running_postgres(folders[0], synchronous_standby_names="standby") as primary:
        until(lambda: primary.ready)
        standby = Postgres(folders[1])
        standby.copy(primary, "standby")
        standby.start()
        try:
            yield primary, standby
        finally:
            standby.kill()
    for folder in folders:
        shutil.rmtree(folder)


def test_a_commit_that_a_restart_of_the_primary_shows_is_acknowledged_when_the_standby_has_it() -> None:
    with primary_and_standby() as (primary, standby):
        url = primary.url(replicas=2)
        with (
            closing(PostgresCommitLog(url, create=True)) as log,
            closing(PostgresCommitLog(url, create=True)) as other,
        ):
            assert log.put(1, b"first", SECONDS)
            standby.crash()
            with pytest.raises(OutcomeUnknown):
                log.put(2, b"second", 1.0)
            primary.crash()
            primary.start()
            until(lambda: primary.ready)

            assert until(log.tail) == 2
            for body in (b"second", b"of another writer"):
                with pytest.raises(OutcomeUnknown):
                    log.put(2, body, 1.0)
            with pytest.raises(CommitLogUnreachable):
                other.get(1, 10)

            standby.start()
            assert log.put(2, b"second", SECONDS)
            assert other.get(0, 10) == [b"first", b"second"]
            primary.crash()
        with psycopg.connect(standby.url().replace("&replicas=1", ""), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
        with closing(PostgresCommitLog(standby.url(), create=True)) as log:
            assert log.get(0, 10) == [b"first", b"second"]


def test_after_a_failover_to_a_server_without_a_standby_nothing_is_acknowledged_until_it_has_one() -> None:
    with primary_and_standby() as (primary, standby):
        both = primary.url(replicas=2).replace("?host=", f"?host={quote(str(standby.folder))},", 1)
        with closing(PostgresCommitLog(both, create=True)) as log:
            assert log.put(1, b"first", SECONDS)
            primary.crash()
            with psycopg.connect(standby.url().replace("&replicas=1", ""), autocommit=True) as connection:
                connection.execute("SELECT pg_promote()")
                with pytest.raises(LogError, match="no synchronous standby: set synchronous_standby_names"):
                    log.put(2, b"second", 5.0)
                assert connection.execute("SELECT count(*) FROM dualbus_commits").fetchall() == [(1,)]


def test_a_pooler_that_drops_listen_is_refused(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dualbus.log.postgresql.commit_log.NOTIFIED_SECONDS", 0.5)
    monkeypatch.setattr(PostgresCommitLog, "_hear", lambda self, connection: connection.execute("SELECT 1"))

    with pytest.raises(CommitLogUnreachable, match="a pooler in transaction mode drops LISTEN"):
        PostgresCommitLog(server.new_url(), create=True)


@pytest.fixture
def proxied(server: Postgres) -> Iterator[tuple[SilentProxy, str]]:
    """A proxy before the server, and the address of a new schema through the proxy."""
    with SilentProxy(server.folder / ".s.PGSQL.5432") as proxy:
        url = server.new_url()
        yield proxy, re.sub(r"@/postgres\?host=[^&]*&", f"@127.0.0.1:{proxy.port}/postgres?", url)


def test_announcements_go_on_after_a_silent_loss_of_the_primary(proxied: tuple[SilentProxy, str]) -> None:
    proxy, url = proxied
    with closing(PostgresCommitLog(url, create=True)) as one, closing(PostgresCommitLog(url, create=True)) as two:
        for number in range(2):
            for sender, receiver in ((one, two), (two, one)):
                message = f"from {id(sender)} {number}".encode()

                def heard() -> bool:
                    sender.announce(message)  # noqa: B023 - again, because delivery is not guaranteed
                    time.sleep(0.05)
                    return message in receiver.announcements()  # noqa: B023

                until(heard)
            proxy.mute()


def test_a_standby_claims_once_after_a_silent_loss_of_the_primary(
    proxied: tuple[SilentProxy, str], folder: Path
) -> None:
    proxy, url = proxied
    with PostgresEngine(folder / "one", url).writer() as one, PostgresEngine(folder / "two", url).writer() as two:

        def steady() -> bool:
            """Return whether no writer has claimed for as long as a reactor waits to take over."""
            before, end = (one.since, two.since), time.monotonic() + TAKEOVER_SECONDS
            while (one.since, two.since) == before and time.monotonic() < end:
                one.turn()
                two.turn()
                time.sleep(0.01)
            return (one.since, two.since) == before and any(before)

        until(lambda: one.turn() or one.since)
        proxy.mute()
        until(lambda: one._commits.tail() and two._commits.tail())
        until(steady)


def test_the_queue_of_announcements_is_bounded_while_the_server_is_silent(proxied: tuple[SilentProxy, str]) -> None:
    proxy, url = proxied

    def ask(connection: Connection) -> bool:
        return bool(connection.execute("SELECT 1").fetchone())

    def works() -> bool:
        with suppress(LostConnection):
            return thread.run(ask, 1.0)
        return False

    with closing(ConnectionThread(url.replace("replicas=1&", ""), "test")) as thread:
        assert works()
        proxy.silent = True
        proxy.mute()
        for _ in range(200):
            thread.start(ask, 0.2)
            time.sleep(0.01)
        assert thread._thread._work_queue.qsize() < 50

        proxy.silent = False
        until(works)
