"""dualbus timeline"""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from dualbus.cli import output
from dualbus.cli.gateway import Gateway
from dualbus.cli.settings import settings

POSITION_DIGITS_MAX = 19  # of 64 bits
_STEPS = {  # to each stage
    "accepted": "",
    "sent": "queued in the gateway",
    "deciding": "on the way, and queued in commandbus",
    "decided": "the decisions of the batch",
    "committed": "the commit, with its fsync",
    "answered": "on the way back",
    "projected": "in the read model",
}


def timeline(
    command: Annotated[
        str,
        typer.Argument(metavar="KEY|POSITION", help="Key of a command, or position of its event."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show the stages of a recent command, in microseconds.

    The gateway keeps the last 5,000 commands.
    """
    with closing(Gateway(settings())) as gateway:
        found = _find(gateway, {"position": int(command)}) if _is_position(command) else None
        found = found or _find(gateway, {"key": command})
    if found is None:
        kind = "key or position" if _is_position(command) else "key"
        raise output.CliError(
            f"The gateway knows no recent command with the {kind} {command}. `dualbus events` shows older commands."
        )
    if as_json:
        output.json_line(found)
    else:
        _show(found)


def _is_position(text: str) -> bool:
    return text.isdecimal() and len(text) < POSITION_DIGITS_MAX


def _find(gateway: Gateway, params: dict[str, Any]) -> dict[str, Any] | None:
    body = gateway.request({"type": "Timeline", "msg_id": 1, "params": params}, "gateway")
    if body["type"] == "error":
        raise output.CliError(f"The gateway cannot show a timeline: {body['text']}")
    data: dict[str, Any] | None = body["data"]
    return data


def _show(found: dict[str, Any]) -> None:
    """Show a summary and a table of the stages."""
    accepted = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=found["accepted_us"])
    tries = f", {found['tries']} sendings" if found["tries"] > 1 else ""
    late = "; the client had a timeout before" if found["late"] else ""
    at = f"position {found['position']}"
    text = f"{found['type']}: {found['outcome']} at {at}, accepted {accepted:%Y-%m-%dT%H:%M:%S.%fZ}"
    rows = []
    before = 0
    for name, time in found["stages"].items():
        if time is not None:
            rows.append([name, f"{time:,}", f"{time - before:,}" if time else "", _STEPS[name]])
            before = max(before, time) if name != "answered" else before
    output.show(
        output.sentence(f"{text}{tries}{late}."), output.table(["Stage", "After (µs)", "Step (µs)", ""], rows)
    )
