import gzip
import json
import threading
import tracemalloc
import zlib
from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest
from tests.kept_logs import KeptLogger, KeptLogs
from tests.shelf import (
    FLOATS,
    HALF_PLUS_TWO,
    STRINGS,
    FunctionModel,
    Gate,
    Shelf,
    half_plus_two,
    response_of,
    signature,
)

from salver.codecs.json import tensors as json_tensors
from salver.codecs.oip.tensors import raw_of, raw_strings
from salver.errors import InvalidArgument, ServingError, Unimplemented
from salver.inference.call import LARGE_BYTES, Inference
from salver.inference.logged import NO_LOGS, Tensors
from salver.oip.rest.infer import InferCalls
from salver.oip.serving import OipServing
from salver.transport.messages import Headers, HttpRequest, HttpResponse, LargeResponse
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, ServableRequest

M = ServableRequest("m")
LARGE = LARGE_BYTES // 4 + 1  # elements of a float tensor that is large
USUAL = b'{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[1.0,2.0,5.0]}]}'
ANSWER = (
    b'{"model_name":"m","model_version":"7","outputs":[{"name":"y","datatype":"FP32","shape":[3],'
    b'"data":[2.5,3.0,4.5]}]}'
)
IMAGE = (DataType.FLOAT32, (-1, 2))


def calls_of(shelf: Shelf, logs: KeptLogs | None = None) -> InferCalls:
    inference = Inference(OipServing(shelf), shelf.in_pool, NO_LOGS if logs is None else logs)
    return InferCalls(inference, shelf.in_pool)


@pytest.fixture(params=[True, False], ids=["inline", "pooled"])
def calls(request: pytest.FixtureRequest, shelf: Shelf) -> InferCalls:
    """The calls on a server whose model runs in the loop, and on one where it does not."""
    shelf.put("m", 7, HALF_PLUS_TWO, is_inline=request.param)
    return calls_of(shelf)


def request(body: Any, servable: ServableRequest = M, **headers: str) -> HttpRequest:
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    made = HttpRequest("POST", "/v2/models/m/infer", Headers("".join(lines).encode()), body)
    made.servable = servable
    return made


def binary(head: Any, *raws: bytes) -> HttpRequest:
    text = json.dumps(head).encode()
    return request(b"".join((text, *raws)), inference_header_content_length=str(len(text)))


