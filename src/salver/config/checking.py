"""What is wrong with a model config file, and where: without starting a server."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from salver._pb import message_class
from salver.config.model_files import MESSAGE, model_server_config
from salver.config.models import (
    ModelConfig,
    absolute,
    from_message,
    platform_problem,
    problems_of,
)
from salver.config.structured import Path, Places
from salver.config.text_format import Misplaced, ending_of
from salver.config.text_places import text_places
from salver.errors import ServingError
from salver.vocabulary.servable import Specific

__all__ = ["CheckOptions", "Finding", "findings", "read"]

_MODELS: Path = ("model_config_list", "config")

CheckOptions = Callable[[ModelConfig], ServingError | None]
"""What is wrong with the options that a model has for its backend."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong, from line 1 and column 1."""

    line: int
    column: int
    text: str


def findings(
    content: bytes,
    path: str,
    platforms: Collection[str],
    check_options: CheckOptions = lambda _model: None,
) -> list[Finding]:
    """All that is wrong with a file, in its order; after what is no message, nothing more.

    Args:
        content: of the file.
        path: whose ending says what it is, and from whose directory relative paths start.
        platforms: that models may ask for.
        check_options: see there.
    """
    try:
        models, places = read(content, path)
    except Misplaced as error:
        return [Finding(error.line, error.column, str(error))]
    except ServingError as error:
        return [Finding(1, 1, error.message)]
    found = []
    for index, field, problem in _problems(models, platforms, check_options):
        hint = f" ({problem.hint})" if problem.hint else ""
        place = _place(places, (*_MODELS, index, *field))
        found.append(Finding(*place, f"{problem.message}{hint}"))
    return sorted(found)


def read(content: bytes, path: str) -> tuple[Sequence[ModelConfig], Places]:
    """The models of a file, and where everything of theirs is.

    Raises:
        Misplaced: it is no ModelServerConfig.
        Unimplemented: see `models.from_message`.
    """
    places: Places = {}
    message = model_server_config(content, path, places=places)
    if not ending_of(path):
        places = text_places(content.decode(), message_class(MESSAGE).DESCRIPTOR)
    return absolute(from_message(message) or (), path), places


def _problems(
    models: Sequence[ModelConfig], platforms: Collection[str], check_options: CheckOptions
) -> Iterator[tuple[int, Path, ServingError]]:
    for problem in problems_of(models):
        yield problem.index, tuple(problem.field.split(".")), problem.error
    for index, model in enumerate(models):
        error = platform_problem(model, platforms)
        if error is not None:
            yield index, ("model_platform",), error
        elif (error := check_options(model)) is not None:
            yield index, ("salver", "options"), error
        for field, text in _oddities(model):
            yield index, field, ServingError(f"Model {model.name} {text}")


def _oddities(model: ModelConfig) -> Iterator[tuple[Path, str]]:
    """What a server takes, and no one can have meant."""
    if not model.name:
        yield ("name",), "has no name"
    policy = model.version_policy
    if isinstance(policy, Specific):
        where = ("model_version_policy", "specific")
        if not policy.versions:
            yield where, "asks for specific versions and names none"
        for index, version in enumerate(policy.versions):
            if version < 0:
                yield (*where, "versions", index), f"asks for version {version}"
    for label, version in model.version_labels.items():
        if version < 0:
            yield ("version_labels", label), f"gives the label {label} to version {version}"
        elif isinstance(policy, Specific) and version not in policy.versions:
            text = f"gives the label {label} to version {version}, which it does not serve"
            yield ("version_labels", label), text


def _place(places: Places, path: Path) -> tuple[int, int]:
    """Where a value is, or what it would be in."""
    while path not in places:
        path = path[:-1]
    return places[path]
