"""Estimators of scikit-learn, saved by skops; and pickles, where they are allowed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match, Variant
from salver.backends.sklearn.library import load_library, require_library
from salver.backends.sklearn.options import SklearnOptions
from salver.errors import FailedPrecondition

if TYPE_CHECKING:  # they bring numpy
    from salver.backends.sklearn.model import SklearnModel

__all__ = ["SklearnBackend"]


class SklearnBackend(Backend):
    """Loads `model.skops`, `model.joblib` or `model.pkl`, or the only such file, of versions."""

    name: ClassVar[str] = "sklearn"
    title: ClassVar[str] = "scikit-learn model"
    options: ClassVar = SklearnOptions
    capabilities: ClassVar[Capabilities] = Capabilities(keeps_gil=True, needs_process=True)

    def detect(self, listing: Listing, options: SklearnOptions) -> Match | None:
        """See `Backend.detect`."""
        del options
        found = _estimators(listing)
        if not found:
            return None
        if len(found) > 1:
            listed = ", ".join(found)
            problem = f"{listing.path} holds more than one estimator: {listed}. Leave one of them"
            return Match(files=found, problem=problem)
        (name,) = found
        is_pickle = not name.endswith(".skops")
        return Match(
            files=found,
            stored_as=f"model{Path(name).suffix}",
            runs_code="a pickle" if is_pickle else "",
            needs_pickle=is_pickle,
        )

    def require(self) -> None:
        """See `Backend.require`."""
        require_library()

    def prepare(self) -> None:
        """See `Backend.prepare`. The process that runs the models imports what it needs."""

    def describe(self, directory: Path, options: SklearnOptions) -> Sequence[Variant]:
        """See `Backend.describe`; loads the estimator."""
        from salver.vocabulary.model import ModelInfo

        model = self.load(directory, options, LoadStage())
        return [Variant("The estimator", ModelInfo(model.signatures))]

    def load(self, directory: Path, options: SklearnOptions, stage: LoadStage) -> "SklearnModel":
        """See `Backend.load`."""
        stage.progress("importing scikit-learn", None)
        load_library()
        stage.check()
        from salver.backends.sklearn.loading import load_model

        found = _estimators(Listing.of(directory))
        path = directory / (found[0] if found else "model.skops")
        if not path.name.endswith(".skops") and not stage.trusts(path):  # it may be new here
            raise FailedPrecondition(f"{path} is a pickle, and is not trusted")
        return load_model(path, options)


def _estimators(listing: Listing) -> list[str]:
    """The files that are estimators; where one of them has its proper name, that one alone."""
    found = [name for name in listing.files if name.endswith((".skops", ".joblib", ".pkl"))]
    proper: list[str] = [
        name for name in ("model.skops", "model.joblib", "model.pkl") if name in found
    ]
    return proper if len(proper) == 1 else found