def one(shape: list[int], data: Any, datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {
        "inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}],
        **more,
    }


def raw_one(size: int, shape: list[int], datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {
        "inputs": [{"name": "x", "shape": shape, "datatype": datatype, "parameters": parameters}],
        **more,
    }


async def json_of(answer: "HttpResponse | Awaitable[HttpResponse]") -> Any:
    response = await response_of(answer)
    assert (response.status, response.content_type) == (200, "application/json")
    assert response.headers == (("salver-model-version", "7"),)
    return json.loads(response.whole())


async def data_of(answer: "HttpResponse | Awaitable[HttpResponse]") -> Any:
    (output,) = (await json_of(answer))["outputs"]
    return output["data"]


async def binary_of(answer: "HttpResponse | Awaitable[HttpResponse]") -> tuple[Any, bytes]:
    response = await response_of(answer)
    assert response.content_type == "application/octet-stream"
    length = int(dict(response.headers)["Inference-Header-Content-Length"])
    body = response.whole()
    return json.loads(body[:length]), body[length:]


async def error_of(calls: InferCalls, asked: HttpRequest) -> ServingError:
    with pytest.raises(ServingError) as raised:
        await response_of(calls.infer(asked))
    return raised.value


async def test_numbers_in_json_are_answered_in_json(calls: InferCalls) -> None:
    for _ in range(3):  # the first time it is parsed, then known
        response = await response_of(calls.infer(request(USUAL)))
        assert (response.status, response.body) == (200, ANSWER)
        assert response.headers == (("salver-model-version", "7"),)


@pytest.mark.parametrize(
    "body",
    [
        one([3], [1, 2, 5]),
        one([3], [[1.0], [2.0, 5.0]]),
        one([3], [1, 2.0, 5e0], parameters={"binary_data_output": False}),
        one([3], [1, 2, 5], outputs=[{"name": "y", "parameters": {"binary_data": False}}]),
        {"outputs": [{"name": "y"}], "anything": {"else": [None]}, **one([3], [1, 2, 5])},
        {"inputs": [{"data": [1, 2, 5], "datatype": "FP32", "shape": [3], "name": "x"}]},
    ],
)
async def test_a_request_may_be_written_in_many_ways(calls: InferCalls, body: Any) -> None:
    for _ in range(2):
        assert await data_of(calls.infer(request(body))) == [2.5, 3.0, 4.5]


async def test_an_id_comes_back(calls: InferCalls) -> None:
    for id in ("1", "2", 'quo"te', "ü", "\n"):
        answer = await json_of(calls.infer(request(one([1], [2], id=id))))
        assert (answer["id"], answer["outputs"][0]["data"]) == (id, [3.0])
        compact = json.dumps({"id": id, **one([1], [2.0])}, separators=(",", ":")).encode()
        for _ in range(2):
            answer = await json_of(calls.infer(request(compact)))
            assert (answer["id"], answer["outputs"][0]["data"]) == (id, [3.0])


async def test_what_is_no_number_is_written_and_read_as_clients_do(calls: InferCalls) -> None:
    body = USUAL.replace(b"[1.0,2.0,5.0]", b"[NaN,Infinity,-Infinity]")
    for _ in range(2):
        response = await response_of(calls.infer(request(body)))
        assert response.body == ANSWER.replace(b"[2.5,3.0,4.5]", b"[NaN,Infinity,-Infinity]")


async def test_known_bodies_mean_what_they_meant_or_are_read_again(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    calls = calls_of(shelf)
    assert await data_of(calls.infer(request(USUAL))) == [2.5, 3.0, 4.5]
    for numbers, told in (
        (b"[1.0,2.0]", "shape does not match"),
        (b"[1.0,2.0,3.0,4.0]", "shape does not match"),
        (b"[1.0,2.0,", "failed to parse"),
        (b"[1.0,2.0,5.0]}", "failed to parse"),
        (b"[1.0,[2.0],[]],[5.0]", "failed to parse"),
        (b'[1.0,2.0,"5"]', "Unable to parse 'data'"),
        (b"[1.0,2.0,true]", "Unable to parse 'data'"),
        (b"[1.0,2.0,null]", "Unable to parse 'data'"),
        (b"1.0", "Unable to parse 'data'"),
        (b'[1.0,2.0,5.0],"data":[1.0,2.0,5.0]', "is there twice"),
    ):
        error = await error_of(calls, request(USUAL.replace(b"[1.0,2.0,5.0]", numbers)))
        assert type(error) is InvalidArgument
        assert told in error.message
    nested = USUAL.replace(b"[1.0,2.0,5.0]", b"[[1.0,2.0],[5.0]]")
    assert await data_of(calls.infer(request(nested))) == [2.5, 3.0, 4.5]
    assert shelf.in_flight() == 0


async def test_a_body_is_known_for_the_version_and_the_model_it_was_checked_with(
    shelf: Shelf,
) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    other = signature({"x": (DataType.INT32, (-1,))}, {"y": FLOATS})
    shelf.put("m", 8, FunctionModel({"serving_default": (other, half_plus_two)}))
    of_two = signature({"x": FLOATS}, {"z": FLOATS})
    shelf.put("n", 1, FunctionModel({"only": (of_two, lambda x: [x * 2])}))
    calls = calls_of(shelf)
    old = ServableRequest("m", 7)
    for _ in range(3):
        assert await data_of(calls.infer(request(USUAL, old))) == [2.5, 3.0, 4.5]
        error = await error_of(calls, request(USUAL))
        assert "data-type is 'FP32', but model 'm' expects 'INT32'" in error.message
        answer = await response_of(calls.infer(request(USUAL, ServableRequest("n"))))
        assert json.loads(answer.body)["outputs"][0]["data"] == [2.0, 4.0, 10.0]
        assert json.loads(answer.body)["model_name"] == "n"


def test_a_small_request_of_a_short_run_needs_no_task(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    calls = calls_of(shelf)
    assert isinstance(calls.infer(request(USUAL)), HttpResponse)
    raw = np.ones(3, np.float32).tobytes()
    assert isinstance(calls.infer(binary(raw_one(12, [3]), raw)), HttpResponse)
    assert shelf.pooled == 0


async def test_raw_tensors_come_and_go_behind_the_json(calls: InferCalls) -> None:
    raw = np.array([1, 2, 5], np.float32).tobytes()
    asked = raw_one(12, [3], parameters={"binary_data_output": True}, id="i")
    for _ in range(2):
        said, behind = await binary_of(calls.infer(binary(asked, raw)))
        assert said == {
            "id": "i",
            "model_name": "m",
            "model_version": "7",
            "outputs": [
                {
                    "name": "y",
                    "datatype": "FP32",
                    "shape": [3],
                    "parameters": {"binary_data_size": 12},
                }
            ],
        }
        assert np.frombuffer(behind, np.float32).tolist() == [2.5, 3.0, 4.5]


async def test_raw_tensors_are_answered_in_json_where_nothing_else_is_asked(
    calls: InferCalls,
) -> None:
    raw = np.array([1, 2, 5], np.float32).tobytes()
    assert await data_of(calls.infer(binary(raw_one(12, [3]), raw))) == [2.5, 3.0, 4.5]
    of_output = [{"name": "y", "parameters": {"binary_data": True}}]
    _, behind = await binary_of(calls.infer(binary(raw_one(12, [3], outputs=of_output), raw)))
    assert len(behind) == 12
    # What is said of an output goes before what is said of all.
    of_output[0]["parameters"] = {"binary_data": False}
    asked = raw_one(12, [3], outputs=of_output, parameters={"binary_data_output": True})
    assert await data_of(calls.infer(binary(asked, raw))) == [2.5, 3.0, 4.5]


async def test_a_body_may_be_nothing_but_the_only_input(calls: InferCalls) -> None:
    raw = np.array([1, 2, 5], np.float32).tobytes()
    said, behind = await binary_of(calls.infer(request(raw, inference_header_content_length="0")))
    assert said["outputs"][0]["shape"] == [3]
    assert np.frombuffer(behind, np.float32).tolist() == [2.5, 3.0, 4.5]


@pytest.mark.parametrize(
    ("shape", "dtype", "raw", "answered"),
    [
        ((-1, 2), DataType.FLOAT32, bytes(16), [2, 2]),
        ((-1, -1), DataType.FLOAT32, bytes(16), [1, 4]),
        ((-1, 2, -1), DataType.FLOAT32, bytes(16), [1, 2, 2]),
        ((2, 2), DataType.FLOAT32, bytes(16), [2, 2]),
        (None, DataType.FLOAT32, bytes(16), [4]),
        ((-1,), DataType.STRING, b"a text", [1]),
        ((-1, 1), DataType.STRING, b"", [1, 1]),
    ],
)
async def test_the_shape_of_a_body_that_is_an_input_is_told_from_its_size(
    shelf: Shelf,
    shape: tuple[int, ...] | None,
    dtype: DataType,
    raw: bytes,
    answered: list[int],
) -> None:
    of = signature({"x": (dtype, shape)}, {"y": (dtype, shape)})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda x: [x])}))
    asked = request(raw, inference_header_content_length="0")
    said, behind = await binary_of(calls_of(shelf).infer(asked))
    assert said["outputs"][0]["shape"] == answered
    assert behind == (raw_strings([raw]) if dtype is DataType.STRING else raw)


