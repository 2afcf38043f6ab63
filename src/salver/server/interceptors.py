"""What stands before every request of a server, as its flags say."""

from salver.config.options import ServerOptions
from salver.inference.context import Interceptor
from salver.inference.wait_for_load import wait_for_load
from salver.management.lazy import is_lazy

__all__ = ["make_interceptors"]


def make_interceptors(
    options: ServerOptions, gate: Interceptor | None = None
) -> tuple[Interceptor, ...]:
    """The interceptors, the first one first; none where no flag asks for one.

    Args:
        options: the flags.
        gate: lets requests pass by whose they are; None where nobody is asked.
    """
    interceptors: list[Interceptor] = [] if gate is None else [gate]
    if is_lazy(options):
        interceptors.append(wait_for_load)
    return tuple(interceptors)
