"""Every block of docs/clients.md runs."""

import re

import pytest

from dualbus import Client
from dualbus.testing import Cluster
from tests.conftest import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.DOTALL)


def test_every_block_of_the_page_on_clients(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in running.environ.items():
        if name.startswith("DUALBUS_"):
            monkeypatch.setenv(name, value)
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/clients.md, block {number + 1}", "exec"), {})
    with Client() as client:
        names = [user["name"] for user in client.query("ListUsers", limit=1000)]
        rest = client.query("ListUsers", {"limit": 1000, "after": client.query("ListUsers", limit=1000)[-1]["id"]})
    assert len(names) + len(rest) == 1 + 1 + 2 + 1000 + 1 + 1  # genesis, and what the blocks made
