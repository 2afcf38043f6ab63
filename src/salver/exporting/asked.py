"""What goes into an exporter beside the object, and what comes out beside the files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["NOTHING_ASKED", "NOTHING_MADE", "Asked", "Made", "bases"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller says of a model.

    Attributes:
        inputs: of a PyTorch module an example of them; of a function their types. None: nothing.
        outputs: of a function their types.
    """

    inputs: Any = None
    outputs: Any = None


NOTHING_ASKED: Final = Asked()


@dataclass(frozen=True, slots=True)
class Made:
    """What a model says of itself that is in none of its files.

    Attributes:
        labels: of its classes, in their order; empty for none.
        about: for `assets/salver.json`, where the caller gives nothing; None for nothing.
        warnings: for the caller.
        flags: of a server, without which it does not load the files; name → value.
    """

    labels: tuple[str, ...] = ()
    about: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)


NOTHING_MADE: Final = Made()


def bases(model: Any, package: str) -> list[type]:
    """The classes of an object that a package has defined, by the names of their modules."""
    kinds = type(model).__mro__
    return [kind for kind in kinds if str(kind.__module__).partition(".")[0] == package]
