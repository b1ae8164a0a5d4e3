"""dualbus new makes an application that is tested and runs; dualbus dev runs it again when it changes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualbus.cli.main import main
from dualbus.testing import Cluster, until

DUALBUS = [sys.executable, "-m", "dualbus"]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without the settings of these tests, which its users do not have."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DUALBUS_")}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def made(folder: Path) -> Path:
    """A new application."""
    done = run([*DUALBUS, "new", "shop"], folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "shop"


def test_the_tests_of_a_new_application_pass(made: Path) -> None:
    done = run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], made)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_the_code_of_a_new_application_is_clean(made: Path) -> None:
    for check in (
        ["ruff", "check", "--isolated", "--select", "E,F,I,UP,B"],
        ["ruff", "format", "--isolated", "--check"],
    ):
        done = run([sys.executable, "-m", *check, "."], made)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("shop", 1, "shop already exists: use another name or another folder."),
        ("My-Shop", 2, "'My-Shop' cannot be the name of a package: use small letters, such as myapp."),
        ("../shop", 2, "'../shop' cannot be the name of a package: use small letters, such as myapp."),
        ("class", 2, "'class' cannot be the name of a package: use small letters, such as myapp."),
        ("json", 2, "Package json already exists: use another name."),
        ("data", 2, "data is the folder of the log, which .gitignore excludes: use another name."),
        ("tests", 2, "Package tests already exists: use another name."),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shop").mkdir()
    assert main(["new", name]) == code
    assert capsys.readouterr() == ("", sentence + "\n")
    assert [*tmp_path.rglob("*")] == [tmp_path / "shop"]


class Dev:
    """A `dualbus dev` that runs."""

    def __init__(self, made: Path, said: str = "said") -> None:
        self.said = made.parent / said
        environ = Cluster(made.parent, "shop:app").environ | {"DUALBUS_DATA": "data"}
        with self.said.open("wb") as out:
            self.process = subprocess.Popen(
                [*DUALBUS, "dev"], cwd=made, env=environ, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT
            )

    def send(self, **body: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"src": "t", "body": body}).encode() + b"\n")
        self.process.stdin.flush()

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.said.read_text(), what=f"{text!r} in {self.said.read_text()}")


@pytest.fixture
def dev(made: Path) -> Iterator[Dev]:
    running = Dev(made)
    yield running
    assert running.process.stdin
    running.process.send_signal(signal.SIGTERM)
    running.process.wait()
    running.process.stdin.close()


def test_a_changed_file_starts_the_cluster_again(made: Path, dev: Dev) -> None:
    # Given a cluster that runs, and an item
    dev.send(type="AddItem", msg_id=1, payload={"name": "Lamp"})
    dev.wait_for('"in_reply_to": 1, "success": true')

    # When a mistake is made, then it says so and waits
    decisions = made / "shop" / "decisions.py"
    right = decisions.read_text()
    decisions.write_text(right + "\nnonsense =\n")
    dev.wait_for("decisions.py changed: restarting.")
    dev.wait_for("The cluster has ended with exit code")

    # When the mistake is gone and a rule has changed, then the new rule holds, for what was there before as well
    decisions.write_text(right.replace("There is already an item", "You have got a"))
    dev.send(type="AddItem", msg_id=2, payload={"name": "Lamp"})
    dev.wait_for('"in_reply_to": 2, "success": false, "errors": ["You have got a Lamp"]')


def test_the_end_of_the_input_is_the_end(made: Path, dev: Dev) -> None:
    dev.send(type="AddItem", msg_id=1, payload={"name": "Lamp"})
    assert dev.process.stdin
    dev.process.stdin.close()
    assert dev.process.wait() == 0
    dev.wait_for('"in_reply_to": 1, "success": true')

    # And the command line knows the application from the folder, as the cluster did
    done = run([*DUALBUS, "verify"], made)
    assert "The log is whole: positions 1 to 1" in done.stdout, done.stderr


def test_a_second_one_in_the_folder_ends_and_leaves_the_first(made: Path, dev: Dev) -> None:
    dev.send(type="AddItem", msg_id=1, payload={"name": "Lamp"})
    dev.wait_for('"in_reply_to": 1, "success": true')

    second = Dev(made, "said by the second")
    assert second.process.wait() == 1
    second.wait_for("Another cluster runs here: stop it, or set other addresses and another folder.")
    assert second.process.stdin
    second.process.stdin.close()

    dev.send(type="AddItem", msg_id=2, payload={"name": "Desk"})
    dev.wait_for('"in_reply_to": 2, "success": true')


def test_a_folder_without_a_procfile_is_told(folder: Path) -> None:
    done = run([*DUALBUS, "dev"], folder)
    sentence = (
        "No Procfile in this folder: change to the folder of an application, or create one with `dualbus new`.\n"
    )
    assert (done.returncode, done.stderr) == (2, sentence)
