"""The page docs/machines.md from one machine to three: its commands are run in network namespaces."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dualbus.testing import until
from tests.conftest import ROOT
from tests.machines.networks import NETWORK, Network, needs_namespaces
from tests.machines.servers import needs_nats

pytestmark = [needs_nats, needs_namespaces, pytest.mark.timeout(300)]
PAGE = (ROOT / "docs" / "machines.md").read_text()
DEPLOY = ROOT / "deploy" / "machines"
SCP = """#!/bin/sh
# Copy $2 to a path of a host: the hosts of the test are folders.
to=${3%%:*}
cp -r "$2" FOLDER/${to##*.}${3#*:}
"""


def steps() -> list[tuple[str, str]]:
    """Return where and what the page runs, in order."""
    section = PAGE.partition("## From one machine to three")[2].partition("\n## ")[0]
    found = re.findall(r"^On ([^\n]*):\n\n```sh\n(.*?)```$", section, re.MULTILINE | re.DOTALL)
    assert len(found) == section.count("```sh") == 5
    return found


class Place:
    """A host: a namespace, and a folder for its files."""

    def __init__(self, folder: Path, namespace: str, number: int) -> None:
        self.folder = folder / str(number)
        self.number = number
        self.address = f"{NETWORK}.{number}"
        self.running: list[subprocess.Popen[bytes]] = []
        self._launcher = ["ip", "netns", "exec", namespace, "sh", "-e", "-c"]
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("DUALBUS_")}
        self._environ["PATH"] = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        for name in ("etc", "var/lib"):
            (self.folder / name).mkdir(parents=True)
        self._edit("nats.conf", "nats-server.conf")
        self._edit("dualbus.env", "dualbus.env.new")

    def _edit(self, name: str, target: str) -> None:
        """Copy a file with the addresses of this host, as an operator does: the own address is the first."""
        text = (DEPLOY / name).read_text().replace("shop:app", "users:app").replace("host1", self.name)
        own, first = f"10.0.0.{self.number}", "10.0.0.1"
        text = re.sub(f"{own}|{first}", lambda found: own if found[0] == first else first, text)
        (self.folder / "etc" / target).write_text(self.local(text))

    @property
    def name(self) -> str:
        return f"host{self.number}"

    def local(self, text: str) -> str:
        """Return a text with the paths and addresses of the test; `scp` replaces the path on the other host."""
        text = re.sub(r"(?<![:\w])/(etc|var/lib)/", rf"{self.folder}/\1/", text)
        return text.replace("10.0.0.", f"{NETWORK}.").replace("HOST_NAME=host1", f"HOST_NAME={self.name}")

    def start(self, commands: str) -> None:
        """Run commands in the background."""
        *before, last = self.local(commands).strip().splitlines()
        text = "\n".join([*before, re.sub(r"^((?:\w+=\S+ )*)", r"\1exec ", last)])
        with (self.folder / f"{len(self.running)}.log").open("wb") as log:
            self.running.append(
                subprocess.Popen([*self._launcher, text], cwd=ROOT, env=self._environ, stdout=log, stderr=log,
                                 stdin=subprocess.DEVNULL)
            )  # fmt: skip

    def run(self, commands: str) -> str:
        """Run commands; return their output."""
        command = [*self._launcher, self.local(commands)]
        ran = subprocess.run(command, cwd=ROOT, env=self._environ, capture_output=True, text=True, timeout=100)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def stop(self, number: signal.Signals) -> None:
        """End the command started last."""
        process = self.running.pop()
        process.send_signal(number)
        process.wait()


@contextmanager
def places(folder: Path) -> Iterator[list[Place]]:
    """Create three hosts; end their processes afterwards."""
    scp = folder / "bin" / "scp"
    scp.parent.mkdir()
    scp.write_text(SCP.replace("FOLDER", str(folder)))
    scp.chmod(scp.stat().st_mode | stat.S_IXUSR)
    network = Network()
    hosts: list[Place] = []
    try:
        network.create()
        hosts += [Place(folder, name, number) for number, name in enumerate(network.names, 1)]
        yield hosts
    finally:
        for host in hosts:
            while host.running:
                host.stop(signal.SIGTERM)
        network.remove()


def test_the_commands_of_the_page_move_a_running_cluster_to_three_hosts(folder: Path) -> None:
    start_servers, copy, copy_again, start_cluster, check = steps()
    began = time.monotonic()
    with places(folder) as hosts:
        first, second, _ = hosts
        (first.folder / "var/lib/dualbus").mkdir(mode=0o700)
        one_machine = "export DUALBUS_DATA=/var/lib/dualbus\n"
        first.start(f"{one_machine}honcho start gateway commandbus projector querybus")
        create = "dualbus command --key k1 CreateUser name=Ada email=ada@example.org"
        before = first.run(one_machine + create)
        one_cluster = first.running.pop()

        assert start_servers[0] == start_cluster[0] == "each host"
        for host in hosts:
            host.start(start_servers[1])
        assert copy[0] == copy_again[0] == f"10.0.0.{first.number}"
        assert "commandbus is running: stop it" in first.run(copy[1])
        one_cluster.send_signal(signal.SIGTERM)
        one_cluster.wait()
        assert "The log has moved" in first.run(copy_again[1])
        for host in hosts:
            host.start(start_cluster[1])
        assert check[0] == f"10.0.0.{second.number}"

        def lines() -> str:
            output = second.run(check[1])
            roles = re.findall(r"host[123] +(active|standby)", output)
            assert sorted(roles) == ["active", "standby", "standby"], output
            return output

        until(lines, 90)
        settings = "set -a; . /etc/dualbus.env; set +a\n"
        assert second.run(settings + create) == before
        print(f"{time.monotonic() - began:.0f} s")
        first.stop(signal.SIGKILL)
        first.stop(signal.SIGKILL)
        more = "dualbus command --timeout 60 CreateUser name=Grace email=grace@example.org"
        assert "Grace" in second.run(settings + more)
