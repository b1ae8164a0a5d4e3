"""What the gateway says of the cluster when it is asked for its Status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.buses import COMMANDS, PROJECTOR

if TYPE_CHECKING:
    from gateway.routing import Routing


def status(routing: Routing, now: float) -> dict[str, Any]:
    """Return what runs: each process, how far it is, what waits and what has been counted."""
    buses, clients, identity = routing.buses, routing.clients, routing.identity
    processes = [
        {
            "name": worker.dest,
            "pid": worker.pid,
            "position": worker.position,
            "in_flight": len(worker.in_flight),
            "seen_s": round(now - worker.seen, 3),
            **worker.status,
        }
        for bus in buses.values()
        for worker in bus.workers.values()
    ]
    heads = [worker.position for worker in buses[COMMANDS].workers.values()]
    models = [worker.position for worker in buses[PROJECTOR].workers.values()]
    return {
        "log": identity._asdict() if identity else None,
        "log_position": max(heads, default=None),
        "read_model_position": max(models, default=None),
        "processes": processes,
        "gateway": {
            "clients": len(clients),
            "under_way": routing.under_way,
            "bytes_under_way": clients.bytes,
            "queued": {bus.dest: bus.queued for bus in buses.values() if bus.dest != PROJECTOR},
            **routing.counters,
        },
    }
