"""Backends of installed packages, as far as Python's own search for them goes."""

import sys
from pathlib import Path
from typing import Final

import pytest

__all__ = ["LINES", "install"]

LINES: Final = """
from dataclasses import dataclass
from salver.backends.options import option
from salver.backends.protocol import Backend, Capabilities, Match

@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    strip: bool = option(False, "Without blanks.")

class {name}Backend(Backend):
    name = "{name}"
    title = "{name} model"
    options = Options
    capabilities = Capabilities()
    is_stopped = False

    def detect(self, listing, options):
        found = listing.one("model.{name}", ".{name}")
        return None if found is None else Match(files=[found], stored_as="model.{name}")

    def load(self, directory, options, stage):
        return (directory / "model.{name}").read_text()

    def stop(self):
        self.is_stopped = True
"""
"""A backend that reads `model.NAME`."""


def install(
    where: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str = LINES, entry: str = ""
) -> str:
    """Put a package on the path, with one entry point; its module is returned."""
    module = f"backend_{name}_{where.name}".replace("-", "_")
    (where / f"{module}.py").write_text(text.replace("{name}", name))
    information = where / f"{module}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    line = entry or f"{name} = {module}:{name}Backend"
    (information / "entry_points.txt").write_text(f"[salver.backends]\n{line}\n")
    monkeypatch.syspath_prepend(str(where))
    assert module not in sys.modules
    return module
