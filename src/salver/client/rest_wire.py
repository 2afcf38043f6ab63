"""Calls over REST.

Source: TensorFlow Serving's REST API, and docs/rest.md for what is ours.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

import numpy as np
import orjson
from google.protobuf import json_format

from salver._pb import message_class
from salver.client.answers import (
    ListedModel,
    ModelMetadata,
    ModelStatus,
    ScoredClass,
    VersionStatus,
)
from salver.client.exchange import Exchange, Reply, Which
from salver.client.features import Example, json_example
from salver.client.wire import SIGNATURE_DEF_MAP, Predicted
from salver.codecs.json.document import Document
from salver.codecs.json.response import number_text
from salver.codecs.json.text import bytes_of
from salver.codecs.protobuf.signature_def import signatures_of
from salver.errors import (
    Code,
    Internal,
    InvalidArgument,
    NotFound,
    ServingError,
    Unavailable,
    Unimplemented,
    error_of,
)
from salver.vocabulary.dtypes import dtype_of_array
from salver.vocabulary.requests import Array
from salver.vocabulary.signature import Signature
from salver.vocabulary.tensorflow_types import short_text

__all__ = ["CODE_OF_STATUS", "RestWire", "check_reply", "version_of_reply"]

T = TypeVar("T")

CODE_OF_STATUS: Final[Mapping[int, Code]] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    413: Code.OUT_OF_RANGE,
    429: Code.RESOURCE_EXHAUSTED,
    431: Code.OUT_OF_RANGE,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""HTTP status → code. Several codes share a status: of these it is the most frequent one."""

_VERSION: Final = "salver-model-version"
_MODELS: Final = "/v1/models"
_SHOWN: Final = 200  # characters of an error page that is no JSON
_OUTPUTS: Final = b'"outputs"'


class RestWire:
    """Writes and reads JSON; a `Wire`."""

    needs_signature = True
    is_of_tensors = False

    def predict(
        self,
        which: Which,
        signature: str,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
    ) -> Exchange[Predicted]:
        """See `Wire`; in column format, which has no row that all tensors must share.

        Raises:
            Unimplemented: JSON has no form for the dtype of an input.
        """
        tensors = b",".join(
            [orjson.dumps(alias) + b":" + _tensor_text(alias, of) for alias, of in feeds.items()]
        )
        body = b'{"signature_name":%s,"inputs":{%s}}' % (orjson.dumps(signature), tensors)
        return Exchange(f"{_path(which)}:predict", body, _read_predicted)

    def classify(
        self, which: Which, signature: str, examples: Sequence[Example]
    ) -> Exchange[list[list[ScoredClass]]]:
        """See `Wire`."""
        body = _examples_body(signature, examples)
        return Exchange(f"{_path(which)}:classify", body, _reading(_classes))

    def regress(self, which: Which, signature: str, examples: Sequence[Example]) -> Exchange[Array]:
        """See `Wire`."""
        body = _examples_body(signature, examples)
        return Exchange(f"{_path(which)}:regress", body, _reading(_values))

    def status(self, which: Which) -> Exchange[ModelStatus]:
        """See `Wire`."""
        return Exchange(_path(which), None, _reading(lambda said: _status(which.name, said)))

    def is_up(self, which: Which) -> Exchange[ModelStatus]:
        """See `Wire`."""
        return self.status(which)

    def metadata(self, which: Which) -> Exchange[ModelMetadata]:
        """See `Wire`."""
        return Exchange(f"{_path(which)}/metadata", None, _reading(_metadata))

    def models(self) -> Exchange[tuple[ListedModel, ...]]:
        """See `Wire`."""

        def read(reply: Reply) -> tuple[ListedModel, ...]:
            try:
                return _reading(_listed)(reply)
            except (InvalidArgument, NotFound) as error:
                raise Unimplemented(
                    "The server does not list its models",
                    hint="TensorFlow Serving cannot: ask for the status of a model by its name.",
                ) from error

        return Exchange(_MODELS, None, read)

    def ready(self) -> Exchange[bool]:
        """See `Wire`. A server that does not know the question listens only when it is ready."""

        def read(reply: Reply) -> bool:
            if reply.status == 503:
                raise Unavailable(_said(reply.body)[0])
            return True

        return Exchange("/healthz/ready", None, read)


# -- requests --------------------------------------------------------------------------------------


def _path(which: Which) -> str:
    path = f"{_MODELS}/{quote(which.name, safe='')}"
    if which.version is not None:
        return f"{path}/versions/{which.version}"
    return path if which.label is None else f"{path}/labels/{quote(which.label, safe='')}"


