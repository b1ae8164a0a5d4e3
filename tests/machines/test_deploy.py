"""The files to deploy: the server's configuration passes the checks of commandbus, and the settings are valid."""

import os
import re
from contextlib import closing
from pathlib import Path

from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.runtime.settings import Settings
from tests.conftest import ROOT
from tests.machines.servers import Servers, needs_nats

DEPLOY = ROOT / "deploy" / "machines"
PAGE = (ROOT / "docs" / "machines.md").read_text()


@needs_nats
def test_the_configuration_of_the_server_passes_the_checks(folder: Path) -> None:
    servers = Servers(folder, 1, user="dualbus:secret")
    [server] = servers.servers
    text = (DEPLOY / "nats.conf").read_text()
    text = re.sub(r"(?m)^cluster \{.*\Z", "", text, flags=re.DOTALL)  # the other hosts do not exist
    changed = {
        "0.0.0.0:4222": f"127.0.0.1:{server.port}",
        "127.0.0.1:8222": f"127.0.0.1:{server.monitor}",
        "/var/lib/nats": str(folder / "store"),
        "$HOST_NAME": "host1",
        "$LOG_PASSWORD": "secret",
    }
    for before, after in changed.items():
        assert before in text
        text = text.replace(before, after)
    server.text = text
    try:
        servers.start()
        with closing(NatsCommitLog(read_address(servers.url()), create=True)) as log:
            assert log.put(1, bytes(log.body_bytes_max), 20)
            assert log.body_bytes_max > 8_000_000
    finally:
        servers.stop()


def test_the_settings_of_a_host_are_valid() -> None:
    lines = (DEPLOY / "dualbus.env").read_text().splitlines()
    settings = Settings.from_env(dict(line.split("=", 1) for line in lines if line and not line.startswith("#")))

    address = read_address(settings.log)
    assert [host for host, _ in address.hosts] == ["127.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert (settings.back, len(settings.other_backs)) == ("tcp://10.0.0.1:5571", 2)
    assert settings.timeout_ms >= 15_000


def test_each_file_is_in_the_guide() -> None:
    assert [name for name in os.listdir(DEPLOY) if f"deploy/machines/{name}" not in PAGE] == []
