"""PyTorch, from the installed `torch` wheel. Importing it takes a second or more."""

from salver.backends.installed import InstalledModule

__all__ = ["load_library", "require_library"]

_installed = InstalledModule("torch", title="PyTorch", model="a PyTorch model", extra="pytorch")
require_library = _installed.require
load_library = _installed.load
