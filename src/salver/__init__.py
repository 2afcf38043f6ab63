"""A model server that speaks TensorFlow Serving's REST and gRPC APIs, and its client.

`Client` and `AsyncClient` ask a server, `publish` puts a model where one finds it, `serve` starts
one from a notebook. Each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salver.client import AsyncClient, Client, Tls
    from salver.notebook import RunningServer, serve
    from salver.publishing import publish
    from salver.publishing.places import Published

__all__ = [
    "AsyncClient",
    "Client",
    "Published",
    "RunningServer",
    "Tls",
    "__version__",
    "publish",
    "serve",
]

__version__ = "0.1.0"

_MODULE_OF = {
    "AsyncClient": "salver.client",
    "Client": "salver.client",
    "Tls": "salver.client",
    "RunningServer": "salver.notebook",
    "serve": "salver.notebook",
    "Published": "salver.publishing.places",
    "publish": "salver.publishing",
}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
