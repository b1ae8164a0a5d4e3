"""The tutorial, done from its first block to its last, as a reader would; and the page on writing an application."""

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dualbus import App
from dualbus.testing import Cluster, from_log, until
from tests.conftest import ROOT

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
WRITING = (ROOT / "docs" / "writing.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def pattern(line: str) -> str:
    """Return a pattern for a line of output, in which … stands for anything."""
    return ".*".join(re.escape(part) for part in line.split("…"))


class Reader:
    """Does what each block says, in one terminal. In another `dualbus dev` runs, here only while it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = Cluster(folder, "library:app").environ | {"DUALBUS_DATA": "data", "COLUMNS": "80"}
        del self.environ["DUALBUS_KEYS"]  # the keys of the data folder
        self.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.dev: subprocess.Popen[bytes] | None = None
        self.said = folder / "said"

    def console(self, title: str, text: str) -> None:
        """Run commands, and see that each gives the lines that are shown below it."""
        for command, *shown in (part.splitlines() for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]):
            if command.startswith("cd "):
                self.folder /= command.removeprefix("cd ")
            elif command != "dualbus dev":
                self.run(command, shown)

    def run(self, command: str, shown: list[str]) -> None:
        if command.startswith(("dualbus command", "dualbus query")):
            self.start_dev()
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, env=self.environ, capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 or shown, said
        for line in shown:
            assert re.search(pattern(line), said), f"{line!r} is not in what {command!r} gave: {said}"

    def python(self, title: str, text: str) -> None:
        """Write a file."""
        self.stop_dev()
        (self.folder / title).write_text(text)

    def diff(self, title: str, text: str) -> None:
        """Change a file."""
        self.stop_dev()
        path, lines = self.folder / title, text.splitlines()
        before = "\n".join(line[1:] for line in lines if line[0] in " -")
        after = "\n".join(line[1:] for line in lines if line[0] in " +")
        assert path.read_text().count(before) == 1, before
        path.write_text(path.read_text().replace(before, after))

    def text(self, title: str, text: str) -> None:
        """See that `dualbus dev` says this."""
        self.start_dev()
        until(lambda: re.search(pattern(text.strip()), self.said.read_text()), what=text)
        self.stop_dev()

    def start_dev(self) -> None:
        if self.dev:
            return
        with self.said.open("wb") as out:
            self.dev = subprocess.Popen(
                ["dualbus", "dev"],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def stop_dev(self) -> None:
        if self.dev:
            self.dev.send_signal(signal.SIGTERM)
            self.dev.wait()
            self.dev = None


@pytest.mark.timeout(600)  # a score of commands, one after the other
def test_every_block_of_the_tutorial_does_what_it_says(folder: Path) -> None:
    reader = Reader(folder)
    blocks = BLOCK.findall(TUTORIAL)
    assert len(blocks) == TUTORIAL.count("\n```") // 2
    try:
        for language, title, text in blocks:
            getattr(reader, language)(title, text)
    finally:
        reader.stop_dev()


@pytest.mark.processes
def test_every_block_of_the_page_on_writing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall(WRITING)
    assert {language for language, _, _ in blocks} == {"python"}
    (tmp_path / "members.py").write_text("\n".join(text for _, _, text in blocks))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("DUALBUS_KEYS")

    written = importlib.import_module("members")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in vars(written) if name.startswith("test_")]:
        vars(written)[name]()

    del written.Registered  # as its author does
    app = App(queries=[written.count_members], events=[written.MemberJoined], upcasts=written.upcasts)
    old = from_log(app, "Registered", id="1", name="Ada Lovelace", email="ada@example.org")
    assert old == written.MemberJoined(id="1", first_name="Ada", last_name="Lovelace", email="ada@example.org")
