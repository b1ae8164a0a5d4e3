"""The positions of the log and of the read model, as reported by the workers."""

from typing import Any

from .worker import COMMANDS, PROJECTOR, REACTOR
from .workers import Workers


def positions(workers: Workers) -> dict[str, Any]:
    """Return the positions and the lag; None while a process is not running."""
    commandbuses, projectors = (workers.buses[dest].workers.values() for dest in (COMMANDS, PROJECTOR))
    head = max((worker.position for worker in commandbuses), default=None)
    model = max((worker.position for worker in projectors), default=None)
    lags_s = [worker.status.get("lag_s", 0.0) for worker in projectors]
    reactor_lags = [worker.status.get("lag_events") for worker in workers.buses[REACTOR].workers.values()]
    return {
        "log_position": head,
        "read_model_position": model,
        "lag_events": None if head is None or model is None else max(0, head - model),
        "lag_s": min((lag for lag in lags_s if type(lag) in (int, float)), default=None),
        "reactor_lag_events": min((lag for lag in reactor_lags if type(lag) is int), default=None),
    }
