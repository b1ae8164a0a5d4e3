"""Alternatives to dualbus, and upper bounds for designs with the same hops."""
