"""Three "hosts" on loopback addresses of this machine, until Ctrl-C: make cluster."""

import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from dualbus.runtime.tokens import operator_token
from tests import keyring
from tests.machines.hosts import NUMBER, Host, Hosts
from tests.machines.servers import Server, Servers

FIRST = 11  # of 127.0.0.11: the addresses of a single cluster stay free


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="dualbus-cluster-"))
    os.environ["DUALBUS_KEYS"] = str(keyring.FOLDER)  # the hosts share the keys of the cluster
    servers = Servers(folder, NUMBER)
    hosts = Hosts(folder, servers)
    for number, host in enumerate(hosts.hosts):
        address = f"127.0.0.{FIRST + number}"
        host.environ["DUALBUS_FRONT"] = f"tcp://{address}:5570"
        host.environ["DUALBUS_HTTP"] = f"http://{address}:5580"
    try:
        servers.start()
        hosts.start()
        for host in hosts.hosts:
            host.start("reactor", "web")
        active = hosts.active()
        for host in hosts.hosts:
            show(host, " (writes now)" if host is active else "")
        token = operator_token(keyring.FOLDER)
        print("The pages: " + " ".join(f"{host.http}/?token={token}" for host in hosts.hosts))
        print(f"Clients need DUALBUS_KEYS={keyring.FOLDER}.")
        print("Ctrl-C stops all. Kill a host, for example, with the command at its end.", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
    finally:
        for host in hosts.hosts:
            host.__exit__()
        servers.stop()
        for made in (folder, keyring.FOLDER):
            shutil.rmtree(made, ignore_errors=True)
    return 0


def show(host: Host, role: str) -> None:
    """Print the addresses of a host, and how to kill it."""
    server: Server = host.server
    assert server.popen
    pids = " ".join(str(pid) for pid in (server.popen.pid, *(process.pid for process in host.processes)))
    print(f"host {host.number}: DUALBUS_FRONT={host.front} data in {host.data}{role}; kill -9 {pids}")


if __name__ == "__main__":
    sys.exit(main())
