"""PredictionService: questions to one version of a model.

Source: TensorFlow Serving, `model_servers/prediction_service_impl.cc` and what it calls in
`servables/tensorflow/`.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Literal

from salver.codecs.protobuf.example_messages import (
    MultiInferenceRequest,
    decode_classification_request,
    decode_multi_inference_request,
    decode_regression_request,
    encode_classification_response,
    encode_multi_inference_response,
    encode_regression_response,
)
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.service_messages import (
    decode_metadata_request,
    encode_metadata_response,
)
from salver.codecs.protobuf.signature_def import definitions_of
from salver.errors import InvalidArgument
from salver.inference.call import IsActive
from salver.inference.examples import (
    classify_result,
    example_tensor,
    examples_call,
    regress_result,
)
from salver.inference.logged import NO_LOGS, CallLogs
from salver.inference.multi import MultiRun, MultiTask, check_tasks, multi_results, multi_run
from salver.inference.servable import SignatureCall
from salver.inference.serving import Handle, Serving, info_of
from salver.inference.traced import make_inference
from salver.instruments.threads import InPool
from salver.protocols.methods import Call, MethodTable
from salver.tfs.rpc.calls import MessageRequest, given_spec, room_for, servable_request
from salver.tfs.rpc.predict import PredictCodecs, answered_spec
from salver.tracing.tracer import Tracer
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["PredictionService"]

Answer = bytes | Coroutine[Any, Any, bytes]

_SERVICE: Final = "/tensorflow.serving.PredictionService"
_SIGNATURE_DEF: Final = "signature_def"

_ExamplesMethod = Literal["classify", "regress"]
_DECODERS: Final = {
    "classify": decode_classification_request,
    "regress": decode_regression_request,
}


class PredictionService:
    """Answers the five calls. Belongs to the loop.

    Attributes:
        alike: see `Api.alike`.
    """

    def __init__(
        self,
        serving: Serving,
        *,
        in_pool: InPool,
        is_method_checked: bool = False,
        as_content: bool = False,
        logs: CallLogs = NO_LOGS,
        entrypoint: str = "GRPC",
        count_examples: Callable[[str, int], None] = lambda _model, _count: None,
        tracer: Tracer | None = None,
    ) -> None:
        """Make the service.

        Args:
            serving: finds the servables.
            in_pool: runs a function in the run pool.
            is_method_checked: `--enable_signature_method_name_check`.
            as_content: `--enable_serialization_as_tensor_content`.
            logs: take the calls that are answered.
            entrypoint: what metrics call this way in; see `Servable.meter`.
            count_examples: told the model of a MultiInference and its examples; from any thread.
            tracer: takes notes of the calls; None where nobody does.
        """
        self._entrypoint = entrypoint
        self._count_examples = count_examples
        self._serving = serving
        self._is_method_checked = is_method_checked
        self._answer = make_inference(
            serving, in_pool, logs, is_deadline=True, tracer=tracer
        ).answer
        codecs = PredictCodecs(
            is_method_checked=is_method_checked, as_content=as_content, entrypoint=entrypoint
        )
        self._predict = codecs.all
        self.alike: Final = {f"{_SERVICE}/Predict": codecs.alike.find}
        self._classify = (partial(self._read_examples, "classify"),)
        self._regress = (partial(self._read_examples, "regress"),)
        self._multi = (self._read_multi,)

    def methods(self) -> MethodTable:
        """Its part of the table."""
        return {
            f"{_SERVICE}/Predict": self.predict,
            f"{_SERVICE}/Classify": self.classify,
            f"{_SERVICE}/Regress": self.regress,
            f"{_SERVICE}/MultiInference": self.multi_inference,
            f"{_SERVICE}/GetModelMetadata": self.get_model_metadata,
        }

    def predict(self, data: bytes, call: Call) -> Answer:
        """Predict: named tensors in, named tensors out.

        Raises:
            ServingError: also out of the coroutine.
        """
        return self._answer(self._predict, data, None, call.timeout_s, is_first_in_loop=True)

    def classify(self, data: bytes, call: Call) -> Answer:
        """Classify: examples in, classes out; raises as `predict`."""
        return self._answer(self._classify, data, None, call.timeout_s)

    def regress(self, data: bytes, call: Call) -> Answer:
        """Regress: examples in, values out; raises as `predict`."""
        return self._answer(self._regress, data, None, call.timeout_s)

    def multi_inference(self, data: bytes, call: Call) -> Answer:
        """MultiInference: both, of the same examples in one run; raises as `predict`."""
        return self._answer(self._multi, data, None, call.timeout_s)

    def get_model_metadata(self, data: bytes, _call: Call) -> bytes:
        """GetModelMetadata: all signatures of a version, verbatim.

        Raises:
            InvalidArgument: the request is wrong.
            ServingError: the version is not available.
        """
        request = decode_metadata_request(data)
        spec = given_spec(request.spec)
        if not request.fields:
            raise InvalidArgument(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.fields:
            if field != _SIGNATURE_DEF:
                raise InvalidArgument(f"Metadata field {field} is not supported")
        id, info = info_of(self._serving, servable_request(spec))
        return encode_metadata_response(ModelSpec(id.name, id.version), definitions_of(info))

    # -- codecs: each reads a message, in the loop or in the pool --------------------------------

    def _read_examples(
        self,
        method: _ExamplesMethod,
        data: bytes,
        _context: Any,
        is_active: IsActive | None,
    ) -> "_OfExamples":
        request = _DECODERS[method](data, room_for(data, is_active))
        spec = given_spec(request.spec)
        return _OfExamples(
            method,
            spec,
            data,
            request.examples,
            is_method_checked=self._is_method_checked,
            entrypoint=self._entrypoint,
        )

    def _read_multi(self, data: bytes, _context: Any, is_active: IsActive | None) -> "_Multi":
        request = decode_multi_inference_request(data, room_for(data, is_active))
        return _Multi(
            request,
            data,
            is_method_checked=self._is_method_checked,
            entrypoint=self._entrypoint,
            count_examples=self._count_examples,
        )


class _OfExamples(MessageRequest):
    """Classify or Regress."""

    __slots__ = ("_call", "_entrypoint", "_examples", "_is_method_checked", "method")

    _call: SignatureCall
    method: _ExamplesMethod

    def __init__(
        self,
        method: _ExamplesMethod,
        spec: ModelSpec,
        data: bytes,
        examples: Sequence[bytes],
        *,
        is_method_checked: bool,
        entrypoint: str,
    ) -> None:
        super().__init__(servable_request(spec), spec, data)
        self.method = method
        self._examples = examples
        self._is_method_checked = is_method_checked
        self._entrypoint = entrypoint

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`."""
        self._call, feeds = examples_call(
            handle.model,
            self.method,
            self.spec.signature_name,
            self._examples,
            is_method_checked=self._is_method_checked,
        )
        self.runs(handle, self._call, feeds, (self.method, self._entrypoint))
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        """See `InferenceRequest`."""
        count = len(self._examples)
        answered = answered_spec(self.spec.name, self.handle.id.version, self._call.name)
        named = dict(zip(self._call.output_names, outputs, strict=True))
        if self.method == "classify":
            return encode_classification_response(answered, classify_result(named, count))
        return encode_regression_response(answered, regress_result(named, count))


