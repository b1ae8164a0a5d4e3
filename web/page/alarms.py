"""Everything that an operator must know at once: a sentence for each fault, with the next step."""

from typing import Any, NamedTuple

PROCESSES = ("commandbus", "projector", "querybus")
_EFFECTS = {
    "commandbus": "commands wait, and fail at their deadline",
    "projector": "the read model stays behind the log",
    "querybus": "queries wait, and fail at their deadline",
    "reactor": "reactions and timers wait",
}
SILENT_SECONDS = 2.0
LAG_SECONDS_MAX = 10.0
FOLLOWING, BUILDING, STARTING, WAITING = "following", "building", "starting", "waiting"
STANDING_BY = "standing by"
ACTIVE, STANDBY = "active", "standby"  # of a commandbus on a shared log


def level_of(state: str) -> str:
    """Return "ok" for a process that works, "warn" for a process that waits, "stop" for the text of a failure."""
    if state in (FOLLOWING, BUILDING, STANDING_BY, ACTIVE, STANDBY):
        return "ok"
    return "warn" if state.startswith((STARTING, WAITING)) else "stop"


class Alarm(NamedTuple):
    """A fault. `level` is "stop" for a part that does not work, "warn" for a part that is slow."""

    level: str
    text: str
    advice: str
    position: int | None = None  # of the event concerned
    parked: bool = False  # the view Parked has the events


def alarms(status: dict[str, Any] | None, *, reacts: bool = False) -> list[Alarm]:
    """Return the faults that a status shows; None is the status of a gateway without an answer.

    An application that reacts needs a reactor.
    """
    if status is None:
        text = "The gateway does not respond: no command and no query is executed."
        return [Alarm("stop", text, "Start it: python -m dualbus.gateway")]
    running = {process["name"] for process in status["processes"]}
    found = [
        Alarm(
            "stop",
            f"No {name} responds: {_EFFECTS[name]}.",
            f"Start it, unless it is stopped: python -m dualbus.{name}",
        )
        for name in (*PROCESSES, *(["reactor"] if reacts else []))
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
    name, state = process["name"], process.get("state", FOLLOWING)
    found = []
    if level_of(state) == "stop" and name == "reactor":
        advice = "Reactions without a failure continue. The log of the reactor has the details."
        found.append(Alarm("stop", f"A reaction has stopped: {state}.", advice))
    elif level_of(state) == "stop" and name == "projector":
        advice = "No later event is applied. Correct the projection and restart the projector."
        found.append(Alarm("stop", f"The projector has stopped: {state}.", advice, process["position"] + 1))
    elif level_of(state) == "warn":
        found.append(Alarm("warn", f"{name} is {state}.", "See the log of this process if this lasts."))
    if parked := process.get("parked"):
        text = f"{parked} events of reactions are parked: their reactions have failed."
        found.append(Alarm("warn", text, "Retry or skip them.", parked=True))
    if running := process.get("running"):
        text = (
            f"{name} ({process['pid']}) has been running {running['type'] or 'a handler'} for {running['seconds']} s."
        )
        found.append(Alarm("warn", text, "Other work waits for this handler."))
    elif process.get("seen_s", 0.0) > SILENT_SECONDS:
        text = f"{name} ({process['pid']}) has not responded for {process['seen_s']:.0f} s."
        found.append(Alarm("stop", text, "Check whether the process is stopped, or its machine overloaded."))
    return found
