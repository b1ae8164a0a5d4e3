"""Helpers for the tests of applications."""

from typing import TYPE_CHECKING, Any

from dualbus.testing.cluster import Cluster, Process, until
from dualbus.testing.kit import NOW, answer, decide, from_log, problems, project, react

if TYPE_CHECKING:
    from dualbus.testing.in_process import InProcess

__all__ = [
    "NOW",
    "Cluster",
    "InProcess",
    "Process",
    "answer",
    "decide",
    "from_log",
    "problems",
    "project",
    "react",
    "until",
]


def __getattr__(name: str) -> Any:
    """Import InProcess on first use, because the pytest plugin must not import ZeroMQ and the processes."""
    if name == "InProcess":
        from dualbus.testing.in_process import InProcess

        return InProcess
    raise AttributeError(f"module 'dualbus.testing' has no attribute {name!r}")