def _tensor_text(alias: str, array: Array) -> bytes:
    if array.dtype.hasobject:
        return orjson.dumps(_texts(array))
    try:
        return number_text(array)
    except InvalidArgument as error:
        dtype = short_text(dtype_of_array(array.dtype))
        raise Unimplemented(
            f"JSON has no form for input {alias!r} of type {dtype}",
            hint="Use the gRPC API: a URL that begins with grpc://",
        ) from error


def _texts(array: Array) -> Any:
    def text(element: bytes) -> Any:
        try:
            return element.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(element).decode()}

    flat = np.empty(array.shape, object)
    flat.reshape(-1)[:] = [text(element) for element in array.reshape(-1).tolist()]
    return flat.tolist()


def _examples_body(signature: str, examples: Sequence[Example]) -> bytes:
    written = ", ".join([json_example(example) for example in examples])
    return f'{{"signature_name": {json.dumps(signature)}, "examples": [{written}]}}'.encode()


# -- replies ---------------------------------------------------------------------------------------


def _reading(read: Callable[[Any], T]) -> Callable[[Reply], T]:
    """What reads a reply whose body is a JSON object."""

    def read_reply(reply: Reply) -> T:
        check_reply(reply)
        try:
            return read(json.loads(reply.body.decode(errors="surrogateescape")))
        except (ValueError, LookupError, TypeError, json_format.ParseError) as error:
            raise Internal(f"The answer is not that of a model server: {error}") from error

    return read_reply


def check_reply(reply: Reply) -> None:
    """Raise the error that a reply is."""
    if 200 <= reply.status < 300:
        return
    message, hint = _said(reply.body)
    message = message or f"HTTP status {reply.status}"
    error = error_of(CODE_OF_STATUS.get(reply.status, Code.UNKNOWN), message)
    error.hint = hint
    if 300 <= reply.status < 400 and "location" in reply.headers:
        error.hint = f"Requests are sent on by nobody; it points to {reply.headers['location']}"
    error.version = version_of_reply(reply)
    raise error


def _said(body: bytes) -> tuple[str, str | None]:
    """Message and hint; of a page that some proxy made, its beginning."""
    text = body.decode(errors="replace")
    try:
        said = json.loads(text)
        hint = said.get("hint")
        return str(said.get("error") or said.get("reason") or text), hint and str(hint)
    except (ValueError, AttributeError):
        return text.strip()[:_SHOWN], None


def version_of_reply(reply: Reply) -> int | None:
    """The version that answered; None where the server does not say."""
    text = reply.headers.get(_VERSION, "")
    return int(text) if text.isdecimal() else None


def _read_predicted(reply: Reply) -> Predicted:
    check_reply(reply)
    body = reply.body

    def arrays(signature: Signature) -> Mapping[str, Array]:
        # Outputs are written as inputs are: so they are read as a request is, which is quick.
        asked = body.replace(_OUTPUTS, b'"inputs"', 1)
        mirrored = Signature(inputs=signature.outputs, outputs={})
        try:
            read = Document(asked).predict_inputs("", mirrored)
        except ServingError as error:
            raise Internal(f"The answer does not fit the signature: {error.message}") from error
        return dict(zip(signature.outputs, read.arrays, strict=True))

    return Predicted(version_of_reply(reply), arrays)


def _classes(said: Any) -> list[list[ScoredClass]]:
    return [
        [ScoredClass(_text(label), float(score)) for label, score in example]
        for example in said["results"]
    ]


def _text(label: str) -> str:
    return bytes_of(label).decode(errors="replace")


def _values(said: Any) -> Array:
    return np.array([float(value) for value in said["results"]], np.float32)


def _status(name: str, said: Any) -> ModelStatus:
    return ModelStatus(name, tuple([_version_status(of) for of in said["model_version_status"]]))


def _version_status(said: Any) -> VersionStatus:
    status = said.get("status", {})
    name = status.get("error_code", "OK")
    error = None
    if name != "OK":
        code = Code.__members__.get(name, Code.UNKNOWN)
        error = error_of(code, status.get("error_message", ""))
    return VersionStatus(int(said["version"]), str(said["state"]), error)


def _metadata(said: Any) -> ModelMetadata:
    spec = said["model_spec"]
    message = message_class(SIGNATURE_DEF_MAP)()
    json_format.ParseDict(said["metadata"]["signature_def"], message, ignore_unknown_fields=True)
    return ModelMetadata(spec["name"], int(spec["version"]), signatures_of(message.signature_def))


def _listed(said: Any) -> tuple[ListedModel, ...]:
    return tuple(
        [
            ListedModel(
                of["name"],
                _status(of["name"], of),
                {label: int(version) for label, version in of["version_labels"].items()},
            )
            for of in said["models"]
        ]
    )
