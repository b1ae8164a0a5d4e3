"""What a team could use instead, and what no design on this road can pass."""
