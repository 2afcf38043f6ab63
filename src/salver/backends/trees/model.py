"""A loaded ensemble as a model: signatures of a matrix, of columns and of tf.Examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from salver.backends.trees.examples import matrix_of_examples
from salver.backends.trees.features import Features
from salver.backends.trees.meaning import Meaning
from salver.backends.trees.tasks import Task
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType, numpy_dtype
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import (
    CLASSIFY_INPUTS,
    CLASSIFY_METHOD_NAME,
    CLASSIFY_OUTPUT_CLASSES,
    CLASSIFY_OUTPUT_SCORES,
    DEFAULT_SIGNATURE,
    REGRESS_INPUTS,
    REGRESS_METHOD_NAME,
    REGRESS_OUTPUTS,
    Signature,
    TensorSpec,
)

__all__ = ["CLASSIFY", "PREDICTION", "REGRESS", "Booster", "Ensemble", "TreeModel", "signatures_of"]

CLASSIFY, REGRESS = "classify", "regress"
PREDICTION = "y"
_EXAMPLES = TensorSpec(DataType.STRING, (-1,))


class Booster(Protocol):
    """A loaded model of a library. Thread-safe but for `close`.

    Attributes:
        is_serial: a run waits for the end of another.
    """

    is_serial: bool

    def predict(self, rows: Array, *, margins: bool = False) -> Array:
        """Predict, without the GIL.

        Args:
            rows: the matrix, C-contiguous, of the element type of the features; one row at least.
            margins: before the objective's own transformation.

        Returns:
            Shape (rows,) or (rows, k), as the task says.

        Raises:
            ServingError: the library refuses.
        """
        ...

    def predict_inline(self, rows: Array, *, margins: bool = False) -> Array:
        """The same, keeping the GIL."""
        ...

    def close(self) -> None:
        """Give back its memory."""
        ...


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What is known of a model by its files.

    Attributes:
        features: what it takes.
        task: what it gives.
        meaning: what a person wrote of it.
    """

    features: Features
    task: Task
    meaning: Meaning = field(default_factory=Meaning)

    @property
    def takes_columns(self) -> bool:
        """Whether the default signature has an input for each feature."""
        return self.meaning.asks_for_columns({each.name for each in self.features.named})


def signatures_of(ensemble: Ensemble) -> dict[str, Signature]:
    """The signatures of a model, sorted by name.

    `serving_default` predicts; `classify` and `regress`, where they mean something, take examples.
    """
    task, features = ensemble.task, ensemble.features
    found: dict[str, Signature] = {}
    if task.classes:
        found[CLASSIFY] = Signature(
            {CLASSIFY_INPUTS: _EXAMPLES},
            {
                CLASSIFY_OUTPUT_CLASSES: TensorSpec(DataType.STRING, (-1, task.classes)),
                CLASSIFY_OUTPUT_SCORES: TensorSpec(DataType.FLOAT32, (-1, task.classes)),
            },
            CLASSIFY_METHOD_NAME,
        )
    if task.width is None and task.classes <= 2:
        found[REGRESS] = Signature(
            {REGRESS_INPUTS: _EXAMPLES},
            {REGRESS_OUTPUTS: TensorSpec(DataType.FLOAT32, (-1,))},
            REGRESS_METHOD_NAME,
        )
    found[DEFAULT_SIGNATURE] = Signature(
        features.column_specs() if ensemble.takes_columns else features.matrix_spec(),
        {PREDICTION: TensorSpec(task.dtype, task.shape)},
    )
    return found


Predict = Callable[..., Array]


class TreeProgram:
    """One signature of one model. Thread-safe."""

    __slots__ = ("_booster", "_finish", "_margins", "_nothing", "_read", "can_loop")

    def __init__(
        self,
        booster: Booster,
        read: Callable[[Sequence[Array]], Array],
        finish: Callable[[Array], list[Array]],
        *,
        margins: bool,
        nothing: Array,
    ) -> None:
        self.can_loop = booster.is_serial  # in the event loop nobody may wait for another's run
        self._booster = booster
        self._read = read
        self._finish = finish
        self._margins = margins
        self._nothing = nothing  # what no rows give

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run`."""
        return self._run(feeds, self._booster.predict)

    run_in_caller = run

    def run_inline(self, feeds: Sequence[Array]) -> list[Array]:
        """See `Program.run_inline`."""
        return self._run(feeds, self._booster.predict_inline)

    def _run(self, feeds: Sequence[Array], predict: Predict) -> list[Array]:
        rows = self._read(feeds)
        if not len(rows):
            return self._finish(self._nothing)
        return self._finish(predict(rows, margins=self._margins))


class TreeModel:
    """See `salver.vocabulary.model.Model`."""

    definitions = None
    batching = None
    graph = None

    def __init__(self, ensemble: Ensemble, booster: Booster) -> None:
        """Take over a booster, which `close` closes."""
        self.signatures: Mapping[str, Signature] = signatures_of(ensemble)
        self._ensemble = ensemble
        self._booster = booster
        self._labels = np.array(ensemble.meaning.labels_of(ensemble.task.classes), object)

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> TreeProgram:
        """See `Model.program`."""
        if signature_name not in self.signatures:
            raise InvalidArgument(f"There is no signature {signature_name}")
        known = self.signatures[signature_name].outputs
        wanted = list(known if outputs is None else outputs)
        for name in wanted:
            if name not in known:
                raise InvalidArgument(f"Signature {signature_name} has no output {name}")
        task = self._ensemble.task
        shape = (
            (-1, task.classes) if signature_name == CLASSIFY and task.classes > 2 else task.shape
        )
        return TreeProgram(
            self._booster,
            self._reader(signature_name),
            self._finisher(signature_name, wanted),
            margins=signature_name == CLASSIFY and task.scores_of_margins,
            nothing=np.empty((0, *shape[1:]), numpy_dtype(task.dtype)),
        )

    def close(self) -> None:
        """See `Model.close`."""
        self._booster.close()

    def _reader(self, signature_name: str) -> Callable[[Sequence[Array]], Array]:
        features = self._ensemble.features
        if signature_name in (CLASSIFY, REGRESS):
            return lambda feeds: matrix_of_examples(features, feeds[0])
        return features.matrix_of_columns if self._ensemble.takes_columns else features.matrix_of

    def _finisher(
        self, signature_name: str, wanted: Sequence[str]
    ) -> Callable[[Array], list[Array]]:
        if signature_name == CLASSIFY:
            return lambda y: self._classified(y, wanted)
        if signature_name == REGRESS:
            return lambda y: [y.astype(np.float32) for _ in wanted]
        return lambda y: [y for _ in wanted]

    def _classified(self, y: Array, wanted: Sequence[str]) -> list[Array]:
        scores = self._ensemble.task.scores
        assert scores is not None
        return [
            scores(y) if name == CLASSIFY_OUTPUT_SCORES else np.tile(self._labels, (len(y), 1))
            for name in wanted
        ]
