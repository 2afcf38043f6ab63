"""Calls of the Open Inference Protocol over REST.

Large inputs go as raw bytes behind the JSON, and all outputs are asked for so; a server without the
binary extension answers in JSON, which is read as well.

Source: the specification of the protocol, and Triton's `extension_binary_data.md`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

import numpy as np
import orjson

from salver.client.answers import ListedModel, ModelMetadata, ModelStatus
from salver.client.exchange import Exchange, Reply, Which
from salver.client.rest_wire import check_reply, version_of_reply
from salver.client.v2_calls import V2Calls
from salver.client.v2_forms import (
    index_of,
    metadata_of,
    no_index,
    number_of,
    own_array,
    signature_parameter,
    up_status,
    version_text,
)
from salver.client.wire import Predicted
from salver.codecs.json.tensors import number_text
from salver.codecs.json.text import bytes_of
from salver.codecs.oip.dtypes import DATATYPES, datatype_of_array, dtype_of_name
from salver.codecs.oip.tensors import raw_of
from salver.codecs.protobuf.wire import Bytes
from salver.errors import (
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from salver.vocabulary.dtypes import numpy_dtype
from salver.vocabulary.requests import Array

__all__ = ["V2RestWire", "write_infer"]

T = TypeVar("T")

_LENGTH: Final = "Inference-Header-Content-Length"
_SMALL_BYTES: Final = 1 << 10
"""Of a tensor that goes as JSON: below it text costs as little as a further part of the body."""

_RAW_ALWAYS: Final = ("FP16", "BF16")  # which Triton does not take as JSON


class V2RestWire(V2Calls):
    """Writes and reads JSON with raw tensors; a `Wire`."""

    def __init__(self, *, small_bytes: int = _SMALL_BYTES, is_answer_raw: bool = True) -> None:
        """Write requests so.

        Args:
            small_bytes: larger inputs are raw.
            is_answer_raw: whether outputs are to be.
        """
        self._small_bytes = small_bytes
        self._is_answer_raw = is_answer_raw

    def _infer(
        self,
        which: Which,
        signature: str,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
        classes: int,
    ) -> Exchange[Predicted]:
        body, length = write_infer(
            signature,
            feeds,
            outputs,
            classes=classes,
            small_bytes=self._small_bytes,
            is_answer_raw=self._is_answer_raw,
        )
        headers = {} if length is None else _binary_headers(length)
        return Exchange(f"{_path(which)}/infer", body, _read_predicted, headers)

    def is_up(self, which: Which) -> Exchange[ModelStatus]:
        """See `Wire`."""

        def read(reply: Reply) -> ModelStatus:
            _check_ready(reply)
            return up_status(which)

        return Exchange(f"{_path(which)}/ready", None, read)

    def metadata(self, which: Which) -> Exchange[ModelMetadata]:
        """See `Wire`; of the default signature alone."""

        def read(reply: Reply) -> ModelMetadata:
            said = _document(reply)
            return _understood(lambda: metadata_of(which, said, version_of_reply(reply)))

        return Exchange(_path(which), None, read)

    def models(self) -> Exchange[tuple[ListedModel, ...]]:
        """See `Wire`; of the repository index, which has no labels."""

        def read(reply: Reply) -> tuple[ListedModel, ...]:
            if reply.status in (404, 405, 501):
                raise no_index()
            said = _document(reply)
            return _understood(lambda: index_of([_entry(of) for of in said]))

        return Exchange("/v2/repository/index", b"{}", read)

    def ready(self) -> Exchange[bool]:
        """See `Wire`."""

        def read(reply: Reply) -> bool:
            _check_ready(reply)
            return True

        return Exchange("/v2/health/ready", None, read)


# -- requests --------------------------------------------------------------------------------------


def write_infer(
    signature: str,
    feeds: Mapping[str, Array],
    outputs: Sequence[str],
    *,
    classes: int = 0,
    small_bytes: int = _SMALL_BYTES,
    is_answer_raw: bool = True,
) -> tuple[bytes, int | None]:
    """The body of a request, and how long its JSON is where raw tensors follow it; else None.

    Args:
        signature: of the model.
        feeds: name of an input → its elements.
        outputs: those wanted; none for all.
        classes: how many classes of each row are wanted of the outputs; 0 for the outputs.
        small_bytes: larger inputs are raw.
        is_answer_raw: whether outputs are to be raw.

    Raises:
        Unimplemented: the protocol has no datatype for an input.
    """
    inputs: list[bytes] = []
    raws: list[Bytes] = []
    for name, array in feeds.items():
        head, raw = _input(name, array, small_bytes)
        inputs.append(head)
        if raw is not None:
            raws.append(raw)
    parameters: dict[str, Any] = {"binary_data_output": True} if is_answer_raw else {}
    named = signature_parameter(signature)
    if named is not None:
        parameters["signature_name"] = named
    text = b'{"inputs":[%b]' % b",".join(inputs)
    if outputs:
        text += b',"outputs":' + orjson.dumps([_output(name, classes) for name in outputs])
    if parameters:
        text += b',"parameters":' + orjson.dumps(parameters)
    text += b"}"
    return b"".join([text, *raws]), len(text) if raws else None


def _input(name: str, array: Array, small_bytes: int) -> tuple[bytes, Bytes | None]:
    """An input as JSON has it, and its elements where they are not in there."""
    datatype = _datatype(name, array)
    head = b'{"name":%b,"shape":%b,"datatype":"%b",' % (
        orjson.dumps(name),
        orjson.dumps(array.shape),
        datatype.encode(),
    )
    if datatype not in _RAW_ALWAYS and array.nbytes <= small_bytes:
        text = _text(array)
        if text is not None and (datatype != "BYTES" or len(text) <= max(small_bytes, 2)):
            return head + b'"data":' + text + b"}", None
    raw = raw_of(array)
    return head + b'"parameters":{"binary_data_size":%d}}' % len(raw), raw


def _datatype(name: str, array: Array) -> str:
    try:
        found = datatype_of_array(array.dtype)
    except TypeError:
        found = str(array.dtype)
    if found not in DATATYPES:
        raise Unimplemented(
            f"The Open Inference Protocol has no datatype for input {name!r} of type {array.dtype}",
            hint='TensorFlow Serving\'s API has one: protocol="tfs"',
        )
    return found


def _text(array: Array) -> bytes | None:
    """The elements as JSON; None where they cannot be."""
    if not array.dtype.hasobject:
        is_short = array.dtype == np.uint16  # which TensorFlow Serving's JSON refuses
        return number_text((array.astype(np.uint32) if is_short else array).reshape(-1))
    try:
        return orjson.dumps([element.decode() for element in array.reshape(-1).tolist()])
    except UnicodeDecodeError:
        return None


def _output(name: str, classes: int) -> dict[str, Any]:
    return {"name": name, "parameters": {"classification": classes}} if classes else {"name": name}


def _binary_headers(length: int) -> dict[str, str]:
    return {_LENGTH: str(length), "Content-Type": "application/octet-stream"}


def _path(which: Which) -> str:
    path = f"/v2/models/{quote(which.name, safe='')}"
    version = version_text(which)
    return f"{path}/versions/{quote(version, safe='')}" if version else path


# -- replies ---------------------------------------------------------------------------------------


def _understood(read: Callable[[], T]) -> T:
    try:
        return read()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Internal(f"The answer is not that of a model server: {error}") from error


def _document(reply: Reply, end: int | None = None) -> Any:
    """The JSON of a reply, up to where raw tensors begin.

    Raises:
        ServingError: that it says.
        Internal: it is none.
    """
    check_reply(reply)
    body = reply.body if end is None else reply.body[:end]
    return _understood(lambda: json.loads(body.decode(errors="surrogateescape")))


def _check_ready(reply: Reply) -> None:
    """Raise why a server, or a model, is not ready; Triton says it with 400, and without words."""
    try:
        check_reply(reply)
    except NotFound:
        raise
    except (InvalidArgument, Unavailable) as error:
        said = error.message if reply.body.strip() else "it is not ready"
        raise Unavailable(said, hint=error.hint) from None


def _entry(said: Mapping[str, Any]) -> tuple[str, str, str, str]:
    version, state = str(said.get("version", "")), str(said.get("state", ""))
    return str(said["name"]), version, state, str(said.get("reason", ""))


def _read_predicted(reply: Reply) -> Predicted:
    length = reply.headers.get(_LENGTH.lower())
    end = None
    if length is not None:
        end = number_of(length)
        if end is None or end > len(reply.body):
            raise Internal(f"The answer's JSON cannot be {length[:20]} bytes long")
    said = _document(reply, end)
    version = _understood(lambda: number_of(said.get("model_version", "")))

    def arrays(_signature: Any) -> Mapping[str, Array]:
        return _understood(lambda: _outputs(said, reply.body, end))

    return Predicted(version, arrays)


def _outputs(said: Mapping[str, Any], body: bytes, end: int | None) -> dict[str, Array]:
    found: dict[str, Array] = {}
    view, at = memoryview(body), len(body) if end is None else end
    for output in said["outputs"]:
        name = str(output["name"])
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found[name] = _array_of_json(output)
            continue
        if type(size) is not int or not 0 <= size <= len(body) - at:
            raise Internal(f"The answer has less than {size!r} bytes of output {name!r}")
        found[name] = own_array(name, output["datatype"], output["shape"], view[at : at + size])
        at += size
    return found


def _array_of_json(output: Mapping[str, Any]) -> Array:
    dtype = dtype_of_name(str(output["datatype"]))
    if dtype is None:
        raise Internal(f"The answer has an output of datatype {output['datatype']!r}")
    storage = numpy_dtype(dtype)
    if not storage.hasobject:
        return np.array(output["data"], storage).reshape(output["shape"])
    texts = np.array(output["data"], object).reshape(-1)
    array = np.empty(len(texts), object)
    array[:] = [bytes_of(text) for text in texts.tolist()]
    return array.reshape(output["shape"])