class _Multi(MessageRequest):
    """MultiInference."""

    method = "multi_inference"
    _run: MultiRun

    def __init__(
        self,
        request: MultiInferenceRequest,
        data: bytes,
        *,
        is_method_checked: bool,
        entrypoint: str,
        count_examples: Callable[[str, int], None],
    ) -> None:
        specs = [task.spec or _NO_SPEC for task in request.tasks]
        spec = specs[0] if specs else _NO_SPEC
        super().__init__(servable_request(spec), spec, data)
        self._specs = specs
        self._tasks = [
            MultiTask(spec.name, spec.signature_name or DEFAULT_SIGNATURE, task.method_name)
            for spec, task in zip(specs, request.tasks, strict=True)
        ]
        self._examples = request.examples
        self._is_method_checked = is_method_checked
        self._entrypoint = entrypoint
        self._count_examples = count_examples

    def decode(self, handle: Handle, is_active: IsActive | None) -> bool:
        """See `InferenceRequest`."""
        model = handle.model
        check_tasks(self._tasks, model.info, is_method_checked=self._is_method_checked)
        examples = example_tensor(self._examples)
        self._run = run = multi_run(self._tasks, model)
        self.feeds = [examples] * run.num_feeds
        self.start = run.start
        self.meter = model.meter("", "multi_inference", self._entrypoint)
        self.handle = handle
        self._count_examples(handle.id.name, len(self._examples))
        return True

    def encode(self, outputs: list[Array]) -> bytes:
        """See `InferenceRequest`."""
        id = self.handle.id
        results = multi_results(self._tasks, self._run, outputs, len(self._examples))
        answered = [
            answered_spec(spec.name, id.version, spec.signature_name) for spec in self._specs
        ]
        return encode_multi_inference_response(list(zip(answered, results, strict=True)))


_NO_SPEC: Final = ModelSpec("")
