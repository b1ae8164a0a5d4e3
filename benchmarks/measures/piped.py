"""Throughput of a file of messages on the gateway's standard input."""

import json
import shutil
import subprocess
from pathlib import Path
from time import perf_counter

from benchmarks import cluster
from benchmarks.stage import Stage

PATIENCE_SECONDS = 60.0


def measure_stdin(stage: Stage) -> None:
    folder, lines = stage.folder("stdin"), stage.scale.lines
    messages, answers = folder / "messages.jsonl", folder / "answers.jsonl"
    messages.write_text("".join(f"{json.dumps(_message(number))}\n" for number in range(lines)))
    with cluster.prepared(folder) as ours:
        with answers.open("wb") as stdout:
            ours.start("commandbus", "projector", "querybus")
            ours.start("gateway", stdin=subprocess.PIPE, stdout=stdout)
        ours.wait_until_working()
        started = perf_counter()
        _pipe(messages, ours.process("gateway"))
        stage.results.add("stdin.per_second", lines / (perf_counter() - started))
    _check(answers, lines)


def _pipe(messages: Path, gateway: "subprocess.Popen[bytes]") -> None:
    """Write the messages, and wait until the gateway has replied and exited at the end of input."""
    assert gateway.stdin is not None
    with messages.open("rb") as file, gateway.stdin as pipe:
        shutil.copyfileobj(file, pipe)
    gateway.wait(PATIENCE_SECONDS)


def _message(number: int) -> dict[str, object]:
    if number % 2:
        query = {"type": "GetUser", "msg_id": number, "params": {"user_id": "user-123"}}
        return {"src": "client", "dest": "querybus", "body": query}
    user = {"name": f"user {number:08d}", "email": f"user{number:08d}@example.com"}
    command = {"type": "CreateUser", "msg_id": number, "payload": user}
    return {"src": "client", "dest": "commandbus", "body": command}


def _check(answers: Path, lines: int) -> None:
    bodies = [json.loads(line) for line in answers.read_text().splitlines()]
    bad = [body for body in bodies if body["type"] == "error" or body.get("success") is False]
    if bad or len(bodies) != lines:
        raise RuntimeError(f"{lines} messages were answered {len(bodies)} times, and {len(bad)} badly: {bad[:1]}.")
