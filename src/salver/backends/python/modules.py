"""The modules of a version: imported under a name of their own, so that versions do not clash.

The files of a version become a package `salver_python_model_N`, `model.py` being its module
`model`. Code of it is run with an `__import__` that looks for `import tokenizer` in that package
first, as Python looks beside a program first. So two models, or two versions of one, may each have
a `tokenizer.py`, and what other packages import is found as ever. No bytecode is written.
"""

import builtins
import importlib
import importlib.util
import itertools
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

__all__ = ["Modules"]

_PREFIX: Final = "salver_python_model_"
_numbers = itertools.count(1)
_import = builtins.__import__


class Modules:
    """The modules of one version. To be closed once nothing of them runs any more."""

    def __init__(self, directories: Sequence[Path]) -> None:
        """Import nothing yet.

        Args:
            directories: in which they are looked for, in this order.
        """
        self.package: Final = f"{_PREFIX}{next(_numbers)}"
        self._paths = [str(directory) for directory in directories]
        self._known: dict[str, bool] = {}
        self._builtins: dict[str, Any] = {**vars(builtins), "__import__": self._import}
        package = ModuleType(self.package)
        package.__path__ = self._paths
        sys.modules[self.package] = package
        _finder.add(self.package, self._builtins)

    def load(self, name: str) -> ModuleType:
        """Import one of them; whatever its code raises."""
        return importlib.import_module(f"{self.package}.{name}")

    def close(self) -> None:
        """Forget them."""
        _finder.remove(self.package)
        for name in tuple(sys.modules):
            if name == self.package or name.startswith(f"{self.package}."):
                sys.modules.pop(name, None)

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """What `import` does in the code of the version."""
        top = name.partition(".")[0]
        if level or not self._has(top):
            return _import(name, globals, locals, fromlist or (), level)
        if fromlist:
            return _import(f"{self.package}.{name}", globals, locals, fromlist, 0)
        self.load(name)
        return sys.modules[f"{self.package}.{top}"]

    def _has(self, top: str) -> bool:
        known = self._known.get(top)
        if known is None:
            known = self._known[top] = self._looks_for(top)
        return known

    def _looks_for(self, top: str) -> bool:
        full = f"{self.package}.{top}"
        spec = _finder.find_spec(full, self._paths)
        if spec is None:
            return False
        # A directory without `__init__.py` is a package only where there is no other of its name.
        return spec.loader is not None or (
            top not in sys.modules and importlib.util.find_spec(top) is None
        )


class _SourceLoader(SourceFileLoader):
    """Runs source with the builtins of its version, and keeps no bytecode."""

    def __init__(self, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self.builtins: dict[str, Any] = {}

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        try:
            return self.source_to_code(self.get_data(path), path)
        except ValueError as error:  # of null bytes, in older versions of Python
            raise SyntaxError(str(error), (path, None, None, None)) from None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self.builtins
        super().exec_module(module)


class _Finder:
    """Finds the modules of all versions; stands in `sys.meta_path` while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._builtins: dict[str, dict[str, Any]] = {}

    def add(self, package: str, builtins: dict[str, Any]) -> None:
        with self._lock:
            if not self._builtins:
                sys.meta_path.insert(0, self)
            self._builtins[package] = builtins

    def remove(self, package: str) -> None:
        with self._lock:
            self._builtins.pop(package, None)
            if not self._builtins and self in sys.meta_path:
                sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        del target
        if not fullname.startswith(_PREFIX) or path is None:
            return None
        builtins = self._builtins.get(fullname.partition(".")[0])
        if builtins is None:
            return None
        namespace = None
        for directory in path:
            found = FileFinder(
                directory, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_SourceLoader, [".py"])
            ).find_spec(fullname)
            if found is None:
                continue
            if found.loader is None:
                namespace = namespace or found
                continue
            if isinstance(found.loader, _SourceLoader):
                found.loader.builtins = builtins
                found.cached = None
            return found
        return namespace


_finder: Final = _Finder()
