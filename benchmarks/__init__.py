"""dualbus measured beside its peers and its limits: `python -m benchmarks --help`."""
