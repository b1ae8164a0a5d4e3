"""Helpers for the tests of applications."""

from dualbus.testing.cluster import Cluster, Process, until
from dualbus.testing.kit import NOW, answer, decide, from_log, project, react

__all__ = ["NOW", "Cluster", "Process", "answer", "decide", "from_log", "project", "react", "until"]
