"""dualbus dev"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import watchfiles

from dualbus.cli import output
from dualbus.runtime.errors import EXIT_UNAVAILABLE
from dualbus.runtime.signals import stop_signals

POLL_MS = 200  # between checks for the end of the cluster
STOP_SECONDS = 10
WATCHED = {".py", ".env", "Procfile"}


def dev() -> None:
    """Run the cluster and restart it after every file change.

    Runs the Procfile of this folder. The gateway reads standard input, as with honcho; the end of the input ends the
    cluster. /dev/null is no input.
    """
    folder = Path.cwd()
    if not (folder / "Procfile").exists():
        raise output.WrongUse(
            "No Procfile in this folder: change to the folder of an application, or create one with `dualbus new`."
        )
    stop = _stop_on_signals()
    cluster, reported = _start(), False
    try:
        for changed in _changes(folder, stop):
            if changed:
                _stop(cluster)
                output.note(f"{', '.join(sorted(changed))} changed: restarting.")
                cluster, reported = _start(), False
            elif cluster.poll() == 0:
                return
            elif cluster.poll() == EXIT_UNAVAILABLE:
                raise output.CliError(
                    "Another cluster runs here: stop it, or set other addresses and another folder."
                )
            elif cluster.poll() is not None and not reported:
                reported = True
                output.note(f"The cluster has ended with exit code {cluster.returncode}: waiting for a change.")
    finally:
        _stop(cluster)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in stop_signals():
        signal.signal(number, handle)
    return stop


def _changes(folder: Path, stop: threading.Event) -> Iterator[set[str]]:
    """Yield the names of changed files, at least every POLL_MS: an empty set without changes."""
    watch = watchfiles.watch(
        folder,
        watch_filter=_Sources(),
        stop_event=stop,
        debounce=POLL_MS,
        rust_timeout=POLL_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    )
    return ({Path(path).name for _, path in changes} for changes in watch)


class _Sources(watchfiles.DefaultFilter):
    """The files of an application."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        name = Path(path)
        return (name.suffix in WATCHED or name.name in WATCHED) and super().__call__(change, path)


def _start() -> subprocess.Popen[bytes]:
    """Start the Procfile in this process group: in another group, the gateway could not read the terminal."""
    beside = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [sys.executable, "-m", "dualbus.cli.honcho", str(os.getpid()), "start"]
    return subprocess.Popen(command, env=environ)  # noqa: S603


def _stop(cluster: subprocess.Popen[bytes]) -> None:
    if cluster.poll() is None:
        cluster.terminate()
        try:
            cluster.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            cluster.kill()
            cluster.wait()
