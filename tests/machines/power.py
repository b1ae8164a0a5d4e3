"""Power cuts of three NATS servers on disks of their own: python -m tests.machines.power --cuts 20 [--late-sync].

Each server stores on an image behind a loop device. A copy of the image is what a disk holds after a power cut: the
blocks that the kernel has written, without those in its memory.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from signal import SIGSTOP
from unittest.mock import patch

from dualbus.log.contract import LogError
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from tests.machines.servers import Server, Servers

IMAGE_BYTES = 128 << 20
WRITE_SECONDS = 3.0
READ_SECONDS = 40.0  # for the servers to elect a leader of the stream


def mounts_allowed() -> bool:
    """Return whether this process may mount images."""
    with tempfile.TemporaryDirectory() as name:
        try:
            with _mounted(_new_image(Path(name) / "image"), Path(name)):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def _new_image(path: Path) -> Path:
    with path.open("wb") as image:
        image.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(path)], check=True, capture_output=True)
    return path


@contextmanager
def _mounted(image: Path, folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def _store(server: Server) -> Path:
    return Path(server._folder)


def cut_power(folder: Path, sync_interval: str = "always", seconds: float = WRITE_SECONDS) -> tuple[int, int]:
    """Cut the power of all servers under load; return how many commits were acknowledged, and how many are left."""
    folder.mkdir()
    servers = Servers(folder, 3, sync_interval=sync_interval)
    images = [_new_image(folder / f"{server.name}.image") for server in servers.servers]
    acknowledged: list[bytes] = []
    with ExitStack() as stack:
        for server, image in zip(servers.servers, images, strict=True):
            stack.enter_context(_mounted(image, _store(server)))
        stack.callback(servers.stop)
        servers.start()
        with closing(NatsCommitLog(read_address(servers.url()), create=True)) as log:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                body = b"%d" % len(acknowledged) * 50
                assert log.put(len(acknowledged) + 1, body, 20)
                acknowledged.append(body)
            for server in servers.servers:
                server.send(SIGSTOP)
            for image in images:
                shutil.copyfile(image, image.with_suffix(".cut"))
            servers.stop()
    with ExitStack() as stack:
        for server, image in zip(servers.servers, images, strict=True):
            stack.enter_context(_mounted(image.with_suffix(".cut"), _store(server)))
        stack.callback(servers.stop)
        for server in servers.servers:
            server.start()
        return len(acknowledged), _left(servers, acknowledged)


def _left(servers: Servers, acknowledged: list[bytes]) -> int:
    """Return how many of the acknowledged commits the stream has, within READ_SECONDS."""
    until = time.monotonic() + READ_SECONDS
    left = 0
    while left < len(acknowledged) and time.monotonic() < until:
        try:
            with closing(NatsCommitLog(read_address(servers.url()), create=False)) as log:
                while bodies := log.get(left, 1000):
                    assert bodies == acknowledged[left : left + len(bodies)]
                    left += len(bodies)
        except LogError:
            time.sleep(0.2)
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--late-sync", action="store_true", help="the default of NATS, which commandbus refuses")
    arguments = parser.parse_args()
    counts = []
    with tempfile.TemporaryDirectory(prefix="db") as name, ExitStack() as stack:
        if arguments.late_sync:
            stack.enter_context(patch("dualbus.log.nats.commit_log.server_errors", return_value=[]))
        for number in range(arguments.cuts):
            counts.append(cut_power(Path(name) / str(number), "" if arguments.late_sync else "always"))
            print(f"cut {number + 1}: {counts[-1][0]} acknowledged, {counts[-1][1]} left", flush=True)
            shutil.rmtree(Path(name) / str(number))
    acknowledged, left = map(sum, zip(*counts, strict=True))
    print(f"{len(counts)} cuts, {acknowledged} acknowledged, {acknowledged - left} lost")
    return int(left < acknowledged)


if __name__ == "__main__":
    sys.exit(main())
