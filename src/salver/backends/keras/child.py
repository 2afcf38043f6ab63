"""The child process that turns a Keras file into a SavedModel: a script with no imports of ours.

    python child.py REQUEST

reads a request as JSON from the argument, writes the SavedModel, and then a report as JSON:
`{"status": "done"}`, or what went wrong in which step. The parent's end of its standard input
stays open while the parent lives; the child ends when it closes.

Keras' own safe mode says no to Python code inside a file, but has not done so in all releases for
all formats (for `.h5` not before 3.11.3, and never in Keras 2), so the file is looked at here too.
"""

import importlib
import importlib.util
import inspect
import json
import os
import sys
import threading
import traceback
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final

__all__ = [
    "CodeInFile",
    "config_of",
    "convert",
    "custom_objects",
    "has_code",
    "main",
    "origin_of",
    "placeholders",
]

_NICENESS: Final = 10  # the requests that are served meanwhile come first
_LONGEST_MESSAGE: Final = 20_000
_LARGEST_DESCRIPTION: Final = 1 << 26  # bytes of JSON; that of a large model has a few million
_FIRST_TO_GO: Final = "1000"  # where memory runs out, this process ends and not the server
_NEVER_CALLED: Final = "never called"


class CodeInFile(Exception):
    """The file holds Python code, and safe mode is on."""


