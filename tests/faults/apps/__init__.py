"""Applications that exist for the tests of faults."""
