"""Tests of `dualbus.Client` and `dualbus.AsyncClient`."""
