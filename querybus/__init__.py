"""Answers queries from the read model, without write access."""
