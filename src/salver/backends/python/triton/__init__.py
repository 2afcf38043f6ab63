"""Triton's interface for Python models, as far as a model in one server can use it."""
