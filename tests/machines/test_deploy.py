"""The files to deploy: the server's configuration passes the checks of commandbus, and the settings are valid."""

import ipaddress
import os
import re
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.runtime.settings import Settings
from tests.conftest import ROOT
from tests.machines.servers import NATS_SERVER, Server, Servers, needs_nats

DEPLOY = ROOT / "deploy" / "machines"
UNITS = ROOT / "deploy" / "systemd"
PAGE = (ROOT / "docs" / "machines.md").read_text()
SECRETS = {"LOG_PASSWORD": "secret", "ROUTE_PASSWORD": "other-secret"}
PROCESSES = {"gateway", "commandbus", "projector", "querybus", "reactor", "web"}


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return found


def configure(server: Server, folder: Path) -> None:
    """Give a server of the test the file of the deployment, with the addresses of the test."""
    text = (DEPLOY / "nats.conf").read_text()
    changed = {
        "0.0.0.0:4222": f"{server.host}:{server.port}",
        "127.0.0.1:8222": f"{server.host}:{server.monitor}",
        "0.0.0.0:6222": f"{server.host}:{server.port + 2}",
        "/var/lib/nats": str(folder / f"store-{server.name}"),
    }
    for before, after in changed.items():
        assert before in text
        text = text.replace(before, after)
    server.text = text


@needs_nats
def test_three_servers_with_the_files_are_a_cluster_that_passes_the_checks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = Servers(folder, 3, user="dualbus:secret")
    environment: dict[str, str] = services()["nats"]["environment"]
    for name, value in environment.items():
        changed = re.sub(r"\$\{(\w+):\?\}", lambda found: SECRETS.get(found[1], "host"), value)
        changed = changed.replace("10.0.0.", "127.0.0.").replace(":6222", f":{servers.port + 2}")
        monkeypatch.setenv(name, changed)
    try:
        for number, server in enumerate(servers.servers, 1):
            configure(server, folder)
            monkeypatch.setenv("HOST_NAME", f"host{number}")
            server.start()
        servers.wait()
        with closing(NatsCommitLog(read_address(servers.url()), create=True)) as log:
            assert log.put(1, bytes(log.body_bytes_max), 20)
            assert log.body_bytes_max > 8_000_000
            log.tail()
            assert log.status()["stream_leader"] in {"host1", "host2", "host3"}
    finally:
        servers.stop()


def test_the_files_have_no_password_and_the_comment_names_each_variable() -> None:
    text = (DEPLOY / "nats.conf").read_text()
    comment = text.splitlines()[0]

    assert "change-me" not in text + (DEPLOY / "compose.yaml").read_text()
    used = set(re.findall(r"\$(\w+)", text))
    assert used == set(re.findall(r"[A-Z]+_[A-Z]+|ROUTES", comment)) == set(services()["nats"]["environment"])


@needs_nats
@pytest.mark.parametrize(("password", "starts"), [("12345678", False), ("p12345678", True)])
def test_a_password_begins_with_a_letter_as_the_comment_says(
    monkeypatch: pytest.MonkeyPatch, password: str, starts: bool
) -> None:
    assert "Passwords have letters and digits, and begin with a letter" in (DEPLOY / "nats.conf").read_text()
    for name, value in {"HOST_NAME": "host1", "ROUTE_PASSWORD": "route", "ROUTES": "[]"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOG_PASSWORD", password)

    ran = subprocess.run([NATS_SERVER, "-c", DEPLOY / "nats.conf", "-t"], capture_output=True, text=True)
    assert (ran.returncode == 0) == starts, ran.stderr


def test_a_host_has_a_container_of_each_process() -> None:
    commands = {name: found["command"] for name, found in services().items() if name != "nats"}

    assert commands == {name: f"python -m dualbus.{name}" for name in PROCESSES}
    assert services()["querybus"]["deploy"]["replicas"] > 1
    assert {found["network_mode"] for found in services().values()} == {"host"}


def test_each_unit_that_denies_addresses_has_the_drop_in_for_the_addresses_of_all_hosts() -> None:
    text = (DEPLOY / "network.conf").read_text()
    denying = {path.name for path in UNITS.glob("*.service") if "IPAddressDeny=any" in path.read_text()}

    assert set(re.findall(r"^#   /etc/systemd/system/(\S+)\.d/network\.conf$", text, re.MULTILINE)) == denying
    assert all(f"`{name}`" in PAGE for name in denying)
    [network] = re.findall(r"^\[Service\]\nIPAddressAllow=(\S+)$", text, re.MULTILINE)
    addresses = set(re.findall(r"10(?:\.\d+){3}", (DEPLOY / "dualbus.env").read_text()))
    assert len(addresses) == 3
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network(network) for address in addresses)


def test_the_settings_of_a_host_are_valid() -> None:
    lines = (DEPLOY / "dualbus.env").read_text().splitlines()
    settings = Settings.from_env(dict(line.split("=", 1) for line in lines if line and not line.startswith("#")))

    address = read_address(settings.log)
    assert [host for host, _ in address.hosts] == ["127.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert (settings.back, len(settings.other_backs)) == ("tcp://10.0.0.1:5571", 2)
    assert settings.timeout_ms >= 15_000


def test_each_file_is_in_the_guide() -> None:
    assert [name for name in os.listdir(DEPLOY) if f"deploy/machines/{name}" not in PAGE] == []
