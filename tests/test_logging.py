"""The log of a process on stderr: time and level where nothing else adds them, and JSON for machines."""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dualbus.testing import Cluster, until
from tests.conftest import ROOT
from tests.raw import RawClient, command

WRONG = "DUALBUS_FRONT is 'nonsense': use tcp://127.0.0.1:PORT or ipc://PATH."
GATEWAY = [sys.executable, "-m", "dualbus.gateway"]


@pytest.fixture
def wrong(cluster: Cluster) -> dict[str, str]:
    """An environment in which a process logs one line and ends."""
    return {**cluster.environ, "DUALBUS_FRONT": "nonsense"}


def test_a_line_of_text_has_its_time_and_its_level(wrong: dict[str, str]) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    line = subprocess.run(GATEWAY, env=wrong, cwd=ROOT, capture_output=True, text=True).stderr
    stamp, rest = line.split(maxsplit=1)
    assert before <= datetime.fromisoformat(stamp) <= datetime.now(UTC)
    assert rest == f"ERROR gateway: {WRONG}\n"


def test_on_a_terminal_lines_are_calm(wrong: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(GATEWAY, env=wrong, cwd=ROOT, stderr=theirs)
    with os.fdopen(ours, "rb", 0) as shown:
        assert shown.read(1000).decode() == f"gateway: {WRONG}\r\n"
    os.close(theirs)


def test_under_honcho_lines_have_one_time(wrong: dict[str, str], folder: Path) -> None:
    (folder / "Procfile").write_text(f"gateway: exec {shlex.quote(sys.executable)} -m dualbus.gateway")
    honcho = [sys.executable, "-m", "honcho", "start", "-f", str(folder / "Procfile")]
    shown = subprocess.run(honcho, env=wrong, cwd=ROOT, capture_output=True, text=True).stdout
    [line] = [line for line in shown.splitlines() if "nonsense" in line]
    assert re.fullmatch(rf"\d\d:\d\d:\d\d gateway.1 +\| gateway: {re.escape(WRONG)}", line)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_an_object_a_line_and_a_traceback_is_inside(folder: Path) -> None:
    # Given a cluster that logs JSON, and a decision that raises
    with Cluster(folder, "tests.drain:app", cwd=ROOT, log_format="json") as cluster:
        gateway, commandbus = cluster.start("gateway", "commandbus")
        with RawClient(cluster.front) as client:
            [reply] = client.ask(command("Misbehave", how="raises"))
            assert reply["code"] == 14
        until(lambda: any("traceback" in each for each in objects(commandbus.stderr_text)))

        # When everything has ended
        assert [cluster.stop(name) for name in ("gateway", "commandbus")] == [0, 0]

        # Then every line of every process is a record
        records = objects(commandbus.stderr_text)
        [raised] = [each for each in records if "traceback" in each]
        assert {key: raised[key] for key in ("level", "process", "pid", "logger", "message")} == {
            "level": "error",
            "process": "commandbus",
            "pid": commandbus.pid,
            "logger": "dualbus.commandbus.batch",
            "message": "The decision on Misbehave raised; nothing of it was written.",
        }
        assert raised["traceback"].splitlines()[-1] == "KeyError: 'secret'"
        assert datetime.fromisoformat(raised["time"]).tzinfo == UTC
        assert all(each["process"] == "gateway" for each in objects(gateway.stderr_text))
        assert f"pid {commandbus.pid}" in records[0]["message"]


def test_settings_that_are_wrong_are_reported_in_the_format_of_the_log(wrong: dict[str, str]) -> None:
    wrong |= {"DUALBUS_LOG_FORMAT": "json", "DUALBUS_LOG_LEVEL": "loud"}
    done = subprocess.run(GATEWAY, env=wrong, cwd=ROOT, capture_output=True, text=True)
    assert [(each["level"], each["message"]) for each in objects(done.stderr)] == [
        ("error", WRONG),
        ("error", "DUALBUS_LOG_LEVEL is 'loud': use info, warning or error."),
    ]
    assert done.returncode == 78


def test_a_level_leaves_out_what_is_below_it(folder: Path) -> None:
    with Cluster(folder, "tests.drain:app", cwd=ROOT, log_level="error") as cluster:
        _, commandbus = cluster.start("gateway", "commandbus")
        with RawClient(cluster.front) as client:
            client.ask(command("Misbehave", how="raises"))
        assert cluster.stop("commandbus") == 0
        assert cluster.stop("gateway") == 0
        lines = commandbus.stderr_text.splitlines()
        assert lines[0].endswith(" ERROR commandbus: The decision on Misbehave raised; nothing of it was written.")
        assert lines[1] == "  Traceback (most recent call last):"
        assert cluster.process("gateway").stderr_text == ""


def test_a_text_of_a_client_neither_forges_a_record_nor_controls_the_terminal(folder: Path) -> None:
    forged = "2026-01-31T12:00:00.000Z ERROR gateway: forged"
    with Cluster(folder, "tests.drain:app", cwd=ROOT) as cluster:
        _, commandbus = cluster.start("gateway", "commandbus")
        with RawClient(cluster.front) as client:
            client.ask(command("Misbehave", how=f"\x1b[2J\x9b\r\n{forged}"))
        until(lambda: commandbus.stderr_text.endswith(f"  {forged}\n"))

        lines = commandbus.stderr_text.splitlines()
        [message] = [line for line in lines if " WARNING commandbus: " in line]
        assert message.endswith(rf" WARNING commandbus: The decision logs \u001b[2J\u009b\u000d\u000a{forged}")
        assert [line for line in lines if line.startswith(forged)] == []
        assert lines[-2:] == [r"  ValueError: \u001b[2J\u009b\u000d", f"  {forged}"]
