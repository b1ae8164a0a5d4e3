"""A host is cut off from the others: the rest goes on, and the host is in line again afterwards."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.log.commits import CommitLogRefused
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.testing import until
from tests.faults.load import Load
from tests.machines.hosts import Host, Hosts, running_hosts, seeded
from tests.machines.networks import Network, needs_namespaces, networked_servers
from tests.machines.servers import Servers, needs_nats

pytestmark = [needs_nats, needs_namespaces, pytest.mark.timeout(300)]
CUT_SECONDS = 12.0  # longer than a cut-off leader takes to step down


@pytest.fixture(scope="module")
def networked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Network, Servers]]:
    """Servers in namespaces, without dualbus."""
    with networked_servers(tmp_path_factory.mktemp("nats")) as found:
        yield found


def test_a_host_that_is_cut_off_acknowledges_nothing_and_comes_back_in_line(
    networked: tuple[Network, Servers], folder: Path
) -> None:
    seed, chance = seeded()
    network, servers = networked
    with running_hosts(folder, servers) as hosts:
        with Load(hosts.fronts, seed, timeout_ms=15_000) as load:
            load.more(100)
            cut_off(
                hosts, network, load, hosts.active().number, CUT_SECONDS
            )  # the writer, and the leader of the stream
            cut_off(hosts, network, load, (hosts.active().number + chance.randrange(1, 3)) % 3, 0)  # a standby
        hosts.judge(load)
        assert all(process.running for host in hosts.hosts for process in host.processes)


def cut_off(hosts: Hosts, network: Network, load: Load, number: int, seconds: float) -> None:
    """Cut a host off under load, for so many seconds at least."""
    assert inside(hosts.hosts[number]) == "acknowledged"
    network.cut(number)
    began = time.monotonic()
    load.more(1)
    print(f"h{number} cut off: next acknowledgement after {time.monotonic() - began:.1f} s")
    load.more(100)
    assert "acknowledged" not in inside(hosts.hosts[number])
    until(lambda: time.monotonic() - began > seconds)
    network.mend(number)
    mended = time.monotonic()
    hosts.active()
    print(f"h{number} in line {time.monotonic() - mended:.1f} s after the link")


def inside(host: Host) -> str:
    """Send a command from a client on the host itself; return "acknowledged" or an error."""
    arguments = ["command", "--timeout", "3", "CreateUser", "name=inside", "email=i@example.com"]
    command = [*host.server.launcher, sys.executable, "-m", "dualbus", *arguments]
    ran = subprocess.run(command, cwd=host.cwd, env=host.environ, capture_output=True, text=True)
    return "acknowledged" if ran.returncode == 0 else ran.stderr


def test_a_server_off_loopback_without_authentication_is_refused(networked: tuple[Network, Servers]) -> None:
    _, servers = networked
    server = servers.servers[0]
    config = server.config
    server.kill()
    server.config = config | {"authorization": ""}
    server.start()
    until(lambda: server.ready)
    try:
        with pytest.raises(CommitLogRefused, match="is reachable from other machines and accepts everybody"):
            NatsCommitLog(read_address(servers.url()), create=True)
    finally:
        server.kill()
        server.config = config
        server.start()
