"""Several processes that answer on the same ports, under one that owns the truth."""
