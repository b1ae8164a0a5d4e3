"""A power cut of all machines loses no acknowledged commit."""

from pathlib import Path

import pytest

from tests.machines.power import cut_power, mounts_allowed
from tests.machines.servers import needs_nats

pytestmark = [needs_nats, pytest.mark.timeout(120)]


def test_a_power_cut_of_all_servers_loses_no_acknowledged_commit(folder: Path) -> None:
    if not mounts_allowed():
        pytest.skip("needs mkfs.ext4, and the right to mount images")
    acknowledged, left = cut_power(folder / "cut", seconds=1.0)

    assert left == acknowledged > 0