@pytest.mark.parametrize(
    ("inputs", "raw", "told"),
    [
        (
            {"a": FLOATS, "b": FLOATS},
            b"",
            "must only have 1 input (found 1) to be deduced but got 2",
        ),
        (
            {"a": (DataType.FLOAT32, (-1, -1, -1))},
            b"",
            "there are more than one variable-sized dimension",
        ),
        ({"a": (DataType.STRING, (-1, 2))}, b"", "the model must have input shape [1]"),
        ({"a": (DataType.FLOAT32, (-1, 2))}, bytes(12), "byte size mismatch for input 'a'"),
        ({"a": (DataType.FLOAT32, (2,))}, bytes(12), "Expected 8, got 12"),
    ],
)
async def test_a_body_that_cannot_be_an_input_is_refused(
    shelf: Shelf, inputs: Any, raw: bytes, told: str
) -> None:
    of = signature(inputs, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda *x: [*x])}))
    error = await error_of(calls_of(shelf), request(raw, inference_header_content_length="0"))
    assert told in error.message


async def test_strings_go_both_ways_as_json_and_raw(shelf: Shelf) -> None:
    of = signature({"x": STRINGS}, {"y": STRINGS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda x: [x[::-1]])}))
    calls = calls_of(shelf)
    answer = await json_of(calls.infer(request(one([2], ["ä", ""], "BYTES"))))
    assert answer["outputs"] == [
        {"name": "y", "datatype": "BYTES", "shape": [2], "data": ["", "ä"]}
    ]
    raw = raw_strings([b"\xff\x00", b""])
    asked = raw_one(len(raw), [2], "BYTES", parameters={"binary_data_output": True})
    said, behind = await binary_of(calls.infer(binary(asked, raw)))
    assert behind == raw_strings([b"", b"\xff\x00"])
    assert said["outputs"][0]["parameters"] == {"binary_data_size": len(raw)}


