"""What TorchScript says of itself: the arguments of `forward` and what it returns.

Neither names of outputs nor dtypes and shapes stand in such a file. So inputs are `x` or `x0`,
`x1`, float32 of any rank, unless the model's options declare them.
"""

from pathlib import Path
from typing import Any, Final

from salver.backends.pytorch.archive import Archive
from salver.backends.pytorch.leaves import NUMBERS, Constant, Leaf, output_names
from salver.errors import FailedPrecondition
from salver.vocabulary.dtypes import DataType

__all__ = ["check_is_script", "script_inputs", "script_outputs"]

_NUMBERS: Final = {"int": int, "float": float, "bool": bool}
_CODE: Final = "code/"


def check_is_script(path: Path, archive: Archive) -> None:
    """See that a file is TorchScript.

    Raises:
        FailedPrecondition: it is what `torch.save` writes: weights, or a pickled module.
    """
    if archive.below(_CODE) and "constants.pkl" in archive:
        return
    raise FailedPrecondition(
        f"{path} holds pickled objects, weights perhaps, and no program",
        hint="Load it into the model it belongs to, and export that: "
        "torch.export.save(torch.export.export(model, (example,)), 'model.pt2')",
    )


def script_inputs(module: Any, declared: tuple[Leaf, ...]) -> tuple[Leaf | Constant, ...]:
    """The arguments of `forward`.

    Args:
        module: what `torch.jit.load` has given.
        declared: by the options, for those that are tensors or numbers, in their order.

    Raises:
        FailedPrecondition: one can be fed by no tensor, or others are declared.
    """
    arguments = module.forward.schema.arguments[1:]
    left_out = [of for of in arguments if _number(of) is None and not _is_tensor(of)]
    for of in left_out:
        if not of.has_default_value():
            raise FailedPrecondition(
                f"The argument {of.name} of forward is of type {of.type}, which cannot be sent"
            )
    fed = [of for of in arguments if of not in left_out and not _is_optional(of)]
    names = ["x"] if len(fed) == 1 else [f"x{number}" for number in range(len(fed))]
    if declared and len(declared) != len(fed):
        raise FailedPrecondition(
            f"{len(declared)} inputs are declared, and forward takes {len(fed)}: "
            + ", ".join(of.name for of in fed)
        )
    given = iter(declared or [_leaf(name, of) for name, of in zip(names, fed, strict=True)])
    return tuple(_input(of, next(given)) if of in fed else _constant(of) for of in arguments)


def script_outputs(module: Any) -> list[str] | None:
    """The names of what `forward` returns; None where only a run tells how much that is."""
    (returned,) = module.forward.schema.returns
    kind = returned.type.kind()
    if kind == "TensorType" or str(returned.type) in _NUMBERS:
        return output_names([()])
    if kind == "TupleType":
        elements = returned.type.elements()
        if all(of.kind() == "TensorType" or str(of) in _NUMBERS for of in elements):
            return output_names([(number,) for number in range(len(elements))])
    return None


def _constant(argument: Any) -> Constant:
    return Constant(argument.default_value if argument.has_default_value() else None)


def _input(argument: Any, leaf: Leaf) -> Leaf:
    number = _number(argument)
    default = argument.default_value if number and argument.has_default_value() else None
    dtype = leaf.dtype if number is None else NUMBERS[number]
    dims = leaf.dims if number is None else ()
    return Leaf(leaf.name, dtype, dims, number, default)


def _leaf(name: str, argument: Any) -> Leaf:
    number = _number(argument)
    if number is None:
        return Leaf(name, DataType.FLOAT32, None)
    return Leaf(name, NUMBERS[number], (), number)


def _number(argument: Any) -> type | None:
    return _NUMBERS.get(str(argument.type))


def _is_tensor(argument: Any) -> bool:
    return str(argument.type) in ("Tensor", "Optional[Tensor]")


def _is_optional(argument: Any) -> bool:
    """Whether it is left out: an optional tensor is None for whoever sends tensors."""
    return str(argument.type) == "Optional[Tensor]"
