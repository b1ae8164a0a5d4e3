"""A function of the application that calls sys.exit(), or raises what is no Exception, ends nothing but itself."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dualbus.application.loader import load
from dualbus.runtime.errors import ConfigError
from dualbus.testing import Cluster, until
from dualbus.testing.cluster import PROCESSES
from tests.conftest import ROOT
from tests.faults.seeing import process_status, said
from tests.raw import Envelope, RawClient, command, query

RAISED = {
    "exit": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "generator": "GeneratorExit",
    "text": "Speechless",
    "cancel": "CancelledError",
    "panic": "PanicException",
}


@pytest.fixture(params=RAISED)
def leaving(folder: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster whose application raises it."""
    with Cluster(folder, "tests.faults.apps.leaving:app", cwd=ROOT) as cluster:
        cluster.environ |= {"LEAVING_HOW": request.param, "LEAVING_MENDED": str(folder / "mended")}
        cluster.start()
        yield cluster


def add(name: str, at: str = "") -> Envelope:
    return command("Add", name=name, at=at)


def raised(cluster: Cluster) -> str:
    return RAISED[cluster.environ["LEAVING_HOW"]]


@pytest.mark.parametrize("at", ["validator", "rule", "decision", "end of the decision"])
def test_a_command_is_aborted_and_its_neighbours_are_done(leaving: Cluster, at: str) -> None:
    with RawClient(leaving.front) as client:
        one, bad, two = client.ask(add("one"), add("bad", at), add("two"))
        assert (one["success"], bad["code"], two["success"]) == (True, 14, True)
        assert f"raised {raised(leaving)}: nothing was written" in bad["text"]
        assert client.ask(query("Names"))[0]["data"] == ["one", "two"]
    assert all(process.running for process in leaving.processes)


@pytest.mark.parametrize("at", ["state", "upcast"])
def test_a_past_that_cannot_be_read_aborts_the_decisions_that_read_it(leaving: Cluster, at: str) -> None:
    with RawClient(leaving.front) as client:
        client.ask(add("a", "fold it"))
        assert client.ask(add("a", at))[0]["success"] is True
        for _ in range(2):
            bad, good = client.ask(add("a"), add("b"))
            assert (bad["code"], good["success"]) == (14, True)
    assert all(process.running for process in leaving.processes)


@pytest.mark.parametrize("at", ["validator", "query"])
def test_a_query_is_aborted_and_its_neighbours_are_answered(leaving: Cluster, at: str) -> None:
    with RawClient(leaving.front) as client:
        one, bad, two = client.ask(query("Names"), query("Names", at=at), query("Names"))
        assert (one["data"], bad["code"], two["data"]) == ([], 14, [])
        assert f"raised {raised(leaving)}" in bad["text"]
    assert all(process.running for process in leaving.processes)


@pytest.mark.parametrize("at", ["projection", "upcast"])
def test_the_projector_stays_before_the_event_and_goes_on_when_it_is_mended(leaving: Cluster, at: str) -> None:
    with RawClient(leaving.front) as client:
        client.ask(add("before"))
        client.send(add("poison", at))
        how = raised(leaving)
        failed = f"Projection things raised {how}" if at == "projection" else f"The event cannot be read ({how})"
        why = f"{failed} at position 2 (Added)"
        until(lambda: why in process_status(client, "projector").get("state", ""))
        assert why in said(leaving, "projector")
        (leaving.folder / "mended").touch()
        assert client.ask(query("Names"))[0]["data"] == ["before", "poison"]
    assert all(process.running for process in leaving.processes)


def test_all_processes_start_on_a_log_with_an_unreadable_event(leaving: Cluster) -> None:
    with RawClient(leaving.front) as client:
        client.ask(add("before"), add("poison", "upcast"))
        for name in PROCESSES:
            leaving.stop(name)
        leaving.processes.clear()
        leaving.start(*PROCESSES, "web")
        why = f"The event cannot be read ({raised(leaving)}) at position 2 (Added)"
        until(lambda: why in process_status(client, "projector").get("state", ""))
        unreadable = f"cannot read Added: {raised(leaving)}, at position 2."
        until(lambda: all(unreadable in said(leaving, name) for name in ("commandbus", "projector")))
        until(lambda: raised(leaving) in page(leaving, "/page/events"))
        (leaving.folder / "mended").touch()
        assert client.ask(query("Names"))[0]["data"] == ["before", "poison"]
    assert all(process.running for process in leaving.processes)


def page(cluster: Cluster, path: str) -> str:
    asked = urllib.request.Request(cluster.http + path, headers=cluster.http_headers)
    with suppress(OSError), urllib.request.urlopen(asked, timeout=10) as answer:
        return str(answer.read().decode())
    return ""


@pytest.mark.parametrize("at", ["projection", "upcast"])
def test_commands_that_read_the_log_report_it(leaving: Cluster, at: str) -> None:
    with RawClient(leaving.front) as client:
        client.ask(add("before"), add("poison", at))
    if at == "projection":  # which verify calls once the live read model is past the event
        (leaving.folder / "mended").touch()
        with RawClient(leaving.front) as client:
            until(lambda: client.ask(query("Names"))[0]["data"] == ["before", "poison"])
        (leaving.folder / "mended").unlink()
    for line in ("verify",) if at == "projection" else ("verify", "events"):
        arguments = [sys.executable, "-m", "dualbus", line]
        done = subprocess.run(arguments, env=leaving.environ, cwd=ROOT, capture_output=True, text=True, check=False)
        if leaving.environ["LEAVING_HOW"] != "interrupt":  # which is Ctrl-C there
            assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
            assert raised(leaving) in done.stderr
            assert "osition 2" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_application_that_exits_while_it_is_imported_cannot_be_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "exits.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ConfigError, match=r"Module 'exits' cannot be imported: SystemExit: 0 \(.*exits.py, line 2\)"):
        load("exits:app")
