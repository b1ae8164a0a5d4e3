"""The log of one machine beside a log on three servers, in turns within one run: python -m tests.machines.speed."""

import shutil
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

from dualbus.log.contract import Log
from dualbus.log.nats.address import read_address
from dualbus.log.nats.commit_log import NatsCommitLog
from dualbus.log.sqlite.shared import SharedLog
from dualbus.log.sqlite.writer import SqliteLog
from dualbus.testing.log_contract import GENESIS, decided, event
from tests.machines.servers import running_servers

DATA = '{"id": "u-1", "name": "Somebody", "email": "somebody@example.com"}'


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="db"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        servers = stack.enter_context(running_servers(folder, 3))
        commits = NatsCommitLog(read_address(servers.url()), create=True)
        logs: dict[str, Log] = {
            "one machine": stack.enter_context(closing(SqliteLog(folder / "one", lambda secret: GENESIS))),
            "three servers": stack.enter_context(
                closing(SharedLog(folder / "three", commits, lambda secret: GENESIS, "h"))
            ),
        }
        for size, rounds in ((1, 200), (256, 60)):
            seconds: dict[str, list[float]] = {name: [] for name in logs}
            for number in range(rounds):
                batch = [decided(f"{size}.{number}.{n}", event(f"user:{number}.{n}", data=DATA)) for n in range(size)]
                for name, log in logs.items():
                    began = time.perf_counter()
                    log.append(batch)
                    seconds[name].append(time.perf_counter() - began)
            print(f"{size} commands:", ", ".join(f"{name} {median(s) * 1000:.2f} ms" for name, s in seconds.items()))


if __name__ == "__main__":
    main()
