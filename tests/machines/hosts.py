"""Three "hosts" on this machine: each a NATS server, and the processes of dualbus with a folder of their own."""

import random
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from dualbus.log.contract import Head
from dualbus.log.sqlite.reader import SqliteLogReader
from dualbus.operations.verify import verify
from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.faults.judge import judge
from tests.faults.load import Load
from tests.machines.servers import Server, Servers, running_servers
from tests.raw import STATUS, RawClient
from users import app as users_app

NUMBER = 3
BACK_PORT = 5571  # in namespaces


class Host(Cluster):
    """The processes of one host."""

    def __init__(
        self, folder: Path, number: int, backs: list[str], server: Server, url: str, app: str | None = None
    ) -> None:
        folder.mkdir()
        others = [back for back in backs if back != backs[number]]
        back = ",".join([backs[number], *others])
        super().__init__(folder, app, cwd=ROOT, back=back, log=url, host=f"h{number}", timeout_ms="15000")
        self.number = number
        self.server = server

    def use_network(self, addresses: list[str]) -> None:
        """Listen on the address of the server, for the other hosts and for clients elsewhere."""
        backs = [f"tcp://{address}:{BACK_PORT}" for address in (self.server.host, *addresses)]
        self.environ["DUALBUS_BACK"] = ",".join(dict.fromkeys(backs))
        self.environ["DUALBUS_FRONT"] = f"tcp://{self.server.host}:5570"

    def kill_all(self) -> None:
        """Kill the host: its server and its processes."""
        self.server.kill()
        for process in self.processes:
            process.send(signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def stop_all(self) -> None:
        """Stop the host orderly: the command bus first, and the server last."""
        for name in ("commandbus", "gateway", "projector", "querybus"):
            assert self.stop(name) == 0
        self.server.send(signal.SIGTERM)
        assert self.server.popen
        self.server.popen.wait()

    def start_all(self) -> None:
        """Start the host again."""
        self.server.start()
        self.start()

    def command_buses(self) -> list[dict[str, Any]]:
        """Return the command buses that the gateway of this host knows."""
        with RawClient(self.front) as client:
            [answer] = client.ask(STATUS)
        return [found for found in answer["data"]["processes"] if found["name"] == "commandbus" and "host" in found]


class Hosts:
    """The hosts."""

    def __init__(self, folder: Path, servers: Servers, app: str | None = None) -> None:
        self.servers = servers
        backs = [f"ipc://{folder}/h{number}/back" for number in range(NUMBER)]
        self.hosts = [
            Host(folder / f"h{number}", number, backs, server, servers.url(first=number), app)
            for number, server in enumerate(servers.servers * (NUMBER // len(servers.servers)))
        ]

    @property
    def fronts(self) -> str:
        """The addresses of all gateways, as a list."""
        return ",".join(host.front for host in self.hosts)

    def start(self) -> None:
        """Start all processes."""
        for host in self.hosts:
            host.start()

    def active(self) -> Host:
        """Wait until all gateways know the same active commandbus and the standbys; return its host."""

        def agreed() -> Host | None:
            claims = []
            for host in self.hosts:
                buses = host.command_buses()
                assert len(buses) == NUMBER, buses
                claims.append({found["host"]: found["writer_since"] for found in buses})
            assert all(claim == claims[0] for claim in claims), claims
            active = [name for name, since in claims[0].items() if since is not None]
            return self.hosts[int(active[0][1:])] if len(active) == 1 else None

        found = until(agreed, 60)
        assert found
        return found

    def check_same(self) -> Head:
        """Wait until all replicas are equal, verify the log and the read model of each host; return the head."""

        def heads() -> list[Head]:
            found = []
            for host in self.hosts:
                with closing(SqliteLogReader(host.data)) as log:
                    found.append(log.head())
            assert len(set(found)) == 1, found
            return found

        head = until(heads, 60)[0]
        for host in self.hosts:
            assert verify(host.data, users_app).position == head.position
        return head

    def judge(self, load: Load) -> None:
        """Check the history of a load against each host."""
        assert load.unknown == set()
        self.check_same()
        for host in self.hosts:
            assert judge(load.history, host.data) == []


@contextmanager
def running_hosts(folder: Path, servers: Servers | None = None, app: str | None = None) -> Iterator[Hosts]:
    """Start three hosts, with their servers unless given, all processes included."""
    with nullcontext(servers) if servers else running_servers(folder, NUMBER) as found:
        hosts = Hosts(folder, found, app)
        for host in hosts.hosts:
            host.commands = {name: [*host.server.launcher, *command] for name, command in host.commands.items()}
            if host.server.launcher:
                host.use_network([server.host for server in hosts.servers.servers])
        try:
            hosts.start()
            yield hosts
        finally:
            for host in hosts.hosts:
                host.__exit__()


def seeded() -> tuple[int, random.Random]:
    """Return a seed and its random numbers."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return seed, random.Random(seed)
