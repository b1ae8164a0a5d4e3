"""Answers queries from the read model, through read-only handles."""
