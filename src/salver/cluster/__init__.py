"""Many machines as one server: which models each node holds, and who sees to it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salver.cluster.api import attach, up
    from salver.cluster.on_ray.deployment import Deployment

__all__ = ["Deployment", "attach", "up"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Deployment":
        from salver.cluster.on_ray import deployment as module
    else:
        from salver.cluster import api as module  # type: ignore[no-redef]
    return getattr(module, name)
