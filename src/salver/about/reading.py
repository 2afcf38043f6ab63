"""JSON text → the document. An error names the place in it: `signatures.s.inputs.x.range: …`."""

import difflib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, Final, TypeVar

from salver.about.document import (
    About,
    Choice,
    Example,
    InputAbout,
    InputKind,
    Layout,
    OutputAbout,
    OutputKind,
    SignatureAbout,
)
from salver.errors import InvalidArgument

__all__ = ["MOST_BYTES", "NAME", "parse_about"]

NAME: Final = "salver.json"
MOST_BYTES: Final = 1 << 20
_SCHEMA: Final = 1
_MOST_EXAMPLES: Final = 100  # of a signature: more than a person looks through
_MOST_DEPTH: Final = 32
_SHOWN: Final = 60  # characters of a wrong value

E = TypeVar("E", bound=Enum)
T = TypeVar("T")


class _Wrong(Exception):
    """The document is wrong; the text says where, and what was wanted."""


class _Place:
    """A value and where it stands."""

    def __init__(self, path: str, value: Any, warnings: list[str]) -> None:
        self.path = path
        self.value = value
        self._warnings = warnings

    def wrong(self, wanted: str) -> _Wrong:
        shown = json.dumps(self.value, ensure_ascii=False, default=str)
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}…"
        return _Wrong(f"{self.path or 'the document'}: {wanted}, not {shown}")

    # -- what it holds ---------------------------------------------------------------------------

    def members(self, known: Collection[str]) -> "dict[str, _Place]":
        """The members of an object; what is null counts as absent, what is unknown is told of."""
        found = {}
        for name, place in self.entries().items():
            if name in known:
                found[name] = place
            else:
                meant = difflib.get_close_matches(name, known, 1)
                advice = f"; did you mean {meant[0]}?" if meant else ""
                self._warnings.append(f"{place.path} is not known, and left out{advice}")
        return found

    def entries(self) -> "dict[str, _Place]":
        """The members of an object, whatever they are called."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object is wanted")
        return {
            name: _Place(_joined(self.path, name), value, self._warnings)
            for name, value in self.value.items()
            if value is not None
        }

    def items(self) -> "list[_Place]":
        if not isinstance(self.value, list):
            raise self.wrong("a list is wanted")
        return [
            _Place(f"{self.path}[{at}]", value, self._warnings)
            for at, value in enumerate(self.value)
        ]

    # -- what it is ------------------------------------------------------------------------------

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("text is wanted")
        return self.value

    def label(self) -> str:
        """Text, or a number that serves as one."""
        if isinstance(self.value, bool) or not isinstance(self.value, (str, int, float)):
            raise self.wrong("text is wanted")
        return str(self.value)

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.wrong("a number is wanted")
        try:
            is_finite = math.isfinite(self.value)
        except OverflowError:  # a whole number of hundreds of digits
            is_finite = False
        if not is_finite:
            raise self.wrong("a finite number is wanted")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("true or false is wanted")
        return self.value

    def one_of(self, kind: type[E]) -> E | None:
        names = [each.value for each in kind]
        if self.value == "":
            return None
        if self.value not in names:
            raise self.wrong(f"one of {', '.join(names)} is wanted")
        return kind(self.value)

    def tensor(self) -> Any:
        """Any value, no deeper than tensors are."""
        level, depth = [self.value], 0
        while level:
            level = [
                inner
                for each in level
                if isinstance(each, (list, dict))
                for inner in (each if isinstance(each, list) else each.values())
            ]
            depth += 1
            if depth > _MOST_DEPTH:
                raise _Wrong(f"{self.path}: {_MOST_DEPTH} levels of lists at most are wanted")
        return self.value

    def choice(self) -> Choice:
        if isinstance(self.value, (str, bool)):
            return self.value
        return self.number()


def parse_about(data: bytes) -> About:
    """Read a document.

    Args:
        data: JSON in UTF-8.

    Raises:
        InvalidArgument: it is too long, no JSON, or wrong; the text names the place.
    """
    if len(data) > MOST_BYTES:
        raise InvalidArgument(f"{NAME} is longer than 1 MiB")
    warnings: list[str] = []
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique)
        return _about(_Place("", value, warnings), warnings)
    except _Wrong as error:
        raise InvalidArgument(f"{NAME}: {error}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidArgument(f"{NAME}: {error.msg} at {where}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"{NAME}: it is no UTF-8") from None
    except RecursionError:
        raise InvalidArgument(f"{NAME}: it is too deep") from None
    except ValueError as error:  # a number of thousands of digits
        raise InvalidArgument(f"{NAME}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Wrong(f"{json.dumps(twice, ensure_ascii=False)} stands twice in one object")
    return members


def _joined(path: str, name: str) -> str:
    word = name if name.replace("_", "").isalnum() else json.dumps(name, ensure_ascii=False)
    return f"{path}.{word}" if path else word


# -- the parts of a document -----------------------------------------------------------------------


def _about(place: _Place, warnings: list[str]) -> About:
    of = place.members(("schema", "title", "description", "signatures"))
    if "schema" in of and (of["schema"].value != _SCHEMA or of["schema"].value is True):
        raise of["schema"].wrong(f"{_SCHEMA} is the only one there is")
    about = About(
        title=_text(of, "title"),
        description=_text(of, "description"),
        signatures=_each(of, "signatures", _signature),
    )
    return replace(about, warnings=tuple(warnings))


def _signature(place: _Place) -> SignatureAbout:
    of = place.members(("title", "description", "inputs", "outputs", "examples"))
    examples = of["examples"].items() if "examples" in of else []
    if len(examples) > _MOST_EXAMPLES:
        raise _Wrong(f"{of['examples'].path}: {_MOST_EXAMPLES} examples at most are wanted")
    return SignatureAbout(
        title=_text(of, "title"),
        description=_text(of, "description"),
        inputs=_each(of, "inputs", _input),
        outputs=_each(of, "outputs", _output),
        examples=tuple(map(_example, examples)),
    )


def _input(place: _Place) -> InputAbout:
    of = place.members(InputAbout.__dataclass_fields__)
    names, units = _texts(of, "names"), _texts(of, "units")
    if units and len(units) != len(names):
        wanted = f"a unit for each of the {len(names)} names is wanted" if names else "names first"
        raise of["units"].wrong(wanted)
    return InputAbout(
        title=_text(of, "title"),
        description=_text(of, "description"),
        kind=of["kind"].one_of(InputKind) if "kind" in of else None,
        layout=of["layout"].one_of(Layout) if "layout" in of else None,
        range=_range(of["range"]) if "range" in of else None,
        inverted=of["inverted"].flag() if "inverted" in of else None,
        unit=_text(of, "unit"),
        names=names,
        units=units,
        choices=_choices(of["choices"]) if "choices" in of else (),
    )


def _output(place: _Place) -> OutputAbout:
    of = place.members(OutputAbout.__dataclass_fields__)
    return OutputAbout(
        title=_text(of, "title"),
        description=_text(of, "description"),
        kind=of["kind"].one_of(OutputKind) if "kind" in of else None,
        labels=_texts(of, "labels"),
        unit=_text(of, "unit"),
        threshold=of["threshold"].number() if "threshold" in of else None,
    )


def _example(place: _Place) -> Example:
    of = place.members(("title", "inputs", "files"))
    inputs = of["inputs"].entries() if "inputs" in of else {}
    files = of["files"].entries() if "files" in of else {}
    both = next((name for name in inputs if name in files), None)
    if both is not None:
        raise _Wrong(f"{files[both].path}: {both} has a value in inputs already")
    if not inputs and not files:
        raise _Wrong(f"{place.path}: an example has inputs, or files, or both")
    return Example(
        title=_text(of, "title"),
        inputs={name: each.tensor() for name, each in inputs.items()},
        files={name: _file(each) for name, each in files.items()},
    )


def _file(place: _Place) -> str:
    name = place.text()
    parts = name.split("/")
    is_inside = all(part not in ("", ".", "..") for part in parts)
    if not is_inside or "\\" in name or not name.isprintable():
        raise place.wrong("a file below assets/ is wanted, such as examples/one.png")
    return name


def _range(place: _Place) -> tuple[float, float]:
    ends = place.items()
    if len(ends) == 2:
        least, most = (end.number() for end in ends)
        if least < most:
            return least, most
    raise place.wrong("two numbers are wanted, the lesser first")


def _choices(place: _Place) -> tuple[Choice, ...]:
    found = tuple(each.choice() for each in place.items())
    if len({(isinstance(each, bool), each) for each in found}) < len(found):
        raise place.wrong("each choice is wanted once")
    return found


# -- members ---------------------------------------------------------------------------------------


def _text(of: Mapping[str, _Place], name: str) -> str:
    return of[name].text() if name in of else ""


def _texts(of: Mapping[str, _Place], name: str) -> tuple[str, ...]:
    return tuple(each.label() for each in of[name].items()) if name in of else ()


def _each(of: Mapping[str, _Place], name: str, read: Callable[[_Place], T]) -> dict[str, T]:
    return {key: read(each) for key, each in of[name].entries().items()} if name in of else {}
