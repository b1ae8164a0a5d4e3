"""dualbus status"""

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live

from dualbus.cli import output
from dualbus.cli.gateway import Gateway
from dualbus.cli.settings import settings

WATCH_SECONDS = 1.0
_SHOWN = ("name", "pid", "state", "position", "in_flight", "uptime_s", "seen_s")  # in columns of their own
_HIDDEN = (
    "writers",
    "histograms",
)  # too long for a table


def status(
    watch: Annotated[bool, typer.Option(help="Refresh every second, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
) -> None:
    """Show processes, positions and queues of the cluster."""
    show: Callable[[dict[str, Any]], None] = output.json_line if as_json else _show
    with closing(Gateway(settings())) as gateway, ExitStack() as stack:
        stack.enter_context(suppress(KeyboardInterrupt))
        if watch and not as_json and sys.stdout.isatty():
            live = stack.enter_context(Live(console=Console(highlight=False), auto_refresh=False))
            show = lambda data: live.update(Group(*_shown(data)), refresh=True)  # noqa: E731
        while True:
            show(_status(gateway))
            output.flush()
            if not watch:
                return
            output.sleep_or_exit(WATCH_SECONDS)


def _status(gateway: Gateway) -> dict[str, Any]:
    body = gateway.request({"type": "Status", "msg_id": 1}, "gateway")
    if body["type"] == "error":
        raise output.CliError(f"The gateway cannot report its status: {body['text']}")
    data: dict[str, Any] = body["data"]
    return data


def _show(data: dict[str, Any]) -> None:
    output.show(*_shown(data))


def _shown(data: dict[str, Any]) -> list[Any]:
    """Return a summary and a table of the processes."""
    head, model = data["log_position"], data["read_model_position"]
    lag = "" if data["lag_events"] is None else f", {data['lag_events']} events behind"
    text = f"Log at position {'?' if head is None else head}, read model at {'?' if model is None else model}{lag}."
    rows = [[*(process.get(name) for name in _SHOWN), _rest(process)] for process in data["processes"]]
    columns = ["Process", "Pid", "State", "Position", "In flight", "Up (s)", "Seen (s ago)", "Counters"]
    return [
        output.sentence(text),
        output.table(columns, rows),
        *_machines(data),
        output.sentence(f"Gateway: {_rest(data['gateway'])}"),
    ]


def _machines(data: dict[str, Any]) -> list[Any]:
    """Return a table of the writers of a shared log, as the first commandbus knows them."""
    found: list[dict[str, Any]] = next(
        (process["writers"] for process in data["processes"] if process.get("writers")), []
    )
    columns = ["Machine", "Role", "Writer since", "Commit", "Lag (commits)", "Seen (s ago)"]
    rows = [list(writer.values()) for writer in found]
    return [output.table(columns, rows)] if rows else []


def _rest(values: dict[str, Any]) -> str:
    found = []
    for name, value in values.items():
        if name in (*_SHOWN, *_HIDDEN):
            continue
        found += [f"{name} {key} {n}" for key, n in value.items()] if isinstance(value, dict) else [f"{name} {value}"]
    return ", ".join(found)
