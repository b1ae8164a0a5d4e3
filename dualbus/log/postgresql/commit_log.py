"""The commit log in a table of PostgreSQL: the primary key assigns each number once.

PostgreSQL replicates, but does not fail over by itself: an operator or a tool such as Patroni promotes a standby.
"""

import secrets
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit
from weakref import WeakSet

import psycopg
from psycopg import errors

from dualbus.log.commits import CommitLogRefused, CommitLogUnreachable, OutcomeUnknown, nothing
from dualbus.log.contract import LogUnavailable
from dualbus.log.inbox import Inbox
from dualbus.log.postgresql.connection import Connection, ConnectionThread, LostConnection

BODY_BYTES_MAX = 8 << 20  # of one body, and of the bodies of one read
START_SECONDS = 30.0
READ_SECONDS = 5.0
PAUSE_SECONDS = 0.05
LISTEN_SECONDS = 0.5  # between checks that the server answers the listener
WAITING_MAX = 3  # writes that wait for the standby, before a new connection adds another
NOTIFIED_SECONDS = 10.0  # for the first notification
SILENT_SECONDS = 2.0  # without an answer to an announcement or to a check: connect again
_KEEPALIVE = {"keepalives_idle": "2", "keepalives_interval": "1", "keepalives_count": "3", "tcp_user_timeout": "5000"}

