"""The span that a caller is in, sent along, so that the server's spans are a part of its trace."""

import sys

__all__ = ["trace_headers"]


def trace_headers() -> dict[str, str]:
    """What the caller's propagators of OpenTelemetry send, `traceparent` above all.

    Empty for a program that does not trace; OpenTelemetry is not imported for it.
    """
    if "opentelemetry.trace" not in sys.modules:
        return {}
    try:
        from opentelemetry.propagate import inject
    except ImportError:  # a part of it alone is there
        return {}
    carrier: dict[str, str] = {}
    inject(carrier)
    return {name.lower(): value for name, value in carrier.items()}
