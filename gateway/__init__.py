"""The front door: receives messages, routes them by dest, and keeps sessions, deadlines and fair shares."""
