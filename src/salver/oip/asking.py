"""An inference request of the Open Inference Protocol, whichever wire it came by.

A wire reads its message into `Asked`, makes a subclass of `OipRequest` of it, and writes what
`OipRequest.write` is handed. What lies between is here: the signature that is meant, the inputs
matched by name, their dtypes checked, the outputs picked, classes made of scores.
Errors are in Triton's words, because clients match on them.

Source: the specification's "Inference", and Triton's `core/src/infer_request.cc`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Final, Generic, Protocol, TypeVar

from salver.codecs.oip.dtypes import DATATYPES, datatype_name, datatype_of_array, dtype_of_name
from salver.codecs.oip.tensors import InputMismatch
from salver.codecs.protobuf.room import Room
from salver.errors import Internal, InvalidArgument
from salver.inference.call import InferenceRequest, IsActive
from salver.inference.logged import LoggedCall, Tensors
from salver.inference.servable import SignatureCall, Stream, StreamedRun
from salver.inference.serving import Handle
from salver.instruments.threads import LARGE_BYTES
from salver.oip.asked import AnsweredOutput, Asked, GivenInput, RequestedOutput
from salver.oip.classification import classified
from salver.oip.starts import InBatch, Limited
from salver.vocabulary.access import Priority, current_priority
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.hints import signatures_hint
from salver.vocabulary.requests import Array, ServableRequest, TakesLong
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import DEFAULT_SIGNATURE, Signature, TensorSpec, is_internal

__all__ = [
    "Labels",
    "OipRequest",
    "default_signature",
    "dims_text",
]

A = TypeVar("A")

_MOST_SCORES_IN_LOOP: Final = 1024  # takes up to 0.4 ms


class Labels(Protocol):
    """The labels of the classes of models, once they were read from the disk. Thread-safe."""

    def is_known(self, id: ServableId) -> bool:
        """Whether the labels of a version were read."""
        ...

    def read(self, id: ServableId) -> None:
        """Read them from the disk; never raises, and may take long."""
        ...

    def of_output(self, id: ServableId, signature_name: str, output: str) -> Sequence[str] | None:
        """The labels of an output, as they were read; None where nobody gave any."""
        ...


class OipRequest(InferenceRequest[A], Generic[A]):
    """A request, as a codec of REST or gRPC has read it. Subclasses have `write`.

    Attributes:
        asked: what it asks for.
        call: of the signature that is meant, from `decode` on.
        data: the message, for the log and to know its size.
    """

    __slots__ = ("_fetches", "_labels", "asked", "call", "data")

    meter_key: tuple[str, str] = ("infer", "REST")
    """Method and entrypoint, for `SignatureCall.meters`; gRPC's is `("infer", "GRPC")`."""

    asked: Asked
    call: SignatureCall
    _fetches: Sequence[str]

    def __init__(
        self, servable: ServableRequest, asked: Asked, data: bytes, labels: Labels | None = None
    ) -> None:
        """Take what was read.

        Args:
            servable: which one it wants.
            asked: see there.
            data: the message.
            labels: for classifications; None: no class has one.
        """
        self.servable = servable
        self.asked = asked
        self.data = data
        self._labels = labels

    def write(self, outputs: Sequence[AnsweredOutput]) -> A:
        """Make the answer. `handle.id.version` is who answers, `asked.id` is repeated."""
        raise NotImplementedError

    def inputs(self, signature: Signature) -> Sequence[GivenInput]:
        """The inputs that the request gives; a subclass may need the signature to know them."""
        return self.asked.inputs

    # -- before the run --------------------------------------------------------------------------

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`.

        Raises:
            InvalidArgument: in Triton's words.
            TakesLong: in the loop.
        """
        asked, model = self.asked, handle.model
        parameters = asked.parameters
        name = parameters.signature_name
        # Most models have one of this name, which is found without a look at the others.
        call = model.call(name or DEFAULT_SIGNATURE)
        if call is None and not name:
            name = default_signature(model.signatures)
            call = model.call(name)
        if call is None:
            raise InvalidArgument(
                f'Serving signature name: "{name}" not found in signature def',
                hint=signatures_hint(model.signatures),
            )
        self.call = call
        self._fetches = names = call.output_names
        start = call.start
        outputs = asked.outputs
        if outputs:
            if len(outputs) != 1 or len(names) != 1 or outputs[0].name != names[0]:
                self._fetches = self._requested(call.signature)
                in_order = tuple([alias for alias in names if alias in self._fetches])
                if len(in_order) != len(names):
                    start = model.part(call.name, in_order).start
            self._await_labels(handle.id, is_active)
        try:
            self.feeds = self._feeds(call.signature, is_active)
        except InputMismatch as error:
            raise error.of_model(self.servable.name) from None
        self.handle = handle
        self.start = start
        self.meter = call.meters[self.meter_key]
        if parameters.timeout_s is not None:
            self.start = Limited(self.start, parameters.timeout_s)
        if parameters.priority and parameters.is_batch:
            self.start = InBatch(self.start)
        return True

    def _requested(self, signature: Signature) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for output in self.asked.outputs:
            if output.name not in signature.outputs:
                raise InvalidArgument(
                    f"unexpected inference output '{output.name}' for model '{self.servable.name}'",
                    hint=f"The outputs are: {', '.join(signature.outputs)}",
                )
            if output.name in names:
                raise InvalidArgument(f"output '{output.name}' already exists in request")
            names[output.name] = None
        return tuple(names)

    def _await_labels(self, id: ServableId, is_active: IsActive | None) -> None:
        labels = self._labels
        if labels is None or labels.is_known(id):
            return
        if any(output.classification for output in self.asked.outputs):
            if is_active is None:
                raise TakesLong
            labels.read(id)

    def _feeds(self, signature: Signature, is_active: IsActive | None) -> list[Array]:
        room = Room(len(self.data), made_bytes=LARGE_BYTES if is_active is None else inf)
        inputs, specs = self.inputs(signature), signature.inputs
        if len(inputs) == len(specs) == 1:  # as most have: in a third of the time
            only = inputs[0]
            spec = specs.get(only.name)
            if spec is not None:
                dtype = DATATYPES.get(only.datatype)
                if dtype is None or dtype is not spec.dtype:
                    dtype = self._checked(only, spec)
                return [only.read(dtype, only.shape, only.name, room)]
        given: dict[str, GivenInput] = {}
        for each in inputs:
            if each.name in given:
                raise InvalidArgument(f"input '{each.name}' already exists in request")
            given[each.name] = each
        self._check_names(signature, given)
        # All are checked before the first is read, which may take long.
        dtypes = {name: self._checked(each, signature.inputs[name]) for name, each in given.items()}
        arrays = {
            name: each.read(dtypes[name], each.shape, name, room) for name, each in given.items()
        }
        if len(arrays) == len(signature.inputs):
            return [arrays[alias] for alias in signature.inputs]
        return signature.filled(arrays)

    def _check_names(self, signature: Signature, given: Mapping[str, GivenInput]) -> None:
        inputs = signature.inputs
        may_lack = {alias for alias, value in signature.defaults.items() if value is not None}
        least = len(inputs.keys() - may_lack)
        if least <= len(given) <= len(inputs):
            for name in given:
                if name not in inputs:
                    raise InvalidArgument(
                        f"unexpected inference input '{name}' for model '{self.servable.name}'",
                        hint=_inputs_hint(inputs),
                    )
            if all(alias in given or alias in may_lack for alias in inputs):
                return
        missing = [alias for alias in inputs if alias not in given and alias not in may_lack]
        wanted = f"expected {len(inputs)} inputs"
        if least != len(inputs):
            wanted = f"expected number of inputs between {least} and {len(inputs)}"
        raise InvalidArgument(
            f"{wanted} but got {len(given)} inputs for model '{self.servable.name}'. Got input(s) "
            f"{_quoted(given)}, but missing required input(s) {_quoted(missing)}. Please provide "
            "all required input(s).",
            hint=_inputs_hint(inputs),
        )

    def _checked(self, given: GivenInput, spec: TensorSpec) -> DataType:
        """The dtype of an input, which is the one that the signature declares.

        Its shape may be another than is declared, as over TensorFlow Serving's API: what exporters
        declare is not always what they mean, and the model knows best.
        """
        dtype = dtype_of_name(given.datatype)
        if dtype is None:
            raise InvalidArgument(
                f"invalid datatype for input {given.name}: '{given.datatype}'",
                hint=f"There are: {', '.join(DATATYPES)}",
            )
        if spec.dtype is not dtype and datatype_name(spec.dtype) != given.datatype:
            raise InvalidArgument(
                f"inference input '{given.name}' data-type is '{given.datatype}', but model "
                f"'{self.servable.name}' expects '{datatype_name(spec.dtype)}'"
            )
        return dtype

    def begin(self, stream: Stream, timeout_s: float | None) -> StreamedRun:
        """See `InferenceRequest`."""
        if not self.asked.parameters.is_batch:
            return super().begin(stream, timeout_s)
        token = current_priority.set(Priority.BATCH)
        try:
            return super().begin(stream, timeout_s)
        finally:
            current_priority.reset(token)

    def time_left(self, timeout_s: float | None) -> float | None:
        """See `InferenceRequest`."""
        limit_s = self.asked.parameters.timeout_s
        if limit_s is None or timeout_s is None:
            return timeout_s if limit_s is None else limit_s
        return min(limit_s, timeout_s)

    # -- after it --------------------------------------------------------------------------------

    def encode(self, outputs: list[Array]) -> A:
        """See `InferenceRequest`."""
        return self.write(self.answered(outputs))

    def encode_large(self, outputs: list[Array], check: Callable[[], None]) -> A:
        """See `InferenceRequest`."""
        return self.write(self.answered(outputs, check))

    def logged(self, outputs: list[Array], answer: A, *, wants_bodies: bool) -> LoggedCall | None:
        """See `InferenceRequest`. As a Predict of the same tensors: a log has no other form."""
        del answer, wants_bodies
        call = self.call
        names = [alias for alias in call.output_names if alias in self._fetches]
        tensors = Tensors(
            dict(zip(call.signature.inputs, self.feeds, strict=True)),
            dict(zip(names, outputs, strict=True)),
            tuple(names) if len(names) < len(call.signature.outputs) else (),
        )
        version = self.handle.id.version
        return LoggedCall("predict", self.servable, version, call.name, tensors)

    def answered(
        self, outputs: list[Array], check: Callable[[], None] | None = None
    ) -> list[AnsweredOutput]:
        """The outputs of a run, in the order in which the request names them.

        Args:
            outputs: of the run.
            check: called now and then; None: this is the loop.

        Raises:
            TakesLong: in the loop, where many scores are to be put in order.
            Internal: an output is of a type that the protocol has not.
            InvalidArgument: it cannot be classified.
        """
        fetches, signature = self._fetches, self.call.signature
        if len(fetches) == len(outputs) == 1 and not self.asked.outputs:
            return [AnsweredOutput(fetches[0], _datatype(fetches[0], outputs[0]), outputs[0])]
        in_order = [alias for alias in signature.outputs if alias in fetches]
        if len(in_order) != len(outputs):
            raise Internal(f"the model gave {len(outputs)} outputs, not {len(in_order)}")
        arrays = dict(zip(in_order, outputs, strict=True))
        requested = {output.name: output for output in self.asked.outputs}
        return [self._one(alias, arrays[alias], requested.get(alias), check) for alias in fetches]

    def _one(
        self,
        alias: str,
        array: Array,
        requested: RequestedOutput | None,
        check: Callable[[], None] | None,
    ) -> AnsweredOutput:
        if requested is not None and requested.classification:
            if check is None and array.size > _MOST_SCORES_IN_LOOP:
                raise TakesLong
            labels = None
            if self._labels is not None:
                labels = self._labels.of_output(self.handle.id, self.call.name, alias)
            shape = self.call.signature.outputs[alias].shape
            array = classified(
                array,
                requested.classification,
                labels,
                has_rows=array.ndim > 1 if not shape else shape[0] < 0,
                name=alias,
                check=check,
            )
        return AnsweredOutput(alias, _datatype(alias, array), array, requested)


def default_signature(signatures: Iterable[str]) -> str:
    """The signature of a request that names none: `serving_default`, else the only one there is."""
    names = [name for name in signatures if not is_internal(name)]
    return names[0] if len(names) == 1 else DEFAULT_SIGNATURE


def _datatype(alias: str, array: Array) -> str:
    try:
        name = datatype_of_array(array.dtype)
    except TypeError:
        name = str(array.dtype)
    if name not in DATATYPES:
        raise Internal(f"output '{alias}' is {name}, which this protocol cannot carry")
    return name


_MOST_SHOWN: Final = 20


def _inputs_hint(specs: Mapping[str, TensorSpec]) -> str:
    if not specs:
        return "The model has no inputs."
    shown = [
        f"{name} {datatype_name(spec.dtype)} {dims_text(spec.shape)}"
        for name, spec in list(specs.items())[:_MOST_SHOWN]
    ]
    more = f" and {len(specs) - _MOST_SHOWN} more" if len(specs) > _MOST_SHOWN else ""
    return f"The inputs are: {', '.join(shown)}{more}"


def dims_text(shape: tuple[int, ...] | None) -> str:
    """A shape as Triton writes it: `[-1,2]`; of an unknown rank, `[...]`."""
    return "[...]" if shape is None else f"[{','.join(map(str, shape))}]"


def _quoted(names: Iterable[str]) -> str:
    shown = [f"'{name}'" for name in names]
    more = f",… {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
    return f"[{','.join(shown[:_MOST_SHOWN])}{more}]"
