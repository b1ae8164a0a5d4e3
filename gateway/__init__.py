"""The front door: takes messages, routes them by dest, keeps sessions, deadlines and fair shares."""
