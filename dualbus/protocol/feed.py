"""The built-in query for the events of the log."""

EVENTS = "Events"  # a type that querybus answers beside those of the application
EVENTS_MAX = 500  # in an answer
EVENTS_DEFAULT = 200
