"""A backend for Salver: y = (x · weights + bias) · scale, from a file `linear.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from salver.backends.options import option
from salver.backends.protocol import Backend, Capabilities, Listing, LoadStage, Match
from salver.errors import DataLoss, InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature, TensorSpec

_FILE = "linear.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearOptions:
    """Flags `--linear_…`, or `options` of one model in the configuration."""

    scale: float = option(1.0, "By which the outputs of linear models are multiplied.")


class LinearBackend(Backend):
    """Serves linear models. The server learns of it by its entry point."""

    name: ClassVar[str] = "linear"
    title: ClassVar[str] = "Linear model"
    options: ClassVar = LinearOptions
    capabilities: ClassVar[Capabilities] = Capabilities(may_run_inline=True)

    def detect(self, listing: Listing, options: LinearOptions) -> Match | None:
        found = listing.one(_FILE, ".linear.json")
        return None if found is None else Match(files=[found], stored_as=_FILE)

    def inspect(self, directory: Path, options: LinearOptions) -> ModelInfo:
        return ModelInfo(LinearModel(directory, options).signatures)

    def load(self, directory: Path, options: LinearOptions, stage: LoadStage) -> "LinearModel":
        return LinearModel(directory, options)


class LinearModel:
    """One loaded file: see `salver.vocabulary.model.Model`."""

    definitions = None
    batching = None
    graph = None

    def __init__(self, directory: Path, options: LinearOptions) -> None:
        file = directory / (Listing.of(directory).one(_FILE, ".linear.json") or _FILE)
        try:
            said = json.loads(file.read_text())
            weights = np.array(said["weights"], np.float32)
            self._bias = np.array(said["bias"], np.float32) * np.float32(options.scale)
            rows, columns = weights.shape
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataLoss(f"{file} is no linear model: {error}") from error
        self._weights = weights * np.float32(options.scale)
        x = TensorSpec(DataType.FLOAT32, (-1, rows))
        y = TensorSpec(DataType.FLOAT32, (-1, columns))
        self.signatures: Mapping[str, Signature] = {
            "serving_default": Signature({"x": x}, {"y": y})
        }

    def program(self, signature_name: str, outputs: Sequence[str] | None = None) -> "LinearModel":
        return self

    can_loop = False

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        try:
            return [feeds[0] @ self._weights + self._bias]
        except ValueError as error:
            raise InvalidArgument(f"x does not fit: {error}") from error

    run_in_caller = run
    run_inline = run

    def close(self) -> None:
        """Nothing is held."""
