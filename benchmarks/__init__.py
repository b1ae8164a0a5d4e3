"""Benchmarks of dualbus, its peers and its limits: `python -m benchmarks --help`."""
