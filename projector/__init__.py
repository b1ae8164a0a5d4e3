"""Applies the events of the log to the read model: subscribe, catch up, follow."""
