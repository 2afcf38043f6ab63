"""One way to ask that all APIs understand, so that they can be held against each other."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

import numpy as np

from salver._pb import message_class
from salver.errors import Code, ServingError
from salver.lifecycle.monitor import VersionState
from salver.protocols.rest_errors import HTTP_STATUS
from salver.vocabulary.requests import Array
from tests.contract.rest.server import Answer, Rest
from tests.contract.rpc.server import Rpc
from tests.messages import array_of, example, spec, tensor

__all__ = ["Api", "Features", "Found", "Refused", "RestApi", "RpcApi", "Which"]

Features = Mapping[str, Sequence[Any]]
"""An Example: feature → values of one type."""


class Refused(Exception):
    """A call that failed.

    Attributes:
        codes: the canonical codes it can be; HTTP has one status for several of them.
        message: for the client.
    """

    def __init__(self, codes: frozenset[Code], message: str) -> None:
        super().__init__(codes, message)
        self.codes = codes
        self.message = message


@dataclass(frozen=True, slots=True)
class Which:
    """What is asked: a model, perhaps a version or a label of it, and a signature."""

    model: str
    signature: str = ""
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """An answer of a model, and the version that gave it."""

    version: int
    value: Any


class Api(Protocol):
    """An API of the server. Each call raises `Refused`."""

    async def predict(self, which: Which, outputs: Mapping[str, Any], **inputs: Array) -> Found:
        """Outputs by their aliases, as arrays of the dtypes that `outputs` gives for them."""
        ...

    async def classify(self, which: Which, *examples: Features) -> Found:
        """Pairs of label and score, a list of them for each example."""
        ...

    async def regress(self, which: Which, *examples: Features) -> Found:
        """A number for each example."""
        ...

    async def signatures(self, which: Which) -> Found:
        """Name → inputs and outputs, each alias → (tensor, dtype, shape)."""
        ...

    async def versions(self, which: Which) -> list[tuple[int, str, str, str]]:
        """Version, state, code and message, the highest version first."""
        ...


def _json(array: Array) -> Any:
    if array.dtype == object:
        texts = [{"b64": base64.b64encode(value).decode()} for value in array.ravel().tolist()]
        return np.array(texts, dtype=object).reshape(array.shape).tolist()
    return array.tolist()


def _array(value: Any, dtype: Any) -> Array:
    if np.dtype(dtype) == object:
        texts = np.array(value, dtype=object)
        flat = [text.encode() for text in texts.ravel().tolist()]
        return np.array(flat, dtype=object).reshape(texts.shape)
    return np.array(value, dtype)


@dataclass(frozen=True, slots=True)
class RestApi:
    """HTTP and JSON."""

    rest: Rest

    async def predict(self, which: Which, outputs: Mapping[str, Any], **inputs: Array) -> Found:
        named = {alias: _json(array) for alias, array in inputs.items()}
        answer = await self._ask("POST", which, ":predict", inputs=named)
        found = answer.json["outputs"]
        if len(outputs) == 1:
            [alias] = outputs
            found = {alias: found}
        assert found.keys() == outputs.keys()
        return _found(answer, {alias: _array(found[alias], outputs[alias]) for alias in found})

    async def classify(self, which: Which, *examples: Features) -> Found:
        answer = await self._ask("POST", which, ":classify", examples=_examples(examples))
        return _found(answer, [[tuple(pair) for pair in row] for row in answer.json["results"]])

    async def regress(self, which: Which, *examples: Features) -> Found:
        answer = await self._ask("POST", which, ":regress", examples=_examples(examples))
        return _found(answer, answer.json["results"])

    async def signatures(self, which: Which) -> Found:
        answer = await self._ask("GET", which, "/metadata")
        found = answer.json["metadata"]["signature_def"]["signature_def"]
        described = {
            name: tuple(_tensors_of_json(signature[side]) for side in ("inputs", "outputs"))
            for name, signature in found.items()
        }
        return _found(answer, described)

    async def versions(self, which: Which) -> list[tuple[int, str, str, str]]:
        answer = await self._ask("GET", which, "")
        return [
            (
                int(of["version"]),
                of["state"],
                of["status"]["error_code"],
                of["status"]["error_message"],
            )
            for of in answer.json["model_version_status"]
        ]

    async def _ask(self, method: str, which: Which, what: str, **body: Any) -> Answer:
        target = f"/v1/models/{quote(which.model, safe='')}"
        if which.version is not None:
            target += f"/versions/{which.version}"
        if which.label is not None:
            target += f"/labels/{quote(which.label, safe='')}"
        if which.signature:
            body["signature_name"] = which.signature
        answer = await self.rest.ask(method, target + what, body if method == "POST" else b"")
        if answer.status != 200:
            codes = frozenset(code for code, http in HTTP_STATUS.items() if http == answer.status)
            raise Refused(codes, answer.error)
        return answer


def _found(answer: Answer, value: Any) -> Found:
    assert answer.version is not None
    return Found(int(answer.version), value)


def _examples(examples: Sequence[Features]) -> list[Any]:
    return [
        {
            name: [
                {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
                for value in values
            ]
            for name, values in features.items()
        }
        for features in examples
    ]


def _tensors_of_json(tensors: Any) -> Any:
    return {
        alias: (
            of["name"],
            of["dtype"],
            None
            if of["tensor_shape"]["unknown_rank"]
            else tuple(int(dim["size"]) for dim in of["tensor_shape"]["dim"]),
        )
        for alias, of in tensors.items()
    }


@dataclass(frozen=True, slots=True)
class RpcApi:
    """gRPC, by its messages."""

    rpc: Rpc

    async def predict(self, which: Which, outputs: Mapping[str, Any], **inputs: Array) -> Found:
        named = {alias: tensor(array) for alias, array in inputs.items()}
        response = await self._ask("Predict", which, inputs=named)
        found = {alias: array_of(proto) for alias, proto in response.outputs.items()}
        assert {alias: array.dtype for alias, array in found.items()} == outputs
        return _answered(response, which, found)

    async def classify(self, which: Which, *examples: Features) -> Found:
        response = await self._ask("Classify", which, input=_input(examples))
        rows = [
            [(one.label, one.score) for one in of.classes] for of in response.result.classifications
        ]
        return _answered(response, which, rows)

    async def regress(self, which: Which, *examples: Features) -> Found:
        response = await self._ask("Regress", which, input=_input(examples))
        return _answered(response, which, [of.value for of in response.result.regressions])

    async def signatures(self, which: Which) -> Found:
        response = await self._ask("GetModelMetadata", which, metadata_field=["signature_def"])
        found = message_class("tensorflow.serving.SignatureDefMap")()
        response.metadata["signature_def"].Unpack(found)
        described = {
            name: (_tensors(signature.inputs), _tensors(signature.outputs))
            for name, signature in found.signature_def.items()
        }
        return Found(response.model_spec.version.value, described)

    async def versions(self, which: Which) -> list[tuple[int, str, str, str]]:
        response = await self._ask("GetModelStatus", which, service="ModelService")
        return [
            (
                of.version,
                VersionState(of.state).name,
                Code(of.status.error_code).name,
                of.status.error_message,
            )
            for of in response.model_version_status
        ]

    async def _ask(
        self, method: str, which: Which, *, service: str = "PredictionService", **request: Any
    ) -> Any:
        wanted = spec(which.model, which.signature, version=which.version, label=which.label)
        try:
            return await self.rpc.ask(f"{service}/{method}", model_spec=wanted, **request)
        except ServingError as error:
            raise Refused(frozenset((error.code,)), error.message) from error


def _answered(response: Any, which: Which, value: Any) -> Found:
    answered = response.model_spec
    assert (answered.name, answered.signature_name) == (
        which.model,
        which.signature or "serving_default",
    )
    assert answered.WhichOneof("version_choice") == "version"
    return Found(answered.version.value, value)


def _input(examples: Sequence[Features]) -> Any:
    made = message_class("tensorflow.serving.Input")()
    made.example_list.SetInParent()
    for features in examples:
        made.example_list.examples.append(example(**features))
    return made


_DTYPE_NAMES: Final = message_class("tensorflow.TensorProto").DESCRIPTOR.fields_by_name["dtype"]


def _tensors(tensors: Any) -> Any:
    numbers = _DTYPE_NAMES.enum_type.values_by_number
    return {
        alias: (
            of.name,
            numbers[of.dtype].name,
            None
            if of.tensor_shape.unknown_rank
            else tuple(dim.size for dim in of.tensor_shape.dim),
        )
        for alias, of in tensors.items()
    }
