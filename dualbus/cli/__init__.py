"""The command line: `dualbus …`, or `python -m dualbus …`."""
