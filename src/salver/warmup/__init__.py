"""Warmup: recorded requests that a version answers before it serves anybody."""