_CREATE = """
SELECT pg_advisory_xact_lock(hashtext('dualbus_commits'));
CREATE TABLE IF NOT EXISTS dualbus_commits (number bigint PRIMARY KEY, body bytea NOT NULL);
CREATE OR REPLACE FUNCTION dualbus_refuse() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'A commit of dualbus is never changed or deleted.'; END $$;
CREATE OR REPLACE TRIGGER dualbus_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON dualbus_commits
    FOR EACH STATEMENT EXECUTE FUNCTION dualbus_refuse();
"""
_PUT = """
INSERT INTO dualbus_commits SELECT %(number)s, %(body)s
WHERE %(number)s = 1 OR EXISTS (SELECT 1 FROM dualbus_commits WHERE number = %(number)s - 1)
ON CONFLICT DO NOTHING
"""
_GET = """
SELECT number, body FROM (
    SELECT number, body, sum(length(body)) OVER (ORDER BY number) AS size
    FROM dualbus_commits WHERE number > %(after)s ORDER BY number LIMIT %(limit)s) AS next
WHERE size <= %(bytes)s OR number = %(after)s + 1 ORDER BY number
"""
# Writes to the write-ahead log, and so waits for the standby; needs no privilege, and changes no row.
_WAIT_FOR_STANDBY = "SELECT pg_logical_emit_message(true, 'dualbus', '')"
# Waits neither for the standby nor for long for the announcement of another application that waits for the standby.
_ANNOUNCE = """
SELECT set_config('synchronous_commit', 'local', true), set_config('lock_timeout', '1s', true),
    pg_notify('dualbus', %s)
"""
# The writes of all hosts that wait for the standby or for each other. A user sees these columns for its own sessions.
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
AND application_name = current_setting('application_name') AND (wait_event = 'SyncRep' OR wait_event_type = 'Lock')
"""


class PostgresCommitLog:
    """Connections to a database. Creates a missing table if `create` is true."""

    def __init__(self, url: str, *, create: bool) -> None:
        self._url, self._copies = _without_replicas(url)
        self.name = f"PostgreSQL database {urlsplit(self._url).path.removeprefix('/')}"
        self.body_bytes_max = BODY_BYTES_MAX
        self._closed = False
        self._heard: Connection | None = None  # the connection that listens
        self._listening = threading.Event()
        self.resolved = 0  # puts whose first answer was lost
        self._checked: WeakSet[Connection] = WeakSet()  # connections that may write
        self._replicated: Connection | None = None  # the standby has each commit that this connection has found
        self._inbox = Inbox()
        self.wakeup = self._inbox.wakeup
        self._thread = ConnectionThread(self._url, "postgresql")
        self._announcer = ConnectionThread(self._url, "postgresql-announcer")
        self._notifications = ConnectionThread(self._url, "postgresql-notifications")
        self._listener = threading.Thread(target=self._listen, name="postgresql-listener", daemon=True)
        try:
            self._open(create)
        except BaseException:
            self.close()
            raise
        self._listener.start()
        try:
            self._check_notifications()
        except BaseException:
            self.close()
            raise

    def _open(self, create: bool) -> None:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                if problems := self._thread.run(self._problems, READ_SECONDS):
                    raise CommitLogRefused(*problems)
                if create:
                    self._thread.run(self._create, READ_SECONDS)
                return
            except CommitLogUnreachable:
                if time.monotonic() > until:
                    raise
                time.sleep(PAUSE_SECONDS)
            except (LostConnection, psycopg.OperationalError, psycopg.InternalError) as lost:
                if time.monotonic() > until:
                    raise CommitLogUnreachable(
                        f"PostgreSQL does not answer ({lost}): start the server, or correct DUALBUS_LOG."
                    ) from None
                time.sleep(PAUSE_SECONDS)
            except psycopg.Error as error:
                text = str(error).splitlines()[0]
                if error.sqlstate is None and "query parameter: " not in text:  # of libpq: may have the password
                    text = "the address is invalid: % and other special characters need percent-encoding"
                raise CommitLogRefused(
                    f"PostgreSQL refuses to open the log ({text}): correct DUALBUS_LOG, or allow its user to create "
                    "tables, functions and triggers in the schema, and to own them."
                ) from None

    def _check_notifications(self) -> None:
        """Raise CommitLogUnreachable if announcements do not arrive: without them, the writers replace each other."""
        message, until = secrets.token_bytes(16), time.monotonic() + NOTIFIED_SECONDS
        self._listening.wait(NOTIFIED_SECONDS)
        while time.monotonic() < until:
            self.announce(message)
            select.select([self.wakeup], [], [], PAUSE_SECONDS)
            if message in self.announcements():
                return
        raise CommitLogUnreachable(
            "No notification of PostgreSQL arrives: connect to the server directly, or through a pooler in session "
            "mode; a pooler in transaction mode drops LISTEN."
        )

    def _problems(self, connection: Connection) -> list[str]:
        """Return a sentence for each setting that can lose acknowledged commits."""
        shown = {name: _value(connection, f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
        found = [
            f"PostgreSQL has {name} = {value}, which can lose acknowledged commits: set {name} = on."
            for name, value in shown.items()
            if value in ("off", "local", "remote_write")
        ]
        if self._copies > 1 and not _value(connection, "SHOW synchronous_standby_names"):
            found.append(
                "PostgreSQL has no synchronous standby: set synchronous_standby_names, or accept a single copy with "
                "?replicas=1 in DUALBUS_LOG."
            )
        return found

    def _create(self, connection: Connection) -> None:
        self._check_writable(connection)
        with connection.transaction():
            connection.execute(_CREATE)

    def _check_writable(self, connection: Connection) -> None:
        """Raise CommitLogUnreachable if many earlier writes wait, or if the settings of the server can lose commits.

        Called before the first write of a connection: after a failover, this is another server. A late answer costs a
        connection: the server keeps the connection until the standby has the write, and a new connection for each
        write would use up all connections of the database.
        """
        if connection in self._checked:
            return
        if problems := self._problems(connection):
            raise CommitLogUnreachable(" ".join(problems))
        waiting = _value(connection, _WAITING)
        if waiting >= WAITING_MAX:
            raise CommitLogUnreachable(
                f"{waiting} earlier writes wait in PostgreSQL for the synchronous standby or for a lock: start the "
                "standby, or correct synchronous_standby_names; pg_stat_activity shows the writes."
            )
        self._checked.add(connection)

    # Bodies.

    def put(self, number: int, body: bytes, seconds: float, meanwhile: Callable[[], None] = nothing) -> bool:
        until = time.monotonic() + seconds
        lost, reason = False, ""  # lost: an attempt without an answer, which may still be stored
        while (left := until - time.monotonic()) > 0:
            once, meanwhile = meanwhile, nothing
            try:
                stored = self._thread.run(lambda connection: self._put(connection, number, body), left, once)
                if stored is not None:
                    self.resolved += lost
                    return stored
            except LostConnection:
                lost = True
            except CommitLogUnreachable as waiting:
                if not lost:
                    raise
                reason = f" ({waiting})"
            except (errors.DiskFull, errors.OutOfMemory) as full:
                if not lost:
                    text = str(full).splitlines()[0]
                    raise LogUnavailable(f"The log cannot be written now ({text}): free some space.") from None
            except errors.ReadOnlySqlTransaction:
                self._thread.abandon()  # the server is a standby now: connect to the primary
            except psycopg.Error as error:
                reason = f" ({str(error).splitlines()[0]})"
            time.sleep(PAUSE_SECONDS)
        raise OutcomeUnknown(f"PostgreSQL has not answered for commit {number}{reason}.")

    def _put(self, connection: Connection, number: int, body: bytes) -> bool | None:
        """Insert a body; return None if the number before is missing."""
        self._check_writable(connection)
        values = {"number": number, "body": body}
        if connection.execute(_PUT, values).rowcount:
            return True
        found = connection.execute("SELECT body FROM dualbus_commits WHERE number = %(number)s", values).fetchone()
        if found is None:
            return None
        connection.execute(_WAIT_FOR_STANDBY)  # a restart shows a commit whose wait for the standby it has ended
        return bytes(found[0]) == body

    def get(self, after: int, limit: int) -> list[bytes]:
        values = {"after": after, "limit": limit, "bytes": BODY_BYTES_MAX}

        def read(connection: Connection) -> list[Any]:
            rows = connection.execute(_GET, values).fetchall()
            if rows and connection is not self._replicated:
                # A server that has restarted, or was promoted, shows commits that no standby has.
                self._check_writable(connection)
                connection.execute(_WAIT_FOR_STANDBY)
                self._replicated = connection
            return rows

        try:
            rows = self._thread.run(read, READ_SECONDS)
        except errors.UndefinedTable:
            return []
        except (LostConnection, psycopg.Error) as error:
            raise CommitLogUnreachable(f"PostgreSQL does not answer ({error}).") from None
        return [body for expected, (number, body) in enumerate(rows, after + 1) if number == expected]

    def tail(self) -> int | None:
        try:
            sql = "SELECT coalesce(max(number), 0) FROM dualbus_commits"
            return int(self._thread.run(lambda connection: _value(connection, sql), READ_SECONDS))
        except errors.UndefinedTable:
            return 0
        except (LostConnection, psycopg.Error):
            return None

    # Announcements.

    def announce(self, message: bytes) -> None:
        self._announcer.start(lambda connection: connection.execute(_ANNOUNCE, (message.hex(),)), SILENT_SECONDS)

    def _listen(self) -> None:
        while not self._closed:
            # The next append or read reports the outage; a notification only saves time.
            with suppress(LostConnection, psycopg.Error):
                self._notifications.run(self._hear, LISTEN_SECONDS + SILENT_SECONDS)
                continue
            time.sleep(PAUSE_SECONDS)

    def _hear(self, connection: Connection) -> None:
        """Receive notifications for a while. Check that the server answers: a host that is gone sends no error."""
        if connection is not self._heard:
            connection.execute("LISTEN dualbus")
            self._heard = connection
            self._listening.set()
        for notification in connection.notifies(timeout=LISTEN_SECONDS):
            self._receive(notification.payload)
        connection.execute("SELECT 1")

    def _receive(self, payload: str) -> None:
        with suppress(ValueError):
            self._inbox.put(bytes.fromhex(payload))

    def announcements(self) -> list[bytes]:
        return self._inbox.pop_all()

    def lead(self) -> None:
        """Do nothing: a primary is not moved without an operator."""

    def status(self) -> dict[str, Any]:
        """Return the state of the engine."""
        return {"database": urlsplit(self._url).path.removeprefix("/"), "resolved": self.resolved}

    def close(self) -> None:
        """Disconnect."""
        self._closed = True
        self._notifications.abandon()
        if self._listener.is_alive():
            self._listener.join()
        self._notifications.close()
        self._thread.close()
        self._announcer.close()
        self._inbox.close()


def _value(connection: Connection, sql: str) -> Any:
    found = connection.execute(sql).fetchone()
    return found[0] if found else None


def _without_replicas(url: str) -> tuple[str, int]:
    """Return the address for libpq, and the number of copies that the operator wants."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    copies = options.pop("replicas", "2")
    options = {"target_session_attrs": "read-write", "application_name": "dualbus", **_KEEPALIVE, **options}
    url = urlunsplit(parts._replace(query=urlencode(options, quote_via=quote)))
    return url, int(copies) if copies.isdecimal() else 2
