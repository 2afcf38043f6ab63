"""The parameters of an inference request, over REST and gRPC alike. Pure.

Known are `signature_name`, `timeout` (µs), `priority` and `binary_data_output`; what would need
sequences or shared memory is refused by name; all others are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from salver.errors import InvalidArgument, Unimplemented

__all__ = ["NO_PARAMETERS", "Parameters", "read_parameters", "refuse_shared_memory"]

_INTERACTIVE: Final = 1
_GREATEST: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request asks for beside its tensors.

    Attributes:
        signature_name: which signature is meant; empty: the default one.
        timeout_s: how long the run may take; None: it does not say.
        priority: as given: 0 for the usual, 1 for interactive; what is more is batch work.
        is_binary: whether the outputs are to be raw bytes where nothing else is said of one of
            them. REST's alone (`binary_data_output`).
    """

    signature_name: str = ""
    timeout_s: float | None = None
    priority: int = 0
    is_binary: bool = False

    @property
    def is_batch(self) -> bool:
        """Whether the run waits behind those of interactive requests."""
        return self.priority > _INTERACTIVE


NO_PARAMETERS: Final = Parameters()


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Read the `parameters` of a request.

    Args:
        given: name → bool, int, float or str, as it came.

    Raises:
        InvalidArgument: a known one has a value that it cannot have.
        Unimplemented: it asks for sequences or shared memory.
    """
    if not given:
        return NO_PARAMETERS
    for name, value in given.items():
        # Clients that know sequences write 0 or false where a request is of none.
        if name.startswith("sequence_") and value:
            raise Unimplemented(f"sequences are not supported: parameter '{name}'")
    refuse_shared_memory(given, "request")
    signature_name = given.get("signature_name", "")
    if type(signature_name) is not str:
        raise _unparsed("signature_name")
    is_binary = given.get("binary_data_output", False)
    if type(is_binary) is not bool:
        raise _unparsed("binary_data_output")
    micros = _unsigned(given, "timeout")
    return Parameters(
        signature_name, micros / 1e6 if micros else None, _unsigned(given, "priority"), is_binary
    )


def refuse_shared_memory(given: Mapping[str, Any], whose: str) -> None:
    """Refuse the parameters of a request, an input or an output that want shared memory.

    Raises:
        Unimplemented: they do.
    """
    for name in given:
        if name.startswith("shared_memory_"):
            raise Unimplemented(f"shared memory is not supported: parameter '{name}' of {whose}")


def _unsigned(given: Mapping[str, Any], name: str) -> int:
    value = given.get(name, 0)
    if type(value) is not int or not 0 <= value <= _GREATEST:
        raise _unparsed(name)
    return value


def _unparsed(name: str) -> InvalidArgument:
    return InvalidArgument(f"Unable to parse '{name}'")
