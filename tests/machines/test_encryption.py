"""The connection to NATS over TLS: only servers with a certificate of the named authority receive the password."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dualbus.log.commits import CommitLogRefused
from dualbus.log.contract import LogUnavailable
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from tests.machines.servers import Servers, needs_nats, running_servers

needs_openssl = pytest.mark.skipif(
    not shutil.which("openssl") and os.environ.get("CI") != "true", reason="needs the command openssl"
)
pytestmark = [needs_nats, needs_openssl]


def new_certificate(folder: Path, name: str) -> Path:
    """Create a certificate of 127.0.0.1 that is its own authority, beside its key."""
    path = folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(path.with_suffix(".key")), "-out", str(path)],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_certificate(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Servers]:
    """A server with TLS."""
    tls = (
        f'tls {{ cert_file: "{certificate}", key_file: "{certificate.with_suffix(".key")}", handshake_first: true }}'
    )
    with running_servers(tmp_path_factory.mktemp("nats"), 1, authorization=tls) as found:
        yield found


def test_commits_are_stored_over_tls(encrypted: Servers, certificate: Path) -> None:
    address = read_address(f"{encrypted.new_url()}&ca={certificate}")
    with closing(NatsCommitLog(address, create=True)) as log:
        assert log.put(1, b"first", 20)
        assert log.get(0, 1) == [b"first"]


def test_a_server_with_a_certificate_of_another_authority_is_refused(
    encrypted: Servers, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualbus.log.nats.commit_log.CONNECT_SECONDS", 2.0)
    other = new_certificate(folder, "other")

    with pytest.raises(LogUnavailable, match="certificate verify failed"):
        NatsCommitLog(read_address(f"{encrypted.new_url()}&ca={other}"), create=True)


def test_a_server_without_tls_receives_no_password(
    one_server: Servers, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualbus.log.nats.commit_log.CONNECT_SECONDS", 2.0)

    with pytest.raises(LogUnavailable, match=r"No majority of the NATS servers answers .*SSL"):
        NatsCommitLog(read_address(f"{one_server.new_url()}&ca={certificate}"), create=True)


def test_a_path_without_certificates_is_refused(one_server: Servers, folder: Path) -> None:
    with pytest.raises(CommitLogRefused, match=r"ca=.*, which has no readable certificates"):
        NatsCommitLog(read_address(f"{one_server.new_url()}&ca={folder}/none.pem"), create=True)