async def test_several_tensors_may_be_mixed(shelf: Shelf) -> None:
    of = signature({"a": FLOATS, "b": FLOATS}, {"d": FLOATS, "s": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda a, b: [a - b, a + b])}))
    raw = np.array([10], np.float32).tobytes()
    inputs = [
        {"name": "b", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
        {"name": "a", "shape": [1], "datatype": "FP32", "data": [3]},
    ]
    outputs = [{"name": "s"}, {"name": "d", "parameters": {"binary_data": True}}]
    asked = binary({"inputs": inputs, "outputs": outputs}, raw)
    said, behind = await binary_of(calls_of(shelf).infer(asked))
    assert [(of["name"], of.get("data")) for of in said["outputs"]] == [("s", [13.0]), ("d", None)]
    assert np.frombuffer(behind, np.float32).tolist() == [-7.0]


async def test_an_answer_has_scalars_and_empty_tensors(shelf: Shelf) -> None:
    scalar = (DataType.FLOAT32, ())
    of = signature({"x": FLOATS}, {"n": FLOATS, "s": scalar})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda x: [x[:0], x.sum()])}))
    answer = await json_of(calls_of(shelf).infer(request(USUAL)))
    assert [(of["shape"], of["data"]) for of in answer["outputs"]] == [([0], []), ([], [8.0])]


