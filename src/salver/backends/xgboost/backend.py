"""XGBoost's files, run by XGBoost."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.backends.xgboost.library import load_library, require_library
from salver.backends.xgboost.options import XGBoostOptions

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.trees.model import TreeModel
    from salver.vocabulary.model import ModelInfo

__all__ = ["XGBoostBackend"]

_NAMES: Final = ("model.ubj", "model.bst", "model.json")
# How a model as JSON begins; other files are JSON too.
_JSON: Final = re.compile(rb'\s*\{\s*(?:"version"\s*:\s*\[[\d,\s]*\]\s*,\s*)?"learner"\s*:\s*\{')


class XGBoostBackend(Backend):
    """Loads `model.ubj`, `model.bst` or `model.json`, or the only such file, of versions."""

    name: ClassVar[str] = "xgboost"
    title: ClassVar[str] = "XGBoost model"
    options: ClassVar = XGBoostOptions
    capabilities: ClassVar[Capabilities] = Capabilities(may_run_inline=True)

    def detect(self, listing: Listing, options: XGBoostOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        found = _models(listing)
        if len(found) <= 1:
            stored_as = f"model{Path(found[0]).suffix}" if found else ""
            return Match(files=found, stored_as=stored_as) if found else None
        listed = ", ".join(found)
        problem = f"{listing.path} holds more than one XGBoost model: {listed}. Leave one of them"
        return Match(files=found, problem=problem)

    def require(self) -> None:
        """See `Backend.require`."""
        require_library()

    def prepare(self) -> None:
        """See `Backend.prepare`."""
        load_library()

    def inspect(self, directory: Path, options: XGBoostOptions) -> "ModelInfo":
        """See `Backend.inspect`."""
        from salver.backends.xgboost.loading import inspect

        return inspect(_file(directory), options)

    def load(self, directory: Path, options: XGBoostOptions, stage: LoadStage) -> "TreeModel":
        """See `Backend.load`."""
        del stage
        from salver.backends.xgboost.loading import load_model

        return load_model(_file(directory), options)


def _models(listing: Listing) -> list[str]:
    """The files that are models; where one of them has its proper name, that one alone."""
    found = [
        name
        for name in listing.files
        if name.endswith((".ubj", ".bst"))
        or (name.endswith(".json") and _JSON.match(listing.head(name)))
    ]
    proper: list[str] = [name for name in _NAMES if name in found]
    return proper if len(proper) == 1 else found


def _file(directory: Path) -> Path:
    found = _models(Listing.of(directory))
    return directory / (found[0] if found else _NAMES[0])
