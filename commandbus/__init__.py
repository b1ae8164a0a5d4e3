"""The only writer of the log: decides commands, appends their events, answers, publishes them."""