async def test_scores_become_classes(shelf: Shelf) -> None:
    of = signature({"x": IMAGE}, {"y": IMAGE})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda x: [x])}))
    outputs = [{"name": "y", "parameters": {"classification": 1}}]
    answer = await json_of(calls_of(shelf).infer(request(one([1, 2], [1, 2], outputs=outputs))))
    assert answer["outputs"] == [
        {"name": "y", "datatype": "BYTES", "shape": [1, 1], "data": ["2.000000:1"]}
    ]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (binary(raw_one(16, [3]), bytes(12)), "size for input 'x', expecting 4 additional bytes"),
        (binary(raw_one(12, [3]), bytes(16)), "unexpected additional input data: 4 bytes"),
        (binary(raw_one(8, [3]), bytes(8)), "input 'x' for model 'm'. Expected 12, got 8"),
        (binary(raw_one(-1, [3]), bytes(8)), "Unable to parse 'binary_data_size'"),
        (binary(raw_one(1 << 70, [3]), bytes(8)), "Unable to parse 'binary_data_size'"),
        (request(raw_one(0, [3])), "byte size mismatch"),
        (request(b"{}", inference_header_content_length="x"), "Unable to parse Inference-Header-"),
        (request(b"{}", inference_header_content_length="-1"), "Unable to parse Inference-Header-"),
        (request(b"{}", inference_header_content_length="3"), "should be in range (0, 2), got: 3"),
        (request(b"{}", inference_header_content_length="9" * 5000), "should be in range (0, 2)"),
        (request(b""), "failed to parse the request JSON buffer: The document is empty"),
        (request({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}), "But no field is"),
        (
            binary(
                {
                    "inputs": [
                        {
                            "name": "x",
                            "shape": [1],
                            "datatype": "FP32",
                            "data": [1],
                            "parameters": {"binary_data_size": 4},
                        }
                    ]
                },
                bytes(4),
            ),
            "But set 'data' 'binary_data_size'",
        ),
        (request(one([1 << 62], [1])), "shape does not match"),
        (
            request(one([1], [1], outputs=[{"name": "y", "parameters": {"binary_data": 1}}])),
            "Unable to parse 'binary_data'",
        ),
        (
            request(one([1], [1], outputs=[{"name": "y", "parameters": {"classification": -1}}])),
            "Unable to set 'classification'",
        ),
        (request(one([1], [1], parameters={"timeout": "soon"})), "Unable to parse 'timeout'"),
    ],
)  # fmt: skip
async def test_bad_input_is_refused_in_words_and_holds_nothing(
    shelf: Shelf, asked: HttpRequest, told: str
) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    error = await error_of(calls_of(shelf), asked)
    assert type(error) is InvalidArgument
    assert told in error.message
    assert shelf.in_flight() == 0


@pytest.mark.parametrize(
    "parameters",
    [{"sequence_id": 1}, {"shared_memory_region": "r"}],
)
async def test_what_is_not_there_is_refused_by_name(shelf: Shelf, parameters: Any) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    calls = calls_of(shelf)
    error = await error_of(calls, request(one([1], [1], parameters=parameters)))
    assert type(error) is Unimplemented
    of_output = one([1], [1], outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}])
    assert type(await error_of(calls, request(of_output))) is Unimplemented


async def test_large_bodies_are_read_and_written_in_the_pool(shelf: Shelf) -> None:
    threads: list[str] = []

    def run(x: Array) -> list[Array]:
        threads.append(threading.current_thread().name)
        return half_plus_two(x)

    of = signature({"x": FLOATS}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, run)}))
    calls = calls_of(shelf)
    assert await data_of(calls.infer(request(one([LARGE], [1.0] * LARGE)))) == [2.5] * LARGE
    assert shelf.pooled == 2
    raw = np.ones(LARGE, np.float32).tobytes()
    asked = raw_one(len(raw), [LARGE], parameters={"binary_data_output": True})
    _, behind = await binary_of(calls.infer(binary(asked, raw)))
    assert behind == np.full(LARGE, 2.5, np.float32).tobytes()
    assert shelf.pooled == 3  # to write it


async def test_raw_bytes_are_read_in_the_loop_but_for_strings_and_long_texts(
    shelf: Shelf,
) -> None:
    sizes = signature({"x": STRINGS}, {"y": FLOATS})
    shelf.put(
        "sizes",
        1,
        FunctionModel(
            {"serving_default": (sizes, lambda x: [np.array([len(x.item())], np.float32)])}
        ),
    )
    of = signature({"x": FLOATS}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda x: [x[:1]])}))
    calls = calls_of(shelf)
    raw = np.ones(LARGE, np.float32).tobytes()
    for parameters, is_pooled in (({}, 0), ({"a": "b" * 5000}, 1)):
        before = shelf.pooled
        asked = raw_one(len(raw), [LARGE], parameters=parameters)
        assert await data_of(calls.infer(binary(asked, raw))) == [1]
        assert shelf.pooled - before == is_pooled
    before = shelf.pooled
    raw = bytes(raw_of(np.array([b"a" * LARGE_BYTES], object)))
    asked = raw_one(len(raw), [1], datatype="BYTES")
    sent = binary(asked, raw)
    sent.servable = ServableRequest("sizes")
    answer = json.loads((await response_of(calls.infer(sent))).whole())
    assert answer["outputs"][0]["data"] == [LARGE_BYTES]
    assert shelf.pooled == before + 1


