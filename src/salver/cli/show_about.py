"""What `salver show` tells of `assets/salver.json`: titles, ranges, units, labels, examples."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from salver.about.assets import ASSETS, read_about
from salver.about.checks import misfits
from salver.about.document import About, Example, InputAbout, OutputAbout, SignatureAbout
from salver.about.reading import NAME
from salver.errors import ServingError
from salver.instruments.files import error_of_os
from salver.vocabulary.signature import Signature

__all__ = ["describe_about", "show_about"]

_SHOWN: Final = 12  # of a list


def show_about(version: Path, signatures: Mapping[str, Signature] | None) -> str:
    """What a version says of itself, and what is wrong with that; empty where it says nothing.

    Args:
        version: the directory of a version.
        signatures: of the model; None where only a load tells.
    """
    head = f"{ASSETS}/{NAME}"
    try:
        about = read_about(version)
        if about is None:
            return ""
        wrong = [] if signatures is None else misfits(about, signatures)
    except ServingError as error:
        return f"{head} cannot be used:\n  {_harmless(error.message)}"
    except OSError as error:
        return f"{head} cannot be used:\n  {error_of_os(head, error).message}"
    told = [f"  warning: {warning}" for warning in (*about.warnings, *wrong)]
    return "\n".join([f"{head} says:", *map(_harmless, [*describe_about(about), *told])])


def describe_about(about: About) -> Iterator[str]:
    """The document in lines for a person."""
    yield from _words(about.title, about.description, "  ")
    for name, signature in about.signatures.items():
        yield f"  signature {name}:"
        yield from _signature(signature)


def _signature(about: SignatureAbout) -> Iterator[str]:
    yield from _words(about.title, about.description, "    ")
    for name, given in about.inputs.items():
        yield f"    input {name}: {_facts(_input(given))}"
        yield from _words(given.title, given.description, "      ")
    for name, output in about.outputs.items():
        yield f"    output {name}: {_facts(_output(output))}"
        yield from _words(output.title, output.description, "      ")
    if about.examples:
        yield f"    examples: {_listed([_example(each) for each in about.examples], '; ')}"


def _input(about: InputAbout) -> Iterator[str]:
    if about.kind is not None:
        yield about.kind.value + (f" {about.layout.value}" if about.layout is not None else "")
    if about.range is not None:
        least, most = about.range
        yield f"from {least:g} to {most:g}{_unit(about.unit)}"
    elif about.unit:
        yield f"in {about.unit}"
    if about.inverted is not None:
        yield "light on dark" if about.inverted else "dark on light"
    if about.names:
        units = about.units or ("",) * len(about.names)
        columns = zip(about.names, units, strict=True)
        named = [f"{name}{_unit(unit, '(', ')')}" for name, unit in columns]
        yield f"columns {_listed(named)}"
    if about.choices:
        yield f"one of {_listed(about.choices)}"


def _output(about: OutputAbout) -> Iterator[str]:
    if about.kind is not None:
        yield about.kind.value
    if about.labels:
        yield f"{len(about.labels)} labels: {_listed(about.labels)}"
    if about.unit:
        yield f"in {about.unit}"
    if about.threshold is not None:
        yield f"threshold {about.threshold:g}"


def _example(about: Example) -> str:
    files = ", ".join(about.files.values())
    if about.title:
        return f"{about.title} ({files})" if files else about.title
    return files or "untitled"


def _words(title: str, description: str, indent: str) -> Iterator[str]:
    for words in (title, description):
        if words:
            yield f"{indent}{' '.join(words.split())}"


def _facts(facts: Iterator[str]) -> str:
    return "; ".join(facts) or "nothing more"


def _unit(unit: str, before: str = "", after: str = "") -> str:
    return f" {before}{unit}{after}" if unit else ""


def _listed(values: Sequence[object], between: str = ", ") -> str:
    shown = between.join(str(value) for value in values[:_SHOWN])
    return shown + (f"{between}…" if len(values) > _SHOWN else "")


def _harmless(line: str) -> str:
    """A line without what a terminal would obey: a stranger may have written it."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)
