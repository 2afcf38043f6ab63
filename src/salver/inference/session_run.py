"""SessionRun: any tensors of a graph, by their own names or by those of a signature. Pure.

TensorFlow Serving describes this service (`apis/session_service.proto`) and its stock server does
not offer it. Where nothing is said of an error, the words are those of Predict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from salver.errors import InvalidArgument
from salver.inference.predict import unknown_output, unknown_serving_signature
from salver.signature import Signature

__all__ = ["SessionNames", "names_in_graph"]


@dataclass(frozen=True, slots=True)
class SessionNames:
    """What is fed, fetched and run to.

    Attributes:
        feeds: tensors, in the graph `x:0` or `x`.
        fetches: tensors.
        targets: nodes; outputs of a signature, where these are its names.
    """

    feeds: Sequence[str]
    fetches: Sequence[str]
    targets: Sequence[str]


def names_in_graph(
    aliases: SessionNames, signature_name: str, signatures: Mapping[str, Signature]
) -> SessionNames:
    """The names in the graph of what a signature has its own names for.

    Raises:
        FailedPrecondition: there is no such signature.
        InvalidArgument: the signature has no such input or output.
    """
    signature = signatures.get(signature_name)
    if signature is None:
        raise unknown_serving_signature(signature_name, signatures)
    targets = _outputs(signature, aliases.targets)
    return SessionNames(
        feeds=_inputs(signature, aliases.feeds),
        fetches=_outputs(signature, aliases.fetches),
        targets=tuple(tensor_name.partition(":")[0] for tensor_name in targets),
    )


def _inputs(signature: Signature, aliases: Sequence[str]) -> tuple[str, ...]:
    for alias in aliases:
        if alias not in signature.inputs:
            raise InvalidArgument(
                f"input tensor alias not found in signature: {alias} Inputs expected to be in the "
                f"set {{{','.join(sorted(signature.inputs))}}}."
            )
    return tuple(signature.inputs[alias].tensor_name for alias in aliases)


def _outputs(signature: Signature, aliases: Sequence[str]) -> tuple[str, ...]:
    for alias in aliases:
        if alias not in signature.outputs:
            raise unknown_output(signature, alias)
    return tuple(signature.outputs[alias].tensor_name for alias in aliases)