async def test_a_raw_tensor_is_fed_where_it_lies(shelf: Shelf) -> None:
    fed: list[Array] = []

    def run(x: Array) -> list[Array]:
        fed.append(x)
        return [x[:1]]

    of = signature({"x": FLOATS}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, run)}))
    raw = np.ones(150_000, np.float32).tobytes()
    asked = binary(raw_one(len(raw), [150_000]), raw)
    await response_of(calls_of(shelf).infer(asked))
    begin = np.frombuffer(asked.body, np.uint8).ctypes.data + len(asked.body) - len(raw)
    assert fed[0].ctypes.data == begin
    assert not fed[0].flags.writeable


async def test_a_very_large_answer_is_in_parts(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_tensors, "_PART_BYTES", LargeResponse.SMALLEST_BYTES)
    count = 1 << 19
    of = signature({"x": FLOATS}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda x: [np.repeat(x, count)])}))
    response = await response_of(calls_of(shelf).infer(request(one([1], [1]))))
    assert isinstance(response, LargeResponse)
    assert json.loads(response.whole())["outputs"][0]["data"] == [1.0] * count


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_an_answer_is_compressed_for_who_asks_for_just_that(
    shelf: Shelf, coding: str
) -> None:
    inflate = gzip.decompress if coding == "gzip" else zlib.decompress
    for is_inline in (True, False):
        shelf.put("m", 7 + is_inline, HALF_PLUS_TWO, is_inline=is_inline)
        calls = calls_of(shelf)
        for count in (100, LARGE):
            asked = request(one([count], [1] * count), accept_encoding=coding)
            response = await response_of(calls.infer(asked))
            assert dict(response.headers)["Content-Encoding"] == coding
            assert json.loads(inflate(response.body))["outputs"][0]["data"] == [2.5] * count
    small = await response_of(calls.infer(request(USUAL, accept_encoding=coding)))
    assert small.body == ANSWER.replace(b'"7"', b'"8"')


@pytest.mark.parametrize("accepted", ["gzip, deflate, br", "identity", "br", "gzip;q=0", ""])
async def test_an_answer_is_sent_as_it_is_to_others(shelf: Shelf, accepted: str) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    asked = request(one([100], [1] * 100), accept_encoding=accepted)
    assert await data_of(calls_of(shelf).infer(asked)) == [2.5] * 100


async def test_a_client_that_leaves_ends_its_compressed_request_too(shelf: Shelf) -> None:
    gate = Gate()
    of = signature({"x": FLOATS}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, gate)}), is_inline=False)
    answer = calls_of(shelf).infer(request(USUAL, accept_encoding="gzip"))
    assert not isinstance(answer, HttpResponse)
    answer.close()
    gate.let_go.set()
    await shelf.in_pool(lambda: None)  # behind the run, which is over then
    assert shelf.in_flight() == 0


