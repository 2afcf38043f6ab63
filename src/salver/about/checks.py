"""Whether what a model says of itself fits the signatures it has."""

from collections.abc import Iterator, Mapping
from typing import Any

from salver.about.document import About, Example, InputAbout, OutputAbout, SignatureAbout
from salver.vocabulary.signature import Signature, TensorSpec

__all__ = ["misfits"]


def misfits(about: About, signatures: Mapping[str, Signature]) -> list[str]:
    """What the document says of things that the model has not, a sentence each; none at best."""
    return list(_misfits(about, signatures))


def _misfits(about: About, signatures: Mapping[str, Signature]) -> Iterator[str]:
    for name, of in about.signatures.items():
        path = f"signatures.{name}"
        if name not in signatures:
            yield f"{path}: the model has no such signature; it has {_listed(signatures)}"
            continue
        yield from _signature(path, of, signatures[name])


def _signature(path: str, about: SignatureAbout, signature: Signature) -> Iterator[str]:
    for name, given in about.inputs.items():
        spec = signature.inputs.get(name)
        if spec is None:
            yield f"{path}.inputs.{name}: {_no('input', signature.inputs)}"
        else:
            yield from _input(f"{path}.inputs.{name}", given, spec)
    for name, output in about.outputs.items():
        spec = signature.outputs.get(name)
        if spec is None:
            yield f"{path}.outputs.{name}: {_no('output', signature.outputs)}"
        else:
            yield from _output(f"{path}.outputs.{name}", output, spec)
    for at, example in enumerate(about.examples):
        yield from _example(f"{path}.examples[{at}]", example, signature)


def _input(path: str, about: InputAbout, spec: TensorSpec) -> Iterator[str]:
    columns = _columns(spec)
    if about.names and columns is not None and columns != len(about.names):
        yield f"{path}.names: {len(about.names)} names for {columns} columns"


def _output(path: str, about: OutputAbout, spec: TensorSpec) -> Iterator[str]:
    classes = _columns(spec)
    # A single score tells two classes apart.
    fitting = (1, 2) if classes == 1 else (classes,)
    if about.labels and classes is not None and len(about.labels) not in fitting:
        yield f"{path}.labels: {len(about.labels)} labels for {classes} classes"


def _example(path: str, example: Example, signature: Signature) -> Iterator[str]:
    given = {**example.inputs, **example.files}
    for name in given:
        if name not in signature.inputs:
            yield f"{path}: {_no('input', signature.inputs)}; {name!r} is none"
    missing = [name for name in signature.inputs if name not in given]
    if missing and not signature.defaults.keys() >= set(missing):
        yield f"{path}: input {missing[0]!r} has no value"
    for name, value in example.inputs.items():
        spec = signature.inputs.get(name)
        if spec is not None and not _fits(_sizes(value), spec.shape):
            yield f"{path}.inputs.{name}: {_sizes(value)} is no row, and no rows, of {spec.shape}"


def _sizes(value: Any) -> tuple[int, ...]:
    """The sizes of nested lists, by their first elements."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return tuple(sizes)


def _fits(sizes: tuple[int, ...], shape: tuple[int, ...] | None) -> bool:
    """Whether a value is as the shape says, or one row of it."""
    if shape is None:
        return True
    return any(
        len(sizes) == len(wanted)
        and all(size == want or want < 0 for size, want in zip(sizes, wanted, strict=True))
        for wanted in (shape, (-1, *shape[1:]), shape[1:])
    )


def _columns(spec: TensorSpec) -> int | None:
    """How many numbers a row has; None where that is open, or a row is no vector."""
    if spec.shape is None or len(spec.shape) != 2 or spec.shape[1] < 0:
        return None
    return spec.shape[1]


def _no(what: str, those: Mapping[str, Any]) -> str:
    return f"the signature has no such {what}; it has {_listed(those)}"


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, names)) or "none"
