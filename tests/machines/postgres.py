"""A PostgreSQL server of Debian's package, on a socket in a folder."""

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
needs_postgresql = pytest.mark.skipif(
    not _FOUND and os.environ.get("CI") != "true", reason="needs Debian's package postgresql"
)


class Postgres:
    """A server. PostgreSQL refuses to run as root, so root starts the server as the user postgres."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self._settings = {"listen_addresses": "", "unix_socket_directories": str(folder)} | settings
        self._as: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        if self._as:
            shutil.chown(folder, "postgres", "postgres")
        self.popen: subprocess.Popen[Any] | None = None

    def create(self) -> None:
        command = [
            str(_FOUND[-1].with_name("initdb")),
            "-D",
            str(self.folder / "pg"),
            "-A",
            "trust",
            "-U",
            "dualbus",
            "-N",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._as)

    def copy(self, primary: "Postgres", name: str) -> None:
        """Create this server as a standby of another."""
        source = f"host={primary.folder} user=dualbus application_name={name}"
        command = [str(_FOUND[-1].with_name("pg_basebackup")), "-D", str(self.folder / "pg"), "-R", "-c", "fast"]
        subprocess.run([*command, "-d", source], check=True, capture_output=True, cwd="/", **self._as)

    def start(self) -> None:
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [str(_FOUND[-1]), "-D", str(self.folder / "pg"), *options]
        with (self.folder / "pg.log").open("ab") as log:
            self.popen = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **self._as)

    def kill(self) -> None:
        if self.popen:
            self.popen.kill()
            self.popen.wait()

    def crash(self) -> None:
        """End all processes of the server at once: the next start recovers."""
        assert self.popen
        self.popen.send_signal(signal.SIGQUIT)
        self.popen.wait()

    @property
    def ready(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            psycopg.connect(self.url().replace("&replicas=1", "")).close()
        except psycopg.Error:
            return False
        return True

    def url(self, schema: str = "public", replicas: int = 1) -> str:
        """Return the address of a schema of the database."""
        options = quote(f"-csearch_path={schema}")
        return f"postgresql://dualbus@/postgres?host={quote(str(self.folder))}&replicas={replicas}&options={options}"

    def new_url(self) -> str:
        """Return the address of a new schema."""
        schema = f"s{uuid.uuid4().hex}"
        with psycopg.connect(self.url().replace("&replicas=1", "")) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
        return self.url(schema)


@contextmanager
def running_postgres(folder: Path, **settings: str) -> Iterator[Postgres]:
    """Start a server; kill it at the end."""
    server = Postgres(folder, **settings)
    server.create()
    server.start()
    try:
        yield server
    finally:
        server.kill()
