"""Records for people to read, and as JSON that is a request again."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from salver._pb import message_class
from salver.codecs.json.response import encode_predict
from salver.codecs.protobuf.example_messages import (
    ExamplesRequest,
    decode_classification_request,
    decode_multi_inference_request,
    decode_regression_request,
)
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.prediction_log import LoggedRequest, LogKind
from salver.codecs.protobuf.service_messages import decode_session_run_request
from salver.codecs.protobuf.tensor_proto import decode_tensor
from salver.codecs.protobuf.wire import Bytes
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import dtype_of_array
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import DEFAULT_SIGNATURE
from salver.vocabulary.tensorflow_types import short_text

__all__ = ["describe", "document"]

_FEW_VALUES: Final = 8
_FEW_EXAMPLES: Final = 3
_LONG_TEXT: Final = 80
_NO_SPEC: Final = ModelSpec("")


def document(logged: LoggedRequest) -> dict[str, Any]:
    """A record with all its values, as JSON; one of predict, classify or regress is a REST body.

    Raises:
        ServingError: the request cannot be read.
    """
    kind = {"kind": logged.kind.name.lower()}
    match logged.kind:
        case LogKind.PREDICT:
            message = decode_predict_request(logged.request)
            spec = message.spec or _NO_SPEC
            arrays = _arrays(message.inputs)
            more: dict[str, Any] = {"output_filter": list(message.output_filter)}
            return {
                **kind,
                **_spec_document(spec),
                "inputs": {alias: _values(array) for alias, array in arrays.items()},
                "dtypes": {alias: _dtype_text(array) for alias, array in arrays.items()},
                "shapes": {alias: list(array.shape) for alias, array in arrays.items()},
                **(more if message.output_filter else {}),
            }
        case LogKind.CLASSIFY | LogKind.REGRESS:
            request = _examples_request(logged)
            examples = [_features(example) for example in request.examples]
            return {**kind, **_spec_document(request.spec or _NO_SPEC), "examples": examples}
        case LogKind.MULTI_INFERENCE:
            multi = decode_multi_inference_request(logged.request)
            tasks = [
                {**_spec_document(task.spec or _NO_SPEC), "method_name": task.method_name}
                for task in multi.tasks
            ]
            return {**kind, "tasks": tasks, "examples": [_features(of) for of in multi.examples]}
        case LogKind.SESSION_RUN:
            run = decode_session_run_request(logged.request)
            arrays = _arrays(dict(run.feeds))
            feeds = {name: _values(array) for name, array in arrays.items()}
            return {
                **kind,
                **_spec_document(run.spec or _NO_SPEC),
                "feeds": feeds,
                "fetches": list(run.fetches),
                "targets": list(run.targets),
            }
        case LogKind.PREDICT_STREAMED:  # pragma: no branch - the last one there is
            return {**kind}


def describe(logged: LoggedRequest) -> Iterator[str]:
    """A record in a few lines: what is asked, and the first of the values.

    Raises:
        ServingError: the request cannot be read.
    """
    kind = logged.kind
    answered = "" if logged.response is None else ", with a response"
    match kind:
        case LogKind.PREDICT:
            message = decode_predict_request(logged.request)
            yield f"predict, {_spec_text(message.spec)}{answered}"
            yield from _tensor_lines(message.inputs)
            if message.output_filter:
                yield f"  only outputs: {', '.join(message.output_filter)}"
        case LogKind.CLASSIFY | LogKind.REGRESS:
            request = _examples_request(logged)
            yield f"{kind.name.lower()}, {_spec_text(request.spec)}{answered}"
            yield from _example_lines(request.examples)
        case LogKind.MULTI_INFERENCE:
            multi = decode_multi_inference_request(logged.request)
            yield f"multi_inference{answered}"
            for task in multi.tasks:
                yield f"  task: {task.method_name}, {_spec_text(task.spec)}"
            yield from _example_lines(multi.examples)
        case LogKind.SESSION_RUN:
            run = decode_session_run_request(logged.request)
            yield f"session_run, {_spec_text(run.spec)}{answered}: not replayed by a warmup"
            yield from _tensor_lines(dict(run.feeds))
        case LogKind.PREDICT_STREAMED:  # pragma: no branch - the last one there is
            yield f"predict_streamed{answered}: not replayed by a warmup"


def _examples_request(logged: LoggedRequest) -> ExamplesRequest:
    if logged.kind is LogKind.CLASSIFY:
        return decode_classification_request(logged.request)
    return decode_regression_request(logged.request)


def _arrays(tensors: Mapping[str, Bytes]) -> dict[str, Array]:
    return {alias: decode_tensor(tensor) for alias, tensor in tensors.items()}


# -- as JSON ---------------------------------------------------------------------------------------


def _spec_document(spec: ModelSpec) -> dict[str, Any]:
    said = {"model": spec.name, "version": spec.version, "label": spec.label}
    return {
        **{key: value for key, value in said.items() if value},
        "signature_name": spec.signature_name or DEFAULT_SIGNATURE,
    }


def _dtype_text(array: Array) -> str:
    return short_text(dtype_of_array(array.dtype))


def _values(array: Array) -> Any:
    """The values, nested; numbers with the digits that their dtype needs."""
    if array.dtype.hasobject:
        texts = np.empty(array.shape, object)
        texts.reshape(-1)[:] = [_text(value) for value in array.reshape(-1)]
        return texts.tolist()
    try:
        written = encode_predict([("values", array)], is_row=False)
    except InvalidArgument:  # such as complex numbers, for which JSON has no form
        return np.vectorize(str, otypes=[object])(array).tolist()
    return json.loads(written)["outputs"]


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _features(example: bytes) -> dict[str, Any]:
    message = message_class("tensorflow.Example").FromString(example)
    return {
        name: _feature(message.features.feature[name]) for name in sorted(message.features.feature)
    }


def _feature(feature: Any) -> list[Any]:
    choice = feature.WhichOneof("kind")
    if choice is None:
        return []
    if choice == "bytes_list":
        return [_text(value) for value in feature.bytes_list.value]
    if choice == "float_list":
        values: list[Any] = _values(np.array(feature.float_list.value, np.float32))
        return values
    return list(feature.int64_list.value)


# -- as text ---------------------------------------------------------------------------------------


def _spec_text(spec: ModelSpec | None) -> str:
    spec = spec or _NO_SPEC
    which = f"model {spec.name}" if spec.name else "no model"
    if spec.version is not None:
        which += f" version {spec.version}"
    if spec.label is not None:
        which += f" label {spec.label}"
    return f"{which}, signature {spec.signature_name or DEFAULT_SIGNATURE}"


def _tensor_lines(tensors: Mapping[str, Bytes]) -> Iterator[str]:
    for alias, array in _arrays(tensors).items():
        shape = ", ".join(map(str, array.shape))
        yield f"  {alias}: {_dtype_text(array)} [{shape}] {_first_values(array)}".rstrip()


def _first_values(array: Array) -> str:
    first = _values(array.reshape(-1)[:_FEW_VALUES])
    more = ", ..." if array.size > _FEW_VALUES else ""
    return ", ".join(_shortened(json.dumps(value, ensure_ascii=False)) for value in first) + more


def _shortened(text: str) -> str:
    return text if len(text) <= _LONG_TEXT else f"{text[:_LONG_TEXT]}..."


def _example_lines(examples: list[bytes]) -> Iterator[str]:
    for example in examples[:_FEW_EXAMPLES]:
        text = json.dumps(_features(example), ensure_ascii=False)
        yield f"  example: {_shortened(text)}"
    if len(examples) > _FEW_EXAMPLES:
        yield f"  and {len(examples) - _FEW_EXAMPLES} more examples"
