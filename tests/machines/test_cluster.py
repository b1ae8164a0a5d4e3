"""The cluster of `make cluster`: three hosts for a demonstration."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from dualbus.testing import until
from tests.conftest import ROOT
from tests.machines.hosts import NUMBER
from tests.machines.servers import needs_nats

pytestmark = [needs_nats, pytest.mark.timeout(120)]


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    environ = {name: value for name, value in os.environ.items() if name != "DUALBUS_KEYS"}
    command = [sys.executable, "-m", "tests.machines.cluster"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as popen:
        yield popen
        popen.kill()


def test_three_pages_show_the_same_roles_until_ctrl_c(program: subprocess.Popen[str]) -> None:
    assert program.stdout
    lines = [program.stdout.readline() for _ in range(NUMBER + 3)]
    assert sum("(writes now)" in line for line in lines) == 1
    pages = re.findall(r"http://\S+", "".join(lines))
    assert len(pages) == NUMBER

    def roles(page: str) -> list[str]:
        with httpx.Client(follow_redirects=True, timeout=10) as browser:
            try:
                return re.findall(r'<th scope="row">h\d</th>\s*<td>(\w+)</td>', browser.get(page).text)
            except httpx.TransportError:
                return []

    until(lambda: len({tuple(roles(page)) for page in pages}) == 1 and len(roles(pages[0])) == NUMBER)
    assert sorted(roles(pages[0])) == ["active", "standby", "standby"]

    program.send_signal(signal.SIGINT)
    assert program.wait(60) == 0
