"""Networks by name, one builder each."""
