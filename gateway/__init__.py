"""The gateway process: receives messages, routes each by `dest`, and keeps sessions, deadlines and fairness."""
