"""PredictionService: questions to one version of a model.

Source: TensorFlow Serving, `model_servers/prediction_service_impl.cc` and what it calls in
`servables/tensorflow/`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from salver.codecs.example_messages import (
    ExamplesRequest,
    decode_classification_request,
    decode_multi_inference_request,
    decode_regression_request,
    encode_classification_response,
    encode_multi_inference_response,
    encode_regression_response,
)
from salver.codecs.model_spec import ModelSpec
from salver.codecs.predict_message import decode_predict_request
from salver.codecs.room import Room
from salver.codecs.service_messages import decode_metadata_request, encode_metadata_response
from salver.errors import InvalidArgument
from salver.inference.examples import (
    CheckSignature,
    check_classify_signature,
    check_regress_signature,
    classify_result,
    example_tensor,
    regress_result,
    unknown_signature,
)
from salver.inference.logged import NO_LOGS, CallLogs, LogCall, Method, log_of_messages
from salver.inference.multi import MultiTask, multi_plan, multi_results
from salver.inference.predict import predict_fetches
from salver.inference.running import LARGE_BYTES, Prepared, Running, Start
from salver.inference.servable import Servable, SignatureCall
from salver.inference.serving import Serving, definitions_of
from salver.requests import Array
from salver.rpc.calls import Answering, given_spec, servable_request
from salver.rpc.table import Call, MethodTable
from salver.rpc.usual_predict import Answer, UsualPredict, answered_spec, encoder, take_request
from salver.signature import DEFAULT_SIGNATURE
from salver.threads import InPool

__all__ = ["PredictionService"]

_SERVICE: Final = "/tensorflow.serving.PredictionService"
_SIGNATURE_DEF: Final = "signature_def"


class PredictionService:
    """Answers the five calls. Belongs to the loop."""

    def __init__(
        self,
        serving: Serving,
        *,
        in_pool: InPool,
        is_method_checked: bool = False,
        as_content: bool = False,
        logs: CallLogs = NO_LOGS,
        entrance: str = "GRPC",
        count_examples: Callable[[str, int], None] = lambda _model, _count: None,
    ) -> None:
        """Make the service.

        Args:
            serving: finds the servables.
            in_pool: runs a function in the run pool.
            is_method_checked: `--enable_signature_method_name_check`.
            as_content: `--enable_serialization_as_tensor_content`.
            logs: take the calls that are answered.
            entrance: what metrics call this way in; see `Servable.meter`.
            count_examples: told the model of a MultiInference and its examples; from any thread.
        """
        self._entrance = entrance
        self._count_examples = count_examples
        self._logs = logs
        self._serving = serving
        self._answer = Answering(in_pool)
        self._is_usual = not is_method_checked
        self._answer_usual = UsualPredict(
            serving, Running(in_pool), as_content=as_content, entrance=entrance
        ).answer
        self._predict_meter = ("predict", entrance)
        self._is_method_checked = is_method_checked
        self._as_content = as_content

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
        timeout_s = call.timeout_s
        if (
            self._is_usual
            and len(data) <= LARGE_BYTES
            and (timeout_s is None or timeout_s > 0)
            and not self._logs.loggers
        ):
            answer = self._answer_usual(data, timeout_s)
            if answer is not None:
                return answer
        return self._answer(self._prepare_predict, data, call)

    def classify(self, data: bytes, call: Call) -> Answer:
        """Classify: examples in, classes out; raises as `predict`."""
        return self._answer(self._prepare_classify, data, call)

    def regress(self, data: bytes, call: Call) -> Answer:
        """Regress: examples in, values out; raises as `predict`."""
        return self._answer(self._prepare_regress, data, call)

    def multi_inference(self, data: bytes, call: Call) -> Answer:
        """MultiInference: both, of the same examples in one run; raises as `predict`."""
        return self._answer(self._prepare_multi, data, call)

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
        id, definitions = definitions_of(self._serving, servable_request(spec))
        return encode_metadata_response(ModelSpec(id.name, id.version), definitions)

    # -- decoding: each of these runs in the loop or in the pool ---------------------------------

    def _prepare_predict(self, data: bytes, room: Room) -> Prepared[bytes]:
        message = decode_predict_request(data)
        handle, call, feeds = take_request(
            self._serving, message, room, is_method_checked=self._is_method_checked
        )
        try:
            fetches, start = call.output_names, call.start
            if message.output_filter:
                fetches = predict_fetches(call.signature, message.output_filter)
                start = _start_of(handle.model, call, fetches)
        except BaseException:
            handle.release()
            raise
        spec, version = given_spec(message.spec), handle.id.version
        encode = encoder(spec, version, call, fetches, as_content=self._as_content)
        log = self._log_of("predict", spec, version, data) if self._logs.loggers else None
        return Prepared(handle, start, feeds, encode, call.meters[self._predict_meter], log=log)

    def _prepare_classify(self, data: bytes, room: Room) -> Prepared[bytes]:
        request = decode_classification_request(data, room)
        return self._prepare_examples(
            "classify",
            data,
            request,
            check_classify_signature,
            lambda spec, outputs: encode_classification_response(
                spec, classify_result(outputs, len(request.examples))
            ),
        )

    def _prepare_regress(self, data: bytes, room: Room) -> Prepared[bytes]:
        request = decode_regression_request(data, room)
        return self._prepare_examples(
            "regress",
            data,
            request,
            check_regress_signature,
            lambda spec, outputs: encode_regression_response(
                spec, regress_result(outputs, len(request.examples))
            ),
        )

    def _prepare_examples(
        self,
        method: Method,
        data: bytes,
        request: ExamplesRequest,
        check: CheckSignature,
        respond: Callable[[ModelSpec, Mapping[str, Array]], bytes],
    ) -> Prepared[bytes]:
        spec = given_spec(request.spec)
        handle = self._serving.acquire(servable_request(spec))
        try:
            servable = handle.model
            name = spec.signature_name or DEFAULT_SIGNATURE
            signature = servable.signatures.get(name)
            if signature is None:
                raise unknown_signature(name, list(servable.signatures))  # noqa: TRY301
            check(
                name,
                signature,
                servable.model.signature_def_map,
                is_method_checked=self._is_method_checked,
            )
            feeds = [example_tensor(request.examples)]
            call = servable.call(name)
            assert call is not None  # the signature is there
        except BaseException:
            handle.release()
            raise
        names = call.output_names
        answered = answered_spec(spec.name, handle.id.version, spec.signature_name)
        log = self._log_of(method, spec, handle.id.version, data) if self._logs.loggers else None
        return Prepared(
            handle,
            call.start,
            feeds,
            lambda outputs: respond(answered, dict(zip(names, outputs, strict=True))),
            servable.meter(name, method, self._entrance),
            log=log,
        )

    def _prepare_multi(self, data: bytes, room: Room) -> Prepared[bytes]:
        request = decode_multi_inference_request(data, room)
        specs = [task.spec or _NO_SPEC for task in request.tasks]
        handle = self._serving.acquire(servable_request(specs[0] if specs else _NO_SPEC))
        try:
            servable = handle.model
            tasks = [
                MultiTask(spec.name, spec.signature_name or DEFAULT_SIGNATURE, task.method_name)
                for spec, task in zip(specs, request.tasks, strict=True)
            ]
            plan = multi_plan(
                tasks,
                servable.signatures,
                servable.model.signature_def_map,
                is_method_checked=self._is_method_checked,
            )
            feeds = [example_tensor(request.examples)] * len(plan.feeds)
            program = servable.program(plan.feeds, plan.fetches)
        except BaseException:
            handle.release()
            raise
        self._count_examples(handle.id.name, len(request.examples))
        answered = [
            answered_spec(spec.name, handle.id.version, spec.signature_name) for spec in specs
        ]

        def encode(outputs: list[Array]) -> bytes:
            fetched = dict(zip(plan.fetches, outputs, strict=True))
            results = multi_results(tasks, servable.signatures, fetched, len(request.examples))
            return encode_multi_inference_response(list(zip(answered, results, strict=True)))

        log = None
        if self._logs.loggers:
            log = self._log_of("multi_inference", specs[0], handle.id.version, data)
        meter = servable.meter("", "multi_inference", self._entrance)
        return Prepared(handle, program.start, feeds, encode, meter, log=log)

    def _log_of(self, method: Method, spec: ModelSpec, version: int, data: bytes) -> LogCall | None:
        """See `log_of_messages`."""
        asked = servable_request(spec)
        return log_of_messages(self._logs, method, asked, version, spec.signature_name, data)


_NO_SPEC: Final = ModelSpec("")


def _start_of(servable: Servable, call: SignatureCall, fetches: Sequence[str]) -> Start:
    """What runs a signature, or a part of it."""
    signature = call.signature
    if len(fetches) == len(signature.outputs):
        return call.start
    return servable.program(
        [spec.tensor_name for spec in signature.inputs.values()],
        [signature.outputs[alias].tensor_name for alias in fetches],
    ).start
