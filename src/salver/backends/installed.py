"""Libraries of installed packages: located, and opened or imported once, from any thread."""

import importlib
import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from salver.errors import NotInstalled
from salver.instruments.installing import install_command

__all__ = ["InstalledLibrary", "InstalledModule"]

L = TypeVar("L")


class InstalledLibrary(Generic[L]):
    """A native library of a package, which is located and never imported."""

    def __init__(
        self,
        package: str,
        make: Callable[[Path], L],
        *,
        title: str,
        model: str,
        extra: str,
        find: Callable[[Path], Path],
    ) -> None:
        """Look for nothing yet.

        Args:
            package: that is imported as this.
            make: opens the file; raises OSError or AttributeError where it is another.
            title: what people call the library: `LightGBM`.
            model: what it serves: `a LightGBM model`.
            extra: of ours that installs it.
            find: the file in the directory of the package.
        """
        self._package = package
        self._make = make
        self._title = title
        self._model = model
        self._extra = extra
        self._find = find
        self._lock = threading.Lock()
        self._opened: L | None = None

    def require(self) -> Path:
        """Where the library is; does not open it.

        Raises:
            NotInstalled: the text says what to install.
        """
        spec = importlib.util.find_spec(self._package)
        if spec is None or not spec.submodule_search_locations:
            raise _missing(self._model, self._title, self._extra)
        return self._find(Path(next(iter(spec.submodule_search_locations))))

    def load(self) -> L:
        """Open it.

        Raises:
            NotInstalled: or it cannot be used.
        """
        with self._lock:
            if self._opened is None:
                path = self.require()
                try:
                    self._opened = self._make(path)
                except (OSError, AttributeError) as error:
                    raise NotInstalled(
                        f"{self._title}'s library {path} cannot be used: {error}. "
                        f"Install a supported one with: {install_command(self._extra)}"
                    ) from error
            return self._opened


class InstalledModule:
    """A module of a package, which is imported late."""

    def __init__(self, name: str, *, title: str, model: str, extra: str) -> None:
        """Import nothing yet; see `InstalledLibrary`.

        Args:
            name: of the module; the package is what it begins with.
            title: what people call the library.
            model: what it serves.
            extra: of ours that installs it.
        """
        self._name = name
        self._package = name.partition(".")[0]
        self._title = title
        self._model = model
        self._extra = extra
        self._lock = threading.Lock()

    def require(self) -> None:
        """See, without importing it, that it is there.

        Raises:
            NotInstalled: the text says what to install.
        """
        if importlib.util.find_spec(self._package) is None:
            raise _missing(self._model, self._title, self._extra)

    def load(self) -> Any:
        """Import it.

        Raises:
            NotInstalled: or it cannot be used; the text says what to install.
        """
        with self._lock:
            try:
                return importlib.import_module(self._name)
            except ModuleNotFoundError as error:
                if error.name != self._package:
                    raise self._unusable(error) from error
                raise _missing(self._model, self._title, self._extra) from error
            except (ImportError, OSError) as error:
                raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> NotInstalled:
        return NotInstalled(
            f"{self._title} cannot be used: {error}. Install a supported one with: "
            f"{install_command(self._extra)}"
        )


def _missing(model: str, title: str, extra: str) -> NotInstalled:
    return NotInstalled(
        f"Serving {model} needs {title}, which is not installed here. "
        f"Install it with: {install_command(extra)}"
    )