async def test_a_request_is_counted_as_an_inference_of_this_protocol(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    calls = calls_of(shelf)
    for _ in range(2):
        await response_of(calls.infer(request(USUAL)))
    entry = shelf.acquire(M)
    try:
        call = entry.model.call("serving_default")
        assert call is not None
        assert ("infer", "REST") in call.meters
    finally:
        entry.release()


async def test_a_log_is_told_of_the_tensors(shelf: Shelf) -> None:
    logger = KeptLogger()
    shelf.put("m", 7, HALF_PLUS_TWO)
    calls = calls_of(shelf, KeptLogs({"m": logger}))
    for _ in range(2):
        await response_of(calls.infer(request(USUAL)))
    for call in logger.calls:
        assert (call.method, call.version) == ("predict", 7)
        assert isinstance(call.content, Tensors)
        assert call.content.inputs["x"].tolist() == [1, 2, 5]
        assert call.content.outputs["y"].tolist() == [2.5, 3, 4.5]
    assert len(logger.calls) == 2


async def test_a_header_length_that_is_there_twice_is_refused(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    asked = binary(raw_one(12, [3]), bytes(12))
    (line,) = asked.headers._raw.splitlines(keepends=True)
    asked.headers = Headers(line + b"Inference-header-content-length: 3\r\n")
    error = await error_of(calls_of(shelf), asked)
    assert error.message == "Inference-Header-Content-Length is there more than once"
    asked.headers = Headers(line + b"X-Note: inference-header-content-length\r\n")
    answer = calls_of(shelf).infer(asked)
    assert (await response_of(answer)).status == 200


async def test_ids_are_answered_and_not_kept(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    calls = calls_of(shelf)

    async def ask(at: int) -> None:
        for is_binary in (False, True):
            id = f"{at}".rjust(1 << 20, "x")
            wanted = {"binary_data_output": is_binary}
            asked = request(one([1], [1.0], id=id, parameters=wanted))
            answer = await response_of(calls.infer(asked))
            assert answer.body.startswith(b'{"id":"%b","model_name"' % id.encode())

    tracemalloc.start()
    try:
        await ask(0)
        before, _ = tracemalloc.get_traced_memory()
        for at in range(1, 9):
            await ask(at)
        assert tracemalloc.get_traced_memory()[0] - before < 2 << 20
    finally:
        tracemalloc.stop()


async def test_an_id_in_front_of_raw_bytes_is_that_of_the_request(shelf: Shelf) -> None:
    shelf.put("m", 7, HALF_PLUS_TWO)
    calls = calls_of(shelf)
    for id in ("a", "b", "", "a"):
        head = {"id": id, **raw_one(4, [1])} if id else raw_one(4, [1])
        text = json.dumps(head, separators=(",", ":")).encode()
        asked = request(text + bytes(4), inference_header_content_length=str(len(text)))
        answer = await response_of(calls.infer(asked))
        assert json.loads(answer.body).get("id", "") == id
    behind = json.dumps({**raw_one(4, [1]), "id": "c"}, separators=(",", ":")).encode()
    twice = b'{"id":"a",' + behind[1:]
    for text in (twice, behind, twice):
        asked = request(text + bytes(4), inference_header_content_length=str(len(text)))
        if text is behind:
            assert json.loads((await response_of(calls.infer(asked))).body)["id"] == "c"
        else:
            assert "'id'" in (await error_of(calls, asked)).message


@pytest.mark.parametrize("shape", [(1, 1025), (1025, 1)])
@pytest.mark.parametrize("is_inline", [True, False])
async def test_many_small_scores_are_not_put_in_order_in_the_loop(
    shelf: Shelf, shape: tuple[int, int], is_inline: bool
) -> None:
    scores = (DataType.INT8, (-1, -1))
    model = FunctionModel({"serving_default": (signature({"x": scores}, {"y": scores}), echo)})
    shelf.put("m", 7, model, is_inline=is_inline)
    calls = calls_of(shelf)
    wanted = [{"name": "y", "parameters": {"classification": 1}}]
    sizes = {"parameters": {"binary_data_size": shape[0] * shape[1]}}
    given = {"name": "x", "shape": shape, "datatype": "INT8", **sizes}
    asked = binary({"inputs": [given], "outputs": wanted}, bytes(shape[0] * shape[1]))
    await response_of(calls.infer(binary({"inputs": [given]}, bytes(shape[0] * shape[1]))))
    before = shelf.pooled
    response = await response_of(calls.infer(asked))
    assert shelf.pooled == before + 1
    (output,) = json.loads(response.body)["outputs"]
    assert output["shape"] == [shape[0], 1]
    assert output["data"] == ["0:0"] * shape[0]


def echo(x: Array) -> list[Array]:
    return [x]
