"""What the documents show is what happens."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dualbus.client.call import Call
from dualbus.client.sessions import SessionState
from dualbus.gateway.access import CLUSTER
from dualbus.gateway.envelope import read_request
from dualbus.protocol import codec, codes, frames
from dualbus.protocol.batches import packed_messages, read_batch
from dualbus.testing import Cluster
from tests.conftest import ROOT
from web.problems import problem_of

README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.timeout(600)  # the first `make` in a checkout installs everything
def test_the_session_of_the_readme(cluster: Cluster, folder: Path) -> None:
    session = README.split("<!-- session -->")[1].split("```")[1]
    sent, received = re.fullmatch(
        r"sh\n\$ cat > messages\.json\n(.*)\$ make run < messages\.json\n(.*)", session, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    (folder / "messages.json").write_text(sent)

    with (folder / "messages.json").open() as messages:
        ran = subprocess.run(
            ["make", "run"], cwd=ROOT, env=cluster.environ, stdin=messages, capture_output=True, text=True
        )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    replies = re.findall(r"gateway\.1 +\| (\{.*\})", ran.stdout)
    patterns = [re.escape(line).replace("…", ".+") for line in received.splitlines()]
    for pattern in patterns:
        assert any(re.fullmatch(pattern, reply) for reply in replies), (pattern, ran.stdout)
    assert len(replies) == len(patterns)


def test_the_application_of_the_readme_is_the_one_that_ships() -> None:
    [shown] = blocks(README, "python")
    shipped = "\n".join(path.read_text() for path in (ROOT / "users").glob("*.py"))
    squeezed = re.sub(r"\s+", "", re.sub(r"#.*", "", shipped))
    for function in re.findall(r"^(?:def|class) .*\n(?:    .*\n)+", shown, re.MULTILINE):
        assert re.sub(r"\s+", "", re.sub(r"#.*", "", function)) in squeezed, function


ERRORS = (ROOT / "docs" / "errors.md").read_text()


@pytest.mark.parametrize("command", [False, True])
@pytest.mark.parametrize("row", re.findall(r"^\| (\d+) .*", ERRORS, re.MULTILINE))
def test_the_table_of_errors_is_complete(row: str, command: bool) -> None:
    """Each code becomes the class and the status of its row."""
    rows = [line.split(" | ") for line in re.findall(rf"^\| {row} .*", ERRORS, re.MULTILINE)]
    assert {int(number) for number in re.findall(r"^\| (\d+) ", ERRORS, re.MULTILINE)} == {*map(int, codes.Code)}
    for code, class_, status, executed, _ in rows:
        details = {"problems": [{"field": None, "code": "key_used"}]} if "key_used" in code else {}
        call = Call(1, "Do", "commandbus", "k1" if command else None, b"", 5.0, SessionState(0))
        error, _ = call.outcome(7, codes.error(1, codes.Code(int(row)), "No"), details)
        perhaps = command and "perhaps" in executed

        assert type(error).__name__ == class_.strip("`")
        assert error.outcome_known is not (perhaps or "yes" in executed)
        assert problem_of(error).status == int(re.findall(r"\d+", status)[0 if command else -1])


def test_the_messages_of_the_protocol() -> None:
    messages, replies, to_gateway = blocks(PROTOCOL, "json")
    for line in (messages + to_gateway).splitlines():
        assert read_request(json.loads(line), CLUSTER).msg_id in (1, 2, 3)
    for line in replies.splitlines():
        assert json.dumps(json.loads(line)) == line


def test_the_batches_of_the_protocol() -> None:
    [shown] = blocks(PROTOCOL, "hex")
    sent, replied = (bytes.fromhex(line) for line in shown.splitlines())

    [message] = codec.unpack_hostile(packed_messages([sent]))
    assert read_request(message, CLUSTER).dest == "querybus"
    kind, [reply] = read_batch([replied])
    assert kind == frames.REPLY
    assert reply["body"]["data"] == {"id": "user-123", "name": "John Doe"}


@pytest.mark.parametrize("kind", sorted(name for name in vars(frames) if isinstance(getattr(frames, name), str)))
def test_every_kind_of_message_is_in_the_protocol(kind: str) -> None:
    if not kind.startswith("_"):
        assert f"`{getattr(frames, kind)}`" in PROTOCOL


def test_every_error_code_is_in_the_protocol() -> None:
    for code in codes.Code:
        definite = "yes" if code.definite else "no"
        assert re.search(rf"^\| {int(code)} \| [^|]+ \| {definite} \|", PROTOCOL, re.MULTILINE), code


def test_files_that_the_documents_name_are_there() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = document.read_text()
        for path in re.findall(r"`((?:dualbus|gateway|commandbus|projector|querybus|users|tests)/[\w/.]+)`", text):
            assert (ROOT / path).exists(), (document.name, path)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (document.parent / target).exists(), (document.name, target)


def test_the_makefile_is_the_same_for_ci_and_for_people() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make")]
    assert commands == ["make check", "make test", "make test-faults"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert sys.version_info >= (3, 11)
