"""The models of the package, put where a server finds them."""

import enum
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from salver.demo.arithmetic import half_plus_three, half_plus_two, matrix_half_plus_two
from salver.errors import FailedPrecondition
from salver.instruments.files import OsErrorsOf, error_of_os
from salver.instruments.installing import install_command
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = [
    "DIGITS",
    "Format",
    "Written",
    "digit_examples",
    "put_digits",
    "usable_format",
    "write_models",
]

DIGITS: Final = "digits"
_DATA: Final = Path(__file__).with_name("data")
_VERSION: Final = "00000123"  # of the originals, and so of examples everywhere
_ARITHMETIC: Final[Mapping[str, tuple[str, str, Callable[[], bytes]]]] = {
    "half_plus_two": (
        _VERSION,
        "y = x / 2 + 2, with signatures to regress and classify",
        half_plus_two,
    ),
    "half_plus_three": (_VERSION, "y = x / 2 + 3", half_plus_three),
    "matrix_half_plus_two": ("1", "y = x / 2 + 2 for each of 3 × 3 numbers", matrix_half_plus_two),
}
_ALONE: Final = ("half_plus_two", DIGITS)  # of which there is a .tflite file on its own, too


class Format(enum.Enum):
    """The two forms each model comes in, by the name of the file."""

    SAVED_MODEL = "saved_model.pb"
    TFLITE = "model.tflite"


@dataclass(frozen=True, slots=True)
class Written:
    """Something that was written.

    Attributes:
        name: below the directory.
        words: what it is.
        is_new: whether it was not there before.
    """

    name: str
    words: str
    is_new: bool


def usable_format(find: Callable[[str], Any] = find_spec) -> Format:
    """The form that what is installed here can serve: TensorFlow's where there is a choice.

    Args:
        find: tells whether a package is installed.

    Raises:
        FailedPrecondition: neither TensorFlow nor LiteRT is installed.
    """
    if find("tensorflow") is not None:
        return Format.SAVED_MODEL
    if find("ai_edge_litert") is not None:
        return Format.TFLITE
    raise FailedPrecondition(
        "The demo's model needs TensorFlow or LiteRT, and neither is installed here",
        hint=f"Install the one with: {install_command('tensorflow')}\n"
        f"Or the other, which is smaller: {install_command('litert')}",
    )


def put_digits(base_path: Path, version: int, form: Format) -> Path:
    """Put a version of the digits into a model directory, seen whole or not at all.

    Args:
        base_path: that directory, which is there.
        version: 1 or 2.
        form: which of the two files.

    Returns:
        The version's directory.

    Raises:
        ServingError: it cannot be written.
    """
    _put(base_path, str(version), partial(_copy_digits, str(version), form))
    return base_path / str(version)


def digit_examples() -> list[tuple[str, Any]]:
    """Title and values of each example of the digits that is no file; the first is easy."""
    text = (_DATA / DIGITS / "1" / "assets" / "salver.json").read_text(encoding="utf-8")
    examples = json.loads(text)["signatures"][DEFAULT_SIGNATURE]["examples"]
    return [(each["title"], each["inputs"]["x"]) for each in examples if "inputs" in each]


def write_models(directory: Path, form: Format) -> list[Written]:
    """Write every model; what is there already stays as it is.

    Raises:
        ServingError: something cannot be written.
    """
    written = []
    for name, (version, words, make) in _ARITHMETIC.items():
        _make_directory(directory / name)
        data = make() if form is Format.SAVED_MODEL else _tflite_file(name).read_bytes()
        is_new = _put(directory / name, version, partial(_write_file, form, data))
        written.append(Written(f"{name}/{version}", words, is_new))
    _make_directory(directory / DIGITS)
    for version in ("1", "2"):
        fill = partial(_copy_digits, version, form)
        is_new = _put(directory / DIGITS, version, fill)
        written.append(Written(f"{DIGITS}/{version}", "reads handwritten digits", is_new))
    return [*written, *(_put_alone(directory, name) for name in _ALONE)]


def _put_alone(directory: Path, name: str) -> Written:
    path = directory / f"{name}.tflite"
    is_new = not path.exists()
    if is_new:
        with OsErrorsOf(path):
            shutil.copyfile(_tflite_file(name), path)
    return Written(path.name, "the same as a TFLite file", is_new)


def _tflite_file(name: str) -> Path:
    return _DATA / name / ("2" if name == DIGITS else "") / Format.TFLITE.value


def _write_file(form: Format, data: bytes, staged: Path) -> None:
    (staged / form.value).write_bytes(data)


def _copy_digits(version: str, form: Format, staged: Path) -> None:
    source = _DATA / DIGITS / version
    shutil.copyfile(source / form.value, staged / form.value)
    shutil.copytree(source / "assets", staged / "assets")


def _put(base: Path, version: str, fill: Callable[[Path], None]) -> bool:
    """Make a version under another name and rename it; False where it is there already."""
    if (base / version).exists():
        return False
    staged: Path | None = None
    try:
        staged = Path(tempfile.mkdtemp(prefix=".writing-", dir=base))
        staged.chmod(0o755)
        fill(staged)
        staged.rename(base / version)
    except OSError as error:
        raise error_of_os(str(base / version), error) from error
    finally:
        if staged is not None:
            with suppress(OSError):
                shutil.rmtree(staged)
    return True


def _make_directory(path: Path) -> None:
    with OsErrorsOf(path):
        path.mkdir(parents=True, exist_ok=True)
