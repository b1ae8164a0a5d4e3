"""Read model in, answers out; it has nothing it could write with."""
