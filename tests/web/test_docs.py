"""Every call of docs/http.md returns what the page shows."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dualbus.testing import Cluster
from tests.conftest import ROOT

ADDRESS = "http://127.0.0.1:5580"
BLOCKS = re.findall(r"```console\n(.*?)```", (ROOT / "docs" / "http.md").read_text(), re.DOTALL)
CALLS = [call for block in BLOCKS for call in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)]

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None and not os.environ.get("CI"), reason="Needs curl: apt-get install curl."
)


@pytest.fixture(scope="module")
def app() -> str:
    return "users:app"


def test_every_call_returns_what_the_page_shows(site: Cluster, tmp_path: Path) -> None:
    assert len(CALLS) > 10
    for command, shown in CALLS:
        ran = subprocess.run(
            ["bash", "-c", _command(command, site)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        pattern = re.escape(shown.strip()).replace("…", '[^"]+')
        assert re.fullmatch(pattern, ran.stdout.strip()), (command, ran.stdout, ran.stderr)


def _command(shown: str, site: Cluster) -> str:
    """Return a call for this cluster, with more time on a busy machine."""
    return (
        shown.replace(ADDRESS, site.http)
        .replace("data/keys", site.environ["DUALBUS_KEYS"])
        .replace("curl ", "curl -sS ")
        .replace("timeout 1 ", "timeout 4 ")
    )
