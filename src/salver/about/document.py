"""The document, as values that were checked when it was read.

All of it is for people: nothing here changes what a model computes. Tensors go by the names that
clients use.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, TypeAlias

__all__ = [
    "About",
    "Choice",
    "Example",
    "InputAbout",
    "InputKind",
    "Layout",
    "OutputAbout",
    "OutputKind",
    "SignatureAbout",
    "plain",
]

Choice: TypeAlias = "str | int | float | bool"


class InputKind(Enum):
    """What an input means to a person."""

    IMAGE = "image"
    AUDIO = "audio"
    TEXT = "text"
    CATEGORY = "category"
    NUMBER = "number"
    VECTOR = "vector"


class OutputKind(Enum):
    """What an output means to a person."""

    CLASSES = "classes"
    NUMBER = "number"
    IMAGE = "image"
    TEXT = "text"


class Layout(Enum):
    """The order of the axes of one picture: height, width, channels."""

    HWC = "HWC"
    CHW = "CHW"
    HW = "HW"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputAbout:
    """One input.

    Attributes:
        title: in place of its name.
        description: a sentence or two.
        kind: None where it is to be guessed.
        layout: of a picture.
        range: the least and the greatest value that the model was made for.
        inverted: of a picture, whether the model wants light marks on a dark ground, unlike ink on
            paper; None where that makes no difference.
        unit: of its numbers.
        names: of the columns of a vector.
        units: of the same columns, in the same order; none, or as many as names.
        choices: the only values it takes. Where the tensor holds whole numbers and these are
            texts, the number of the choice is sent, from 0 up.
    """

    title: str = ""
    description: str = ""
    kind: InputKind | None = None
    layout: Layout | None = None
    range: tuple[float, float] | None = None
    inverted: bool | None = None
    unit: str = ""
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputAbout:
    """One output.

    Attributes:
        title: in place of its name.
        description: a sentence or two.
        kind: None where it is to be guessed.
        labels: names of the classes, in their order.
        unit: of its numbers.
        threshold: from which value on a class counts as found, or a number as high.
    """

    title: str = ""
    description: str = ""
    kind: OutputKind | None = None
    labels: tuple[str, ...] = ()
    unit: str = ""
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Values to try a signature with. Each of its inputs is in one of the two.

    Attributes:
        title: what it is of.
        inputs: input → value as JSON has it: one row, or rows.
        files: input → file below `assets/`, with slashes.
    """

    title: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureAbout:
    """One signature."""

    title: str = ""
    description: str = ""
    inputs: Mapping[str, InputAbout] = field(default_factory=dict)
    outputs: Mapping[str, OutputAbout] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """A whole document.

    Attributes:
        title: of the model.
        description: of the model.
        signatures: by name.
        warnings: what was not understood and left out, a sentence each.
    """

    title: str = ""
    description: str = ""
    signatures: Mapping[str, SignatureAbout] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> frozenset[str]:
        """Every file that an example names, below `assets/`."""
        return frozenset(
            name
            for signature in self.signatures.values()
            for example in signature.examples
            for name in example.files.values()
        )


def plain(value: Any) -> Any:
    """The same as JSON has it; what is empty is left out of objects."""
    if is_dataclass(value):
        members = {of.name: getattr(value, of.name) for of in fields(value)}
        return {
            name: plain(member)
            for name, member in members.items()
            if member is not None and member not in ("", (), {})
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return value
