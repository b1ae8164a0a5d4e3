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
from tests.machines.hosts import BACK_PORT, Host, Hosts, running_hosts, seeded
from tests.machines.networks import Network, needs_namespaces, networked_servers
from tests.machines.servers import Servers, needs_nats

pytestmark = [needs_nats, needs_namespaces, pytest.mark.timeout(300)]
ESTABLISHED = "01"
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
            writer = hosts.active().number  # and the leader of the stream
            cut_off(hosts, network, load, writer, CUT_SECONDS)
            standby = (hosts.active().number + chance.randrange(1, 3)) % 3
            cut_off(hosts, network, load, standby, 0, silent=True)
        hosts.judge(load)
        assert all(process.running for host in hosts.hosts for process in host.processes)


def cut_off(hosts: Hosts, network: Network, load: Load, number: int, seconds: float, *, silent: bool = False) -> None:
    """Cut a host off under load, for so many seconds at least."""
    assert inside(hosts.hosts[number]) == "acknowledged"
    assert connections(hosts.hosts[number]) == 2
    network.cut(number, silent=silent)
    began = time.monotonic()
    load.more(1)
    print(f"h{number} cut off: next acknowledgement after {time.monotonic() - began:.1f} s")
    load.more(100)
    assert "acknowledged" not in inside(hosts.hosts[number])
    until(lambda: time.monotonic() - began > seconds)
    # Else its commandbus would be known again at the kernel's next attempt only, after as long as the cut.
    until(lambda: connections(hosts.hosts[number]) == 0)
    network.mend(number)
    mended = time.monotonic()
    hosts.active()
    print(f"h{number} in line {time.monotonic() - mended:.1f} s after the link")


def connections(host: Host) -> int:
    """Return the number of connections from a host to the gateways of the others."""
    _, *lines = Path(f"/proc/{host.process('commandbus').pid}/net/tcp6").read_text().splitlines()
    found = [line.split()[1:4] for line in lines]  # local end, remote end, state
    remote = f":{BACK_PORT:04X}"
    return sum(
        state == ESTABLISHED and there.endswith(remote) and there.split(":")[0] != here.split(":")[0]
        for here, there, state in found
    )


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
