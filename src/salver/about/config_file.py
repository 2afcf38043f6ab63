"""The `config.pbtxt` of a model for Triton: what of it a model can see, and we obey.

Whoever writes it writes the model, not the server's configuration: what it asks for has limits.

Source: github.com/triton-inference-server/common, `protobuf/model_config.proto` (names of fields);
github.com/triton-inference-server/python_backend, README.md (what a model is given).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from salver.about.config_text import Malformed, parse
from salver.errors import FailedPrecondition, ServingError
from salver.instruments.files import error_of_os, open_regular
from salver.vocabulary.servable import All, Latest, Specific, VersionPolicy

__all__ = ["FILE", "MOST_INSTANCES", "ConfigFile", "config_beside", "policy_in", "read_config"]

FILE: Final = "config.pbtxt"

_MOST_BYTES: Final = 1 << 20

MOST_INSTANCES: Final = 32
"""More of one model nobody gets by a file beside it; `salver.instances` may say more."""

_REMEMBERED: Final = 1024  # files; each is small
_MOST_MICROS: Final = 60_000_000  # that a batch may wait

_READ: Final = {
    "": {
        "name", "platform", "backend", "max_batch_size", "input", "output", "version_policy",
        "instance_group", "dynamic_batching", "parameters", "model_transaction_policy",
    },
    "dynamic_batching": {"preferred_batch_size", "max_queue_delay_microseconds"},
    "instance_group": {"name", "kind", "count"},
}  # fmt: skip

Fields = Mapping[str, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """What one file asks for.

    Attributes:
        path: of the file.
        given: see `read_config`.
        max_batch_size: rows of a request and of a batch; 0: axis 0 is none of rows.
        is_merging: whether requests are to be run together.
        preferred_batch_sizes: rows at which a batch waits no longer, ascending.
        delay_micros: how long one waits for company.
        instances: of the model, of all groups together; 0 where nobody says.
        version_policy: None where nobody says.
        ignored: names of fields that nothing here obeys.
    """

    path: str
    given: Mapping[str, Any] = field(default_factory=dict)
    max_batch_size: int = 0
    is_merging: bool = False
    preferred_batch_sizes: tuple[int, ...] = ()
    delay_micros: int = 0
    instances: int = 0
    version_policy: VersionPolicy | None = None
    ignored: tuple[str, ...] = ()


def config_beside(directory: str | Path) -> ConfigFile | None:
    """The file of a version: above its directory, or in it; None where there is none.

    Args:
        directory: of the version. One whose name is no number is its model's own: the file is in
            it then.

    Raises:
        ServingError: it cannot be read, or is no configuration of a model.
    """
    version = Path(directory)
    places = (version.parent, version) if version.name.isdigit() else (version,)
    return next((found for found in map(_config_in, places) if found is not None), None)


def policy_in(base_path: str) -> VersionPolicy | None:
    """Which versions the file in a base path wants served; None where it does not say.

    Called at each poll: a file is parsed when it has changed. One that is wrong is complained of
    when a version loads.
    """
    try:
        found = _config_in(Path(base_path))
    except ServingError:
        return None
    return None if found is None else found.version_policy


def _config_in(directory: Path) -> ConfigFile | None:
    path = directory / FILE
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return _config_at(str(path), (found.st_mtime_ns, found.st_size, found.st_ino))


@lru_cache(maxsize=_REMEMBERED)
def _config_at(path: str, stamp: tuple[int, ...]) -> ConfigFile:
    """What a file says; `stamp`: changes when it does."""
    del stamp
    fields = _read(Path(path))
    try:
        return _asked(path, fields)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise _wrong(f"{path} is no configuration of a model: {error}") from None


def _asked(path: str, fields: Fields) -> ConfigFile:
    batching = _last(fields, "dynamic_batching", {})
    sizes = sorted({int(each) for each in batching.get("preferred_batch_size", ())})
    max_batch_size = int(_last(fields, "max_batch_size", 0))
    delay_micros = int(_last(batching, "max_queue_delay_microseconds", 0))
    groups = fields.get("instance_group", [])
    counts = [int(_last(group, "count", 1)) for group in groups]
    if max_batch_size < 0 or delay_micros < 0 or any(each < 1 for each in (*sizes, *counts)):
        raise ValueError("a size, a count or a delay is not positive")
    if sizes and sizes[-1] > max_batch_size:
        raise ValueError("a preferred_batch_size is larger than max_batch_size")
    return ConfigFile(
        path=path,
        given=_as_given(fields, os.path.basename(os.path.dirname(path))),
        max_batch_size=max_batch_size,
        is_merging="dynamic_batching" in fields and max_batch_size > 1,
        preferred_batch_sizes=tuple(sizes),
        delay_micros=min(delay_micros, _MOST_MICROS),
        instances=min(sum(counts), MOST_INSTANCES),
        version_policy=_policy(_last(fields, "version_policy", {})),
        ignored=_ignored(fields),
    )


def _policy(fields: Fields) -> VersionPolicy | None:
    if "all" in fields:
        return All()
    if "specific" in fields:
        return Specific(tuple(int(each) for each in fields["specific"][-1].get("versions", ())))
    if "latest" in fields:
        return Latest(max(1, int(_last(fields["latest"][-1], "num_versions", 1))))
    return None


def _ignored(fields: Fields) -> tuple[str, ...]:
    """In the order of the file, each once."""
    names = [name for name in fields if name not in _READ[""]]
    for outer in ("dynamic_batching", "instance_group"):
        for message in fields.get(outer, ()):
            names += [f"{outer}.{name}" for name in message if name not in _READ[outer]]
    return tuple(dict.fromkeys(names))


def read_config(directory: Path, name: str) -> dict[str, Any]:
    """The configuration of a model, in the form in which Triton hands it to models.

    Args:
        directory: of the version. The file stands above it, or in it.
        name: of the model, where the file says none.

    Raises:
        FailedPrecondition: it is no such file; or asks for what there is not.
        ServingError: it cannot be read.
    """
    paths = (directory.parent / FILE, directory / FILE)
    path = next((each for each in paths if each.exists()), None)
    fields: Fields = {} if path is None else _read(path)
    if "sequence_batching" in fields:
        raise _wrong(f"{path} asks for sequence_batching, which is not done here")
    try:
        return _as_given(fields, name or directory.parent.name)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise _wrong(f"{path} is no configuration of a model: {error}") from None


def _read(path: Path) -> Fields:
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise error_of_os(str(path), error) from error
    if len(data) > _MOST_BYTES:
        raise _wrong(f"{path} has more than {_MOST_BYTES} bytes")
    try:
        return parse(data.decode())
    except (Malformed, UnicodeDecodeError) as error:
        raise _wrong(f"{path} is no configuration of a model: {error}") from None


def _as_given(fields: Fields, name: str) -> dict[str, Any]:
    said = _last(fields, "name", name)
    config: dict[str, Any] = {
        "name": said,
        "platform": _last(fields, "platform", ""),
        "backend": _last(fields, "backend", "python"),
        "max_batch_size": int(_last(fields, "max_batch_size", 0)),
        "input": [
            _tensor(each) | {"optional": _is(each, "optional")} for each in fields.get("input", ())
        ],
        "output": [
            _tensor(each) | {"label_filename": _last(each, "label_filename", "")}
            for each in fields.get("output", ())
        ],
        "instance_group": [
            {
                "name": _last(each, "name", f"{said}_{number}"),
                "kind": _last(each, "kind", "KIND_AUTO"),
                "count": int(_last(each, "count", 1)),
            }
            for number, each in enumerate(fields.get("instance_group", ()))
        ],
        "default_model_filename": _last(fields, "default_model_filename", "model.py"),
        "parameters": {
            str(_last(each, "key", "")): {
                "string_value": str(_last(_last(each, "value", {}), "string_value", ""))
            }
            for each in fields.get("parameters", ())
        },
    }
    if batching := fields.get("dynamic_batching"):
        config["dynamic_batching"] = {
            "preferred_batch_size": list(batching[-1].get("preferred_batch_size", ())),
            "max_queue_delay_microseconds": _last(batching[-1], "max_queue_delay_microseconds", 0),
        }
    if policy := fields.get("model_transaction_policy"):
        config["model_transaction_policy"] = {"decoupled": _is(policy[-1], "decoupled")}
    return config


def _tensor(fields: Fields) -> dict[str, Any]:
    return {
        "name": str(_last(fields, "name", "")),
        "data_type": _last(fields, "data_type", "TYPE_INVALID"),
        "dims": [int(size) for size in fields.get("dims", ())],
        "allow_ragged_batch": _is(fields, "allow_ragged_batch"),
    }


def _last(fields: Fields, name: str, default: Any) -> Any:
    return fields.get(name, [default])[-1]


def _is(fields: Fields, name: str) -> bool:
    return _last(fields, name, "false") in ("true", "True", "t", 1)


def _wrong(message: str) -> FailedPrecondition:
    error = FailedPrecondition(message)
    error.is_final = True
    return error
