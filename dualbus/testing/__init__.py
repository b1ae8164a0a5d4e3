"""For the tests of applications, and for our own."""

from dualbus.testing.cluster import Cluster, Process, until

__all__ = ["Cluster", "Process", "until"]
