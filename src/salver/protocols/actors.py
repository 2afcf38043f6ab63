"""Who stands behind a request that changes something."""

from typing import Final

from salver.inference.context import RequestContext
from salver.vocabulary.access import Actor

__all__ = ["actor_of"]

_MOST: Final = 256  # characters of what is called


def actor_of(context: RequestContext, method: str = "") -> Actor:
    """Who it is, as far as a request says.

    Args:
        context: of the request.
        method: of HTTP; empty for gRPC.
    """
    target = context.target.partition("?")[0][:_MOST]  # a query may hold what is nobody's business
    via = f"{method} {target}" if method else target
    principal = context.principal
    if principal is None:
        return Actor(peer=context.peer, via=via)
    return Actor(principal.name, principal.kind, context.peer, via)
