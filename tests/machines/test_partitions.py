"""A host is cut off from the others: the rest goes on, and the host is in line again afterwards."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dualbus.log.commits import CommitLogRefused
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.testing import until
from tests.faults.load import Load
from tests.machines.hosts import Host, Hosts, running_hosts, seeded
from tests.machines.networks import Network, needs_namespaces, networked_servers
from tests.machines.servers import needs_nats

pytestmark = [needs_nats, needs_namespaces, pytest.mark.timeout(300)]
CUT_SECONDS = 12.0


def test_a_host_that_is_cut_off_acknowledges_nothing_and_comes_back_in_line(folder: Path) -> None:
    seed, chance = seeded()
    with networked_servers(folder) as (network, servers), running_hosts(folder, servers) as hosts:
        with Load(hosts.fronts, seed, timeout_ms=15_000) as load:
            load.more(100)
            cut_off(hosts, network, load, hosts.active().number)  # the writer, and the leader of the stream
            cut_off(hosts, network, load, (hosts.active().number + chance.randrange(1, 3)) % 3)  # a standby
        hosts.judge(load)
        assert all(process.running for host in hosts.hosts for process in host.processes)


def cut_off(hosts: Hosts, network: Network, load: Load, number: int) -> None:
    """Cut a host off for a while under load."""
    assert inside(hosts.hosts[number]) == "acknowledged"
    network.cut(number)
    began = time.monotonic()
    load.more(1)
    print(f"h{number} cut off: next acknowledgement after {time.monotonic() - began:.1f} s")
    load.more(100)
    assert "acknowledged" not in inside(hosts.hosts[number])
    until(lambda: time.monotonic() - began > CUT_SECONDS)
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


def test_a_server_off_loopback_without_authentication_is_refused(folder: Path) -> None:
    with networked_servers(folder) as (_, servers):
        url = servers.url()
        server = servers.servers[0]
        server.kill()
        server.config["authorization"] = ""
        server.start()
        until(lambda: server.ready)
        with pytest.raises(CommitLogRefused, match="is reachable from other machines and accepts everybody"):
            NatsCommitLog(read_address(url), create=True)
