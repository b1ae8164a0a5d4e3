"""The only writer of the log: decides commands, appends their events, publishes them, answers."""
