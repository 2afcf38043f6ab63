"""What a failed conversion means, and what to do about it, in words for whoever runs the server.

Keras raises ValueError and TypeError for nearly everything, so its texts decide. They are those of
Keras 3.0 to 3.15 and of tf_keras 2; a text that is not known is passed on with its beginning.
"""

import re
import signal
from typing import Final

from salver.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    NotInstalled,
    PermissionDenied,
    ResourceExhausted,
    ServingError,
)
from salver.instruments.installing import install_command

__all__ = ["ended", "explain", "took_too_long"]

_LONGEST_QUOTE: Final = 400
_INNERMOST: Final = "Exception encountered:"
_CUSTOM: Final = (
    re.compile(r"Could not locate (?P<kind>class|function) '(?P<name>[^']+)'"),
    re.compile(r"Unknown (?P<kind>[\w ]+?): '?(?P<name>[\w>.]+)'?\. Please ensure"),
)
_LAMBDA: Final = re.compile(r"`?Lambda`? layer|Python lambda|python function in the file", re.I)
_NO_MODEL: Final = re.compile(r"No model config found|no item named 'config\.json'", re.I)
_CUT: Final = re.compile(
    r"truncated file|[Uu]nable to (synchronously )?open|not a zip file|accessible `\.keras` zip"
    r"|Bad CRC|bad local file header|file signature not found",
    re.I,
)
_UNBUILT: Final = re.compile(r"has not yet been built|has never called|never been called")
_STEPS: Final = {
    "read": "looked at",
    "load": "loaded by Keras",
    "export": "turned into a SavedModel",
}


def explain(file: str, *, step: str, kind: str, message: str, origin: str = "") -> ServingError:
    """The error for a step of a conversion that failed.

    Args:
        file: the path of the Keras file.
        step: `import`, `read`, `custom_objects`, `load` or `export`.
        kind: the name of the class of the exception.
        message: its text.
        origin: the version of Keras that wrote the file; empty where it does not say.
    """
    if step == "import":
        return NotInstalled(
            "Serving a Keras file needs TensorFlow and Keras 3, which cannot be imported here: "
            f"{_quoted(kind, message)}. Install them with: {install_command('tensorflow')}"
        )
    if step == "custom_objects":
        return FailedPrecondition(
            f"A module of --keras_custom_objects cannot be imported: {_quoted(kind, message)}"
        )
    if kind == "MemoryError":
        return ResourceExhausted(f"There is not enough memory to convert {file}")
    return _of_file(file, message) or FailedPrecondition(
        f"{file} could not be {_STEPS[step]}: {_quoted(kind, message)}{_advice(origin)}"
    )


def _of_file(file: str, message: str) -> ServingError | None:
    for pattern in _CUSTOM:
        if found := pattern.search(message):
            name = found["name"].rpartition(">")[2]  # registered as `package>name`
            return FailedPrecondition(
                f"{file} uses the {found['kind']} {name!r}, which Keras does not know: its code "
                "is not in the file. Name the module that defines it, --keras_custom_objects="
                "PATH.py, or export the model where it is defined, model.export('DIRECTORY/1'), "
                "and serve that"
            )
    if _LAMBDA.search(message):
        return PermissionDenied(
            f"{file} has a Lambda layer, that is Python code in the file, which Keras' safe mode "
            "does not run. If you trust whoever made the file: --keras_safe_mode=false. Or export "
            "the model where it was made, model.export('DIRECTORY/1'), and serve that"
        )
    if _NO_MODEL.search(message):
        return FailedPrecondition(
            f"{file} has no model in it, perhaps weights alone. Save the model whole: "
            "model.save('model.keras')"
        )
    if _CUT.search(message):
        return DataLoss(
            f"{file} is no Keras file, or only a part of one: {_first_line(message)}. Copy it "
            "again, or save the model again"
        )
    if _UNBUILT.search(message):
        return FailedPrecondition(
            f"{file} does not say what its inputs are: the model was not built, or never called, "
            "before it was saved. Call it once on some data and save it again, or begin it with "
            "keras.Input(shape)"
        )
    return None


def ended(file: str, status: int, last_lines: str) -> ServingError:
    """The error for a child that ended without a report.

    Args:
        file: the path of the Keras file.
        status: how it ended, as `subprocess` says it.
        last_lines: of what it wrote.
    """
    if status == -signal.SIGKILL:
        return ResourceExhausted(
            f"The conversion of {file} was killed (SIGKILL), which is what the system does when "
            "memory runs out. Give the server more, or export the model elsewhere, "
            "model.export('DIRECTORY/1'), and serve that"
        )
    how = f"exit status {status}"
    if status < 0:
        names = {member.value: member.name for member in signal.Signals}
        how = names.get(-status, f"signal {-status}")
    said = f". Its last lines: {last_lines}" if last_lines else ""
    return FailedPrecondition(f"The conversion of {file} ended without a result ({how}){said}")


def took_too_long(file: str, limit_s: float) -> ServingError:
    """The error for a child that was ended because its time was over."""
    return DeadlineExceeded(
        f"The conversion of {file} was given up after {limit_s:g} s. "
        "--conversion_timeout_seconds allows more"
    )


def _advice(origin: str) -> str:
    if not origin.startswith("2."):
        return ""
    return (
        f". It was saved by Keras {origin}; with `pip install tf_keras` such files are loaded by "
        "Keras 2, where Keras 3 cannot"
    )


def _quoted(kind: str, message: str) -> str:
    # Keras wraps errors in errors that quote the whole configuration; the last one says what it is.
    line = " ".join(message.rpartition(_INNERMOST)[2].split())
    short = line if len(line) <= _LONGEST_QUOTE else f"{line[:_LONGEST_QUOTE]}…"
    return f"{kind}: {short}".rstrip(".")


def _first_line(message: str) -> str:
    return (message.strip().splitlines() or [""])[0].rstrip(".")