class _Failure(Exception):
    """A step that failed; the cause says how."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


# -- What a file says of itself -------------------------------------------------------------------


def config_of(path: str) -> Any:
    """The description of the layers in a Keras file; None where it has none that can be read."""
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size  # no more than that is ever read
            if size > _LARGEST_DESCRIPTION:
                raise ValueError(f"config.json inflates to {size} bytes")
            return json.loads(archive.read("config.json"))
    text = _attribute(path, "model_config")
    return None if text is None else json.loads(text)


def origin_of(path: str) -> str:
    """The version of Keras that wrote a file; empty where it does not say."""
    with suppress(OSError, KeyError, ValueError, zipfile.BadZipFile):
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        return _attribute(path, "keras_version") or ""
    return ""


def _attribute(path: str, name: str) -> str | None:
    h5py: Any = importlib.import_module("h5py")
    with h5py.File(path, "r") as file:
        value = file.attrs.get(name)
    return value.decode() if isinstance(value, bytes) else value


def has_code(config: Any) -> bool:
    """Whether a description of layers has a Python function in it, as Lambda layers do.

    Keras 3 marks it with the class `__lambda__`; Keras 2 has its bytecode as text beside a
    `function_type` (or `output_shape_type`, `mask_type`) of `lambda`.
    """
    if isinstance(config, dict):
        return (
            config.get("class_name") == "__lambda__"
            or any(str(key).endswith("_type") and config[key] == "lambda" for key in config)
            or any(has_code(value) for value in config.values())
        )
    return isinstance(config, list) and any(has_code(value) for value in config)


def _refuse_code(path: str) -> None:
    if has_code(config_of(path)):
        raise CodeInFile("a Lambda layer with a Python function in the file")


# -- What the user adds ---------------------------------------------------------------------------


def custom_objects(modules: Sequence[str]) -> dict[str, Any]:
    """Import modules, and gather the classes and functions that they define.

    Args:
        modules: names, or paths of files that end in `.py`.
    """
    found: dict[str, Any] = {}
    for name in modules:
        module = _module_of_file(name) if name.endswith(".py") else importlib.import_module(name)
        found.update(
            (key, value)
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        )
    return found


def _module_of_file(path: str) -> ModuleType:
    name = Path(path).stem
    sys.path.insert(0, str(Path(path).parent))  # for what stands beside it
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # cannot be, for what ends in .py
        raise ImportError(f"{path} cannot be imported")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- The conversion -------------------------------------------------------------------------------


def placeholders(shapes: Any, make: Any) -> Any:
    """The same structure of shapes as symbolic tensors, with any number of rows.

    Args:
        shapes: a shape, or lists, tuples and dictionaries of such.
        make: a shape → a symbolic tensor.
    """
    if isinstance(shapes, dict):
        return {name: placeholders(shape, make) for name, shape in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return make((None, *shapes[1:]))
    return [placeholders(shape, make) for shape in shapes]


def _call_symbolically(keras: Any, model: Any) -> None:
    """Tell a subclassed model its inputs; loaded, it knows only the shapes it was built for."""
    config = model.get_build_config() or {}

    def make(shape: Any) -> Any:
        return keras.KerasTensor(shape, dtype=model.input_dtype)

    if "shapes_dict" in config:
        shapes = placeholders(config["shapes_dict"], make)
        model(**{name.removesuffix("_shape"): tensor for name, tensor in shapes.items()})
    elif "input_shape" in config:
        model(placeholders(config["input_shape"], make))


def _call_as_predict_does(model: Any) -> None:
    """Have `model.export`, which takes `model.__call__`, trace the model in inference mode.

    As it is, layers that augment pictures stay on in what is exported, because they train unless
    they are told not to; `model.predict` tells them.
    """
    if "training" not in inspect.signature(model.call).parameters:
        return
    call = model.__call__

    # Called as Keras' own: inputs without a name of their own are named by this, `args_0`.
    def infer(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **{**kwargs, "training": False})

    object.__setattr__(model, "__call__", infer)  # not to be tracked as a part of the model


def _export(keras: Any, model: Any, target: str) -> None:
    _call_as_predict_does(model)
    try:
        model.export(target)
    except ValueError as error:
        if _NEVER_CALLED not in str(error):
            raise
        _call_symbolically(keras, model)
        model.export(target)


def _load(keras: Any, source: str, **how: Any) -> tuple[Any, Any]:
    """The Keras that could load a file, and the model."""
    try:
        return keras, keras.models.load_model(source, **how)
    except Exception:
        if not origin_of(source).startswith("2.") or importlib.util.find_spec("tf_keras") is None:
            raise
        traceback.print_exc()
        legacy: Any = importlib.import_module("tf_keras")
        return legacy, legacy.models.load_model(source, **how)


def convert(request: dict[str, Any]) -> None:
    """Do what a request says.

    Args:
        request: `source` (path of the file), `target` (directory to make), `safe_mode`,
            `custom_objects` (modules).

    Raises:
        _Failure: from whatever went wrong.
    """
    step = "import"
    try:
        importlib.import_module("tensorflow")
        keras: Any = importlib.import_module("keras")
        step = "read"
        source, is_safe = request["source"], request["safe_mode"]
        if is_safe:
            _refuse_code(source)
        step = "custom_objects"
        theirs = custom_objects(request["custom_objects"])
        step = "load"
        keras, model = _load(keras, source, custom_objects=theirs, compile=False, safe_mode=is_safe)
        step = "export"
        _export(keras, model, request["target"])
    except BaseException as error:
        raise _Failure(step) from error


def _end_with_parent() -> None:
    """End this process when nobody holds the other end of its standard input any more."""
    with suppress(OSError):
        os.read(0, 1)
    os._exit(1)


def main(argument: str) -> int:
    """Convert, and report; the exit status."""
    request = json.loads(argument)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError):
        os.nice(_NICENESS)
    report: dict[str, str] = {"status": "done"}
    try:
        convert(request)
    except _Failure as failure:
        error = failure.__cause__
        traceback.print_exception(error)
        report = {
            "status": "failed",
            "step": failure.step,
            "type": type(error).__name__,
            "message": str(error)[:_LONGEST_MESSAGE],
            "origin": "" if failure.step == "import" else origin_of(request["source"]),
        }
    partial = Path(request["report"] + ".partial")
    partial.write_text(json.dumps(report))
    partial.rename(request["report"])
    return int(report["status"] != "done")


if __name__ == "__main__":
    del sys.path[0]  # this directory, whose modules would stand before others of the same name
    with suppress(OSError):  # where it is not Linux
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    sys.exit(main(sys.argv[1]))
