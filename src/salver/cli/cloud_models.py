"""The models that a cloud gives to its container."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from salver.config.cloud import read_contract
from salver.config.options import ServerOptions
from salver.errors import NotFound
from salver.instruments.files import is_uri

__all__ = ["cloud_models"]

_NAME: Final = "model"  # of the one model that has no name of its own
_DEEPEST: Final = 4  # directories: export/Servo/1 is how older programs of SageMaker lay it out
_LEFT_OUT: Final = ("code",)


def cloud_models(options: ServerOptions, environment: Mapping[str, str]) -> list[str]:
    """What stands for the `PATH` and `NAME=PATH` arguments that nobody has typed; often nothing.

    Args:
        options: may ask for a contract, and name models by flags, which go before.
        environment: says where the models are.

    Raises:
        InvalidArgument: there is no such contract, or a variable makes no sense.
        NotFound: there are no models.
    """
    contract = read_contract(options.cloud_contract, environment)
    if contract is None or options.model_base_path or options.model_config_file:
        return []
    if not contract.models:
        raise NotFound(
            "Vertex AI names no model: AIP_STORAGE_URI is empty",
            hint="Upload the model with an artifact URI, or name one by --model_base_path.",
        )
    if is_uri(contract.models):
        return [f"{_NAME}={contract.models.rstrip('/')}"]
    root = Path(contract.models)
    if not root.is_dir():
        raise NotFound(f"There is no directory {root}: the cloud has put no model there")
    found = _model_directories(root)
    if all(path == root or path.parent == root for path in found):
        return [str(root)]
    return [f"{path.name}={path}" for path in found]


def _model_directories(root: Path) -> list[Path]:
    """The directories that hold versions of SavedModels, in the order of their paths."""
    return sorted(set(_walk(root, 0)))


def _walk(directory: Path, depth: int) -> Iterator[Path]:
    for child in sorted(directory.iterdir()):
        if not child.is_dir() or child.name in _LEFT_OUT:
            continue
        is_saved_model = any((child / f"saved_model.{end}").is_file() for end in ("pb", "pbtxt"))
        if is_saved_model and child.name.isdecimal():
            yield directory
        elif depth < _DEEPEST and os.access(child, os.R_OK | os.X_OK):
            yield from _walk(child, depth + 1)
