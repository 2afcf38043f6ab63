"""LiteRT's interpreter, from the installed `ai-edge-litert` wheel.

Importing it takes 10 ms. It is not TensorFlow, brings none of it, and needs none.
"""

from salver.backends.installed import InstalledModule

__all__ = ["load_library", "require_library"]

_installed = InstalledModule(
    "ai_edge_litert.interpreter", title="LiteRT", model="a TFLite model", extra="litert"
)
require_library = _installed.require
load_library = _installed.load
