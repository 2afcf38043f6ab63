from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from salver._pb import message_class
from salver.errors import InvalidArgument
from salver.operations.reflection import reflection_methods
from salver.protocols.methods import Call, Stream

_VERSIONS = ("v1", "v1alpha")
_PREDICTION = "tensorflow.serving.PredictionService"


async def _stream(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def _answers(version: str, *messages: bytes) -> list[Any]:
    table = reflection_methods([_PREDICTION])
    stream = table[f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"]
    assert isinstance(stream, Stream)
    assert not stream.is_request_single
    response = message_class(f"grpc.reflection.{version}.ServerReflectionResponse")
    return [response.FromString(data) async for data in stream.method(_stream(*messages), Call())]


async def _answer(version: str, **fields: Any) -> Any:
    request = message_class(f"grpc.reflection.{version}.ServerReflectionRequest")(**fields)
    (answer,) = await _answers(version, request.SerializeToString())
    assert answer.original_request == request
    return answer


def _files(answer: Any) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    found = {}
    for data in answer.file_descriptor_response.file_descriptor_proto:
        file = descriptor_pb2.FileDescriptorProto.FromString(data)
        assert file.name not in found
        found[file.name] = file
    return found


@pytest.mark.parametrize("version", _VERSIONS)
async def test_the_services_are_listed_and_reflection_with_them(version: str) -> None:
    answer = await _answer(version, list_services="")
    assert [service.name for service in answer.list_services_response.service] == [
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        _PREDICTION,
    ]


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize(
    "symbol",
    [
        _PREDICTION,
        f"{_PREDICTION}.Predict",
        "tensorflow.serving.PredictRequest",
        "tensorflow.serving.PredictRequest.RequestOptions",
        "tensorflow.serving.PredictRequest.output_filter",
    ],
)
async def test_a_symbol_brings_its_file_with_all_it_imports(version: str, symbol: str) -> None:
    files = _files(await _answer(version, file_containing_symbol=symbol))
    assert {"prediction.proto", "tensor.proto", "google/protobuf/any.proto"} <= set(files)
    assert next(iter(files)) == "prediction.proto"
    for file in files.values():
        assert set(file.dependency) <= set(files)
    (service,) = files["prediction.proto"].service
    assert [method.name for method in service.method] == [
        "Classify", "Regress", "Predict", "MultiInference", "GetModelMetadata",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "symbol",
    [
        "tensorflow.serving.ModelService",
        "tensorflow.serving.SessionService",
        "tensorflow.ProfilerService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ],
)
async def test_every_service_is_described(symbol: str) -> None:
    files = _files(await _answer("v1", file_containing_symbol=symbol))
    package, _, name = symbol.rpartition(".")
    described = next(iter(files.values()))
    assert described.package == package
    assert name in [service.name for service in described.service]


async def test_a_file_is_found_by_its_name() -> None:
    assert "tensor.proto" in _files(await _answer("v1", file_by_filename="tensor.proto"))


async def test_a_type_without_extensions_has_none() -> None:
    answer = await _answer("v1", all_extension_numbers_of_type="tensorflow.TensorProto")
    assert answer.all_extension_numbers_response.base_type_name == "tensorflow.TensorProto"
    assert list(answer.all_extension_numbers_response.extension_number) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"file_by_filename": "none.proto"}, "File not found."),
        ({"file_containing_symbol": "no.Such"}, "Symbol not found."),
        ({"file_containing_symbol": ""}, "Symbol not found."),
        ({"file_containing_symbol": f"{_PREDICTION}.NoSuch"}, "Symbol not found."),
        ({"file_containing_symbol": "tensorflow.TensorProto.no_such"}, "Symbol not found."),
        ({"all_extension_numbers_of_type": "no.Such"}, "Type not found."),
        (
            {
                "file_containing_extension": {
                    "containing_type": "tensorflow.TensorProto",
                    "extension_number": 100,
                }
            },
            "Extension not found.",
        ),
    ],
)
@pytest.mark.parametrize("version", _VERSIONS)
async def test_what_is_not_there_is_not_found(
    version: str, fields: dict[str, Any], text: str
) -> None:
    answer = await _answer(version, host="somewhere", **fields)
    assert (answer.error_response.error_code, answer.error_response.error_message) == (5, text)
    assert answer.valid_host == "somewhere"


async def test_a_request_for_nothing_is_unimplemented() -> None:
    assert (await _answer("v1")).error_response.error_code == 12


async def test_requests_are_answered_one_by_one_and_none_ends_the_stream() -> None:
    request = message_class("grpc.reflection.v1.ServerReflectionRequest")
    answers = await _answers(
        "v1",
        request(file_by_filename="none").SerializeToString(),
        request(list_services="").SerializeToString(),
    )
    kinds = [answer.WhichOneof("message_response") for answer in answers]
    assert kinds == ["error_response", "list_services_response"]


async def test_bytes_that_are_no_request_end_the_stream() -> None:
    with pytest.raises(InvalidArgument) as caught:
        await _answers("v1", b"\x0a\xff")
    assert caught.value.message == "could not parse request"
