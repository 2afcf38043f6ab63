"""Whether what a model's `requirements.txt` asks for is installed."""

from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from salver.errors import FailedPrecondition, ServingError
from salver.instruments.files import error_of_os, open_regular

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["check_requirements"]

_MOST_BYTES: Final = 1 << 20
_DEEPEST: Final = 10


def check_requirements(path: Path) -> None:
    """See that all is installed, in the versions that are asked for.

    Markers and extras count; of a URL only the name. Lines with options mean nothing here, but for
    `-r FILE`.

    Args:
        path: of a `requirements.txt`; where there is none, all is well.

    Raises:
        FailedPrecondition: something is missing, or a line cannot be read; the text names it.
        ServingError: the file cannot be read.
    """
    if not path.exists():
        return
    seen: set[str] = set()
    lacking: list[str] = []
    for where, line in _lines(path, _DEEPEST):
        lacking += _lacking(_read(where, line), seen)
    if lacking:
        error = FailedPrecondition(
            f"{path} asks for what is not installed: {', '.join(lacking)}",
            hint=f"pip install -r {path}",
        )
        error.is_final = True
        raise error


def _lines(path: Path, depth: int) -> Iterator[tuple[str, str]]:
    text = _text(path).replace("\\\n", " ")
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split(" #")[0].strip()
        if not code or code.startswith("#"):
            continue
        name, _, rest = code.partition(" ")
        if name in ("-r", "--requirement") and depth:
            yield from _lines(path.parent / rest.strip(), depth - 1)
        elif not code.startswith("-"):
            yield f"{path}, line {number}", code.split(" --")[0].strip()


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise error_of_os(str(path), error) from error
    if len(data) > _MOST_BYTES:
        raise FailedPrecondition(f"{path} has more than {_MOST_BYTES} bytes")
    return data.decode(errors="replace")


def _read(where: str, line: str) -> "Requirement":
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(line)
    except InvalidRequirement as error:
        failed: ServingError = FailedPrecondition(
            f"{where} names no package: {line:.100}", hint=str(error).partition("\n")[0]
        )
        failed.is_final = True
        raise failed from None


def _lacking(wanted: "Requirement", seen: set[str], extra: str = "") -> Iterator[str]:
    """What of a requirement is not there; with its extras, each looked at once."""
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
        return
    key = f"{wanted}"
    if key in seen:
        return
    seen.add(key)
    try:
        found = distribution(wanted.name)
    except PackageNotFoundError:
        yield f"{wanted.name}{wanted.specifier} (not installed)"
        return
    if not wanted.specifier.contains(found.version, prereleases=True):
        yield f"{wanted.name}{wanted.specifier} ({found.version} is installed)"
    for each in sorted(wanted.extras):
        yield from _lacking_of_extra(found, each, seen)


def _lacking_of_extra(found: Distribution, extra: str, seen: set[str]) -> Iterator[str]:
    from packaging.requirements import Requirement

    for text in found.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            continue  # it is there in any case
        yield from _lacking(needed, seen, extra)
