"""The web process: commands, queries, events and live queries over HTTP, as a client of the gateway."""
