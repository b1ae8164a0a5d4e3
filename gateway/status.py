"""The answer to Status: the state of the cluster as reported by the workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dualbus.telemetry.usage import usage

from .positions import positions
from .worker import COMMANDS, QUERIES, Worker

if TYPE_CHECKING:
    from .router import Router


def status(router: Router, now: float) -> dict[str, Any]:
    """Return the processes, positions, queue lengths and counters."""
    workers, clients = router.workers, router.clients
    buses, identity = workers.buses, workers.identity
    return {
        "log": identity._asdict() if identity else None,
        **positions(workers),
        "processes": [
            {"name": "gateway", "pid": os.getpid(), "uptime_s": round(now - workers.started, 1), **usage()},
            *(_process(worker, now) for bus in buses.values() for worker in bus.registered),
        ],
        "gateway": {
            "clients": len(clients),
            "under_way": len(router.pending),
            "bytes_under_way": router.pending.bytes,
            "queued": {bus.dest: bus.queued for bus in buses.values() if bus.dest in (COMMANDS, QUERIES)},
            "deferred": len(workers.deferred),
            "subscriptions": len(router.followers),
            **router.counters,
            **workers.counters,
        },
        "requests": workers.metrics.as_list(),
    }


def _process(worker: Worker, now: float) -> dict[str, Any]:
    return {
        "name": worker.dest,
        "pid": worker.pid,
        "position": worker.position,
        "in_flight": len(worker.in_flight),
        "seen_s": round(now - worker.last_seen, 3),
        **worker.status,
        **({"running": _running(worker, now)} if worker.silent else {}),
    }


def _running(worker: Worker, now: float) -> dict[str, Any]:
    """Return the first request in flight of a silent worker: the probable cause of its silence."""
    first = next(iter(worker.in_flight.values()), None)
    return {"type": first.type if first else "", "seconds": round(now - worker.last_seen, 2)}
