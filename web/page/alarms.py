"""Everything that an operator must know at once: a sentence for each fault, with the next step."""

from typing import Any, NamedTuple

PROCESSES = ("commandbus", "projector", "querybus")
_EFFECTS = {
    "commandbus": "commands wait, and fail at their deadline",
    "projector": "the read model stays behind the log",
    "querybus": "queries wait, and fail at their deadline",
}
SILENT_SECONDS = 2.0
LAG_SECONDS_MAX = 10.0
WORKING_STATES = ("following", "building")


class Alarm(NamedTuple):
    """A fault. `level` is "stop" for a part that does not work, "warn" for a part that is slow."""

    level: str
    text: str
    advice: str
    position: int | None = None  # of the event concerned


def alarms(status: dict[str, Any] | None) -> list[Alarm]:
    """Return the faults that a status shows; None is the status of a gateway without an answer."""
    if status is None:
        text = "The gateway does not respond: no command and no query is executed."
        return [Alarm("stop", text, "Start it: python -m dualbus.gateway")]
    running = {process["name"] for process in status["processes"]}
    found = [
        Alarm("stop", f"No {name} is running: {_EFFECTS[name]}.", f"Start it: python -m dualbus.{name}")
        for name in PROCESSES
        if name not in running
    ]
    for process in status["processes"]:
        found += _of_process(process)
    lag = status["lag_s"] or 0.0
    if lag > LAG_SECONDS_MAX and not any("projector" in alarm.text for alarm in found):
        text = f"The read model is {lag:.0f} s behind the log: queries after a command wait."
        found.append(Alarm("warn", text, "See the chart of the lag, and the slowest handler of the projector."))
    return sorted(found, key=lambda alarm: alarm.level)


def _of_process(process: dict[str, Any]) -> list[Alarm]:
    name, state = process["name"], process.get("state", "following")
    found = []
    if state not in WORKING_STATES:
        text = f"The projector has stopped: {state}."
        advice = "No later event is applied. Correct the projection and restart the projector."
        found.append(Alarm("stop", text, advice, process["position"] + 1))
    if running := process.get("running"):
        text = (
            f"{name} ({process['pid']}) has been running {running['type'] or 'a handler'} for {running['seconds']} s."
        )
        found.append(Alarm("warn", text, "Other work waits for this handler."))
    elif process.get("seen_s", 0.0) > SILENT_SECONDS:
        text = f"{name} ({process['pid']}) has not responded for {process['seen_s']:.0f} s."
        found.append(Alarm("stop", text, "Check whether the process is stopped, or its machine overloaded."))
    return found
