import asyncio
import json
import threading
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
    cancelled,
    half_plus_two,
    occupy,
    response_of,
    signature,
)

from salver.codecs.json import tensors as json_tensors
from salver.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    ServingError,
    Unavailable,
)
from salver.inference.call import LARGE_BYTES
from salver.inference.logged import Bodies, Examples, Tensors
from salver.tfs.rest.calls import InferenceCalls
from salver.transport.messages import HttpResponse, LargeResponse
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, ServableRequest

M = ServableRequest("m")
LONG_S = 10.0
LARGE = LARGE_BYTES // 4 + 1  # elements of a float tensor that is large


def fail(error: ServingError) -> Any:
    raise error


def classes(examples: Array) -> list[Array]:
    names = np.array([[b"car", b"bike"]] * len(examples), dtype=object)
    return [names, np.array([[0.25, 0.75]] * len(examples), np.float32)]


def lengths(examples: Array) -> list[Array]:
    return [np.array([len(example) for example in examples], np.float32)]


CLASSES = (DataType.STRING, (-1, 2))
MODEL = FunctionModel(
    {
        "serving_default": HALF_PLUS_TWO.functions["serving_default"],
        "classify": (
            signature(
                {"inputs": STRINGS},
                {"classes": CLASSES, "scores": FLOATS},
                "tensorflow/serving/classify",
            ),
            classes,
        ),
        "regress": (
            signature({"inputs": STRINGS}, {"outputs": FLOATS}, "tensorflow/serving/regress"),
            lengths,
        ),
        "odd": (signature({"odd_x": FLOATS}, {"odd_y": FLOATS}, "odd"), half_plus_two),
        "nothing": (signature({}, {"": FLOATS}), half_plus_two),
        "unresolved": (signature({"": FLOATS}, {"u": FLOATS}), half_plus_two),
        "failing": (
            signature({"f": FLOATS}, {"g": FLOATS}),
            lambda _: fail(Internal("the model broke")),
        ),
        "complex": (
            signature({"c": FLOATS}, {"d": (DataType.COMPLEX64, (-1,))}),
            lambda x: [x.astype(np.complex64)],
        ),
        "scalar": (signature({"s": FLOATS}, {"t": (DataType.FLOAT32, ())}), lambda x: [x.sum()]),
        "inflate": (
            signature({"small": FLOATS}, {"large": FLOATS}),
            lambda x: [np.repeat(x, LARGE)],
        ),
    }
)


@pytest.fixture(params=[True, False], ids=["inline", "pooled"])
def calls(request: pytest.FixtureRequest, shelf: Shelf) -> InferenceCalls:
    """The calls on a server whose model runs in the loop, and on one where it does not."""
    shelf.put("m", 7, MODEL, is_inline=request.param)
    return InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=LONG_S)


def pooled_calls(
    shelf: Shelf, model: FunctionModel, timeout_s: float | None = None
) -> InferenceCalls:
    shelf.put("m", 7, model, is_inline=False)
    return InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=timeout_s)


def gated(gate: Gate) -> FunctionModel:
    return FunctionModel({"serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), gate)})


def large_body() -> bytes:
    return json.dumps({"instances": [1.0] * LARGE}).encode()


async def message_of(answer: Any) -> str:
    with pytest.raises(ServingError) as raised:
        await response_of(answer())
    return raised.value.message


async def json_of(answer: "HttpResponse | Awaitable[HttpResponse]") -> Any:
    response = await response_of(answer)
    assert (response.status, response.content_type) == (200, "application/json")
    return json.loads(response.body)


async def test_rows_give_predictions_and_columns_give_outputs(calls: InferenceCalls) -> None:
    rows = calls.predict(b'{"instances": [1.0, 2.0, 5.0]}', M)
    assert await json_of(rows) == {"predictions": [2.5, 3.0, 4.5]}
    columns = calls.predict(b'{"inputs": {"x": [[1.0]]}}', M)
    assert await json_of(columns) == {"outputs": [[2.5]]}


async def test_examples_are_classified_and_regressed(calls: InferenceCalls) -> None:
    classified = calls.classify(b'{"signature_name": "classify", "examples": [{"a": 1}]}', M)
    assert await json_of(classified) == {"results": [[["car", 0.25], ["bike", 0.75]]]}
    regressed = calls.regress(b'{"signature_name": "regress", "examples": [{}, {}]}', M)
    assert await json_of(regressed) == {"results": [0.0, 0.0]}


async def test_the_version_that_answered_is_named(calls: InferenceCalls, shelf: Shelf) -> None:
    for other in (9, 8):
        shelf.put("m", other, MODEL)
    shelf.serving.assign_labels({"m": {"stable": 7}}, {})
    for wanted, version in (
        (M, "9"),
        (ServableRequest("m", version=8), "8"),
        (ServableRequest("m", label="stable"), "7"),
    ):
        response = await response_of(calls.predict(b'{"instances": [1.0]}', wanted))
        assert response.headers == (("salver-model-version", version),)


async def test_a_small_request_of_a_short_run_needs_no_task(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    calls = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None)
    assert isinstance(calls.predict(b'{"instances": [1.0]}', M), HttpResponse)
    examples = b'{"signature_name": "regress", "examples": [{}]}'
    assert isinstance(calls.regress(examples, M), HttpResponse)
    assert shelf.pooled == 0


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (b"[1, 2]", b"[2.5,3.0]"),
        (b"[[1], [2]]", b"[[2.5],[3.0]]"),
        (b"[1e0]", b"[2.5]"),
        (b"[NaN]", b"[NaN]"),
        (b"[%s]" % b",".join([b"1.0"] * 1000), b"[%s]" % b",".join([b"2.5"] * 1000)),
        (b"[%s]" % b",".join([b"NaN"] * 1000), b"[%s]" % b",".join([b"NaN"] * 1000)),
    ],
)
async def test_rows_are_answered_alike_however_they_are_read(
    calls: InferenceCalls, shelf: Shelf, rows: bytes, text: bytes
) -> None:
    for body in (b'{"instances":%s}', b'{"signature_name":"serving_default","instances":%s}'):
        response = await response_of(calls.predict(body % rows, M))
        assert response.body == b'{\n    "predictions": %s\n}' % text
        assert response.headers == (("salver-model-version", "7"),)
    assert shelf.in_flight() == 0


@pytest.mark.parametrize("is_inline", [True, False])
async def test_a_run_of_rows_that_fails_names_its_version_and_holds_nothing(
    shelf: Shelf, is_inline: bool
) -> None:
    error = Internal("the model broke")
    model = (signature({"x": FLOATS}, {"y": FLOATS}), lambda _: fail(error))
    shelf.put("m", 7, FunctionModel({"serving_default": model}), is_inline=is_inline)
    calls = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None)
    with pytest.raises(Internal, match="the model broke"):
        await response_of(calls.predict(b'{"instances": [1.0]}', M))
    assert (error.version, shelf.in_flight()) == (7, 0)


async def test_a_fault_of_ours_while_rows_are_read_holds_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any) -> None:
        raise MemoryError

    shelf.put("m", 7, MODEL, is_inline=True)
    calls = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None)
    monkeypatch.setattr("salver.tfs.rest.calls.plain_array", no_memory)
    with pytest.raises(MemoryError):
        calls.predict(b'{"instances": [1.0]}', M)
    assert shelf.in_flight() == 0


async def test_rows_for_a_signature_without_inputs_are_refused_before_its_tensors_are_looked_for(
    shelf: Shelf,
) -> None:
    shelf.put("m", 7, FunctionModel({"serving_default": MODEL.functions["nothing"]}))
    calls = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None)
    message = await message_of(lambda: calls.predict(b'{"instances": [1.0]}', M))
    assert message == "Failed to get input map for signature: DEFAULT"
    assert shelf.in_flight() == 0


@pytest.mark.parametrize("method", ["classify", "regress"])
async def test_a_few_thousand_bytes_of_examples_are_decoded_in_the_pool(
    calls: InferenceCalls, shelf: Shelf, method: str
) -> None:
    body = {"signature_name": method, "examples": [{"x": "y" * 30}] * 100}
    answer = await json_of(getattr(calls, method)(json.dumps(body).encode(), M))
    assert len(answer["results"]) == 100
    assert shelf.in_flight() == 0


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (
            {"a": FLOATS, "b": FLOATS},
            FLOATS,
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map",
        ),
        ({"s": FLOATS}, (DataType.FLOAT32, ()), "Tensor name: t has no shape information "),
    ],
)
async def test_rows_that_do_not_fit_the_model_are_refused_and_hold_nothing(
    shelf: Shelf, inputs: Any, output: Any, message: str
) -> None:
    function = signature(inputs, {"t": output}), lambda *feeds: [feeds[0].sum()]
    shelf.put("m", 7, FunctionModel({"serving_default": function}))
    calls = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None)
    assert await message_of(lambda: calls.predict(b'{"instances": [1.0]}', M)) == message
    assert shelf.in_flight() == 0


async def test_a_large_body_is_decoded_in_the_pool_and_a_large_answer_encoded_there(
    calls: InferenceCalls, shelf: Shelf
) -> None:
    assert await json_of(calls.predict(large_body(), M)) == {"predictions": [2.5] * LARGE}
    assert shelf.pooled == 2


async def test_a_large_answer_to_a_small_request_is_encoded_in_the_pool(
    calls: InferenceCalls, shelf: Shelf
) -> None:
    answer = calls.predict(b'{"signature_name": "inflate", "instances": [1.0]}', M)
    assert await json_of(answer) == {"predictions": [1.0] * LARGE}
    assert shelf.pooled == 1


@pytest.mark.parametrize("method", ["classify", "regress"])
async def test_many_examples_are_decoded_in_the_pool(
    calls: InferenceCalls, shelf: Shelf, method: str
) -> None:
    body = {"signature_name": method, "examples": [{"a": "b"}] * 10_000}
    answer = await json_of(getattr(calls, method)(json.dumps(body).encode(), M))
    assert len(answer["results"]) == 10_000
    assert shelf.pooled >= 1


@pytest.mark.parametrize("method", ["predict", "classify", "regress"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[1]", "JSON Value: [1] Is not object"),
        (
            b'{"signature_name": 1}',
            'JSON Value: {\n    "signature_name": 1\n} not formatted correctly. '
            "'signature_name' key must be a string value.",
        ),
    ],
)
async def test_a_bad_document_beats_an_unknown_model(
    calls: InferenceCalls, method: str, body: bytes, message: str
) -> None:
    answer = getattr(calls, method)
    assert await message_of(lambda: answer(body, ServableRequest("nope"))) == message


async def test_an_unknown_model_beats_bad_inputs_of_predict(calls: InferenceCalls) -> None:
    body = b'{"signature_name": "nope", "instances": 1}'
    assert await message_of(lambda: calls.predict(body, ServableRequest("nope"))) == (
        "Servable not found for request: Latest(nope)"
    )
    assert await message_of(lambda: calls.predict(body, ServableRequest("m", version=3))) == (
        "Servable not found for request: Specific(m, 3)"
    )
    assert await message_of(lambda: calls.predict(body, ServableRequest("m", label="l"))) == (
        "Unrecognized servable version label: l"
    )


@pytest.mark.parametrize("method", ["classify", "regress"])
async def test_bad_examples_beat_an_unknown_model(calls: InferenceCalls, method: str) -> None:
    answer = getattr(calls, method)
    message = await message_of(lambda: answer(b'{"examples": []}', ServableRequest("nope")))
    assert message.endswith("'examples' value is an empty array")


async def test_an_unknown_signature_of_predict_beats_bad_inputs(calls: InferenceCalls) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await response_of(calls.predict(b'{"signature_name": "nope"}', M))
    assert raised.value.message == 'Serving signature name: "nope" not found in signature def'
    assert raised.value.hint == "The model has the signatures: " + ", ".join(MODEL.signatures)


@pytest.mark.parametrize("method", ["classify", "regress"])
async def test_an_unknown_signature_of_examples_is_named(
    calls: InferenceCalls, method: str
) -> None:
    body = b'{"signature_name": "nope", "examples": [{}]}'
    message = await message_of(lambda: getattr(calls, method)(body, M))
    assert message == "No signature was found with the name: nope"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("classify", "No classification inputs found in SignatureDef: "),
        ("regress", "No regression inputs found in SignatureDef: "),
    ],
)
async def test_a_signature_without_a_name_is_the_default_one(
    calls: InferenceCalls, method: str, message: str
) -> None:
    found = await message_of(lambda: getattr(calls, method)(b'{"examples": [{}]}', M))
    assert found.startswith(message + "inputs {")


async def test_a_signature_without_inputs_is_refused_before_its_tensors_are_looked_for(
    calls: InferenceCalls,
) -> None:
    message = await message_of(lambda: calls.predict(b'{"signature_name": "nothing"}', M))
    assert message == "Failed to get input map for signature: nothing"


async def test_a_signature_of_tensors_that_are_not_there_is_refused(calls: InferenceCalls) -> None:
    body = b'{"signature_name": "unresolved", "instances": [1.0]}'
    message = await message_of(lambda: calls.predict(body, M))
    assert message == "Tensor :0 was not found in the Graph"


async def test_the_method_name_is_not_looked_at_unless_a_flag_says_so(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    odd = b'{"signature_name": "odd", "instances": [1.0]}'
    lax = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None)
    assert await json_of(lax.predict(odd, M)) == {"predictions": [2.5]}
    strict = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None, is_method_checked=True)
    assert (await message_of(lambda: strict.predict(odd, M))).endswith("Was: odd")
    assert await json_of(strict.predict(b'{"instances": [1.0]}', M)) == {"predictions": [2.5]}
    examples = b'{"signature_name": "regress", "examples": [{}]}'
    assert await message_of(lambda: strict.classify(examples, M)) == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/regress"
    )
    assert await json_of(strict.regress(examples, M)) == {"results": [0.0]}


async def test_bad_inputs_beat_a_bad_method_name(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    strict = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None, is_method_checked=True)
    message = await message_of(lambda: strict.predict(b'{"signature_name": "odd"}', M))
    assert message == "Missing 'inputs' or 'instances' key"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instances": []}', "No values in 'instances' array"),
        (b'{"signature_name": "failing", "instances": [1.0]}', "the model broke"),
        (
            b'{"signature_name": "complex", "instances": [1.0]}',
            "Failed to write JSON value for tensor type: complex64",
        ),
        (
            b'{"signature_name": "scalar", "instances": [1.0]}',
            "Tensor name: t has no shape information ",
        ),
    ],
)
async def test_whatever_fails_the_version_is_let_go(
    calls: InferenceCalls, shelf: Shelf, body: bytes, message: str
) -> None:
    assert (await message_of(lambda: calls.predict(body, M))).endswith(message)
    assert shelf.in_flight() == 0


async def test_results_that_are_no_classification_are_refused(calls: InferenceCalls) -> None:
    body = b'{"signature_name": "classify", "examples": [{}]}'
    assert await message_of(lambda: calls.regress(body, M)) == "Expected one output Tensor."


async def test_a_version_is_held_while_it_runs_and_let_go_once(shelf: Shelf, gate: Gate) -> None:
    calls = pooled_calls(shelf, gated(gate))
    answer = calls.predict(b'{"instances": [1.0]}', M)
    assert gate.entered.wait(LONG_S)
    assert shelf.in_flight() == 1
    gate.let_go.set()
    assert await json_of(answer) == {"predictions": [2.5]}
    assert shelf.in_flight() == 0


async def test_at_the_deadline_the_caller_is_answered_and_the_version_held_until_the_run_ends(
    shelf: Shelf, gate: Gate
) -> None:
    calls = pooled_calls(shelf, gated(gate), timeout_s=1e-3)
    answer = calls.predict(b'{"instances": [1.0]}', M)
    assert gate.entered.wait(LONG_S)
    with pytest.raises(DeadlineExceeded, match=r"^Timed out waiting for notification$"):
        await response_of(answer)
    assert shelf.in_flight() == 1
    gate.let_go.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


async def test_a_client_that_leaves_a_running_call_holds_nothing_when_it_has_ended(
    shelf: Shelf, gate: Gate
) -> None:
    calls = pooled_calls(shelf, gated(gate))
    task = asyncio.ensure_future(response_of(calls.predict(b'{"instances": [1.0]}', M)))
    assert gate.entered.wait(LONG_S)
    await cancelled(task)
    gate.let_go.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


async def test_a_client_that_leaves_before_its_body_is_decoded_holds_nothing(
    shelf: Shelf, gate: Gate
) -> None:
    calls = pooled_calls(shelf, MODEL)
    occupy(shelf.pool, gate)
    task = asyncio.ensure_future(response_of(calls.predict(large_body(), M)))
    await cancelled(task)
    gate.let_go.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


async def test_a_client_that_leaves_while_its_body_is_decoded_holds_nothing(shelf: Shelf) -> None:
    calls = pooled_calls(shelf, MODEL)
    decoding, left = threading.Event(), threading.Event()
    acquire = shelf.serving.acquire

    def acquire_slowly(name: str, version: int | None = None) -> Any:
        decoding.set()
        assert left.wait(LONG_S)
        return acquire(name, version)

    shelf.serving.acquire = acquire_slowly  # type: ignore[method-assign]
    task = asyncio.ensure_future(response_of(calls.predict(large_body(), M)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert decoding.wait(LONG_S)
    await cancelled(task)
    left.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


async def test_a_client_that_leaves_once_its_body_is_decoded_holds_nothing(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    tasks: list[asyncio.Task[HttpResponse]] = []

    async def decode_and_leave(call: Any, size: int = 0) -> Any:
        # The result is there; the news of it reaches the request together with its end.
        call()
        tasks[0].cancel()
        await asyncio.sleep(0)

    calls = InferenceCalls(shelf, in_pool=decode_and_leave, timeout_s=None)
    tasks.append(asyncio.ensure_future(response_of(calls.predict(large_body(), M))))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert shelf.in_flight() == 0


async def test_a_large_body_that_is_wrong_holds_nothing(calls: InferenceCalls) -> None:
    body = b'{"instances": [' + b"1.0, " * LARGE + b'"x"]}'
    with pytest.raises(InvalidArgument, match="is not of expected type: float"):
        await response_of(calls.predict(body, M))
    with pytest.raises(NotFound):
        await response_of(calls.predict(large_body(), ServableRequest("nope")))


@pytest.mark.parametrize("body", [b'{"instances": [1.0]}', large_body()], ids=["small", "large"])
async def test_a_server_that_stops_is_unavailable_and_holds_nothing(
    shelf: Shelf, body: bytes
) -> None:
    calls = pooled_calls(shelf, MODEL)
    shelf.pool.close()
    with pytest.raises(Unavailable, match=r"^The server is stopping$"):
        await response_of(calls.predict(body, M))
    assert shelf.in_flight() == 0


def logging_calls(shelf: Shelf, logger: KeptLogger) -> InferenceCalls:
    shelf.put("m", 7, MODEL)
    logs = KeptLogs({"m": logger})
    return InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=LONG_S, logs=logs)


async def test_a_prediction_is_logged_with_its_arrays(shelf: Shelf) -> None:
    logger = KeptLogger()
    calls = logging_calls(shelf, logger)
    await json_of(calls.predict(b'{"instances": [2.0]}', ServableRequest("m", 7)))
    await json_of(calls.predict(large_body(), M))  # decoded in the pool
    assert await message_of(lambda: calls.predict(b'{"instances": "x"}', M))  # not logged
    call, large = logger.calls
    assert (call.method, call.servable, call.version) == ("predict", ServableRequest("m", 7), 7)
    assert call.signature_name == ""
    assert isinstance(call.content, Tensors)
    assert [array.tolist() for array in call.content.inputs.values()] == [[2.0]]
    assert [array.tolist() for array in call.content.outputs.values()] == [[3.0]]
    assert isinstance(large.content, Tensors)
    assert large.content.outputs.keys() == call.content.outputs.keys()


@pytest.mark.parametrize("method", ["classify", "regress"])
async def test_examples_are_logged_with_what_the_model_gave(method: str, shelf: Shelf) -> None:
    logger = KeptLogger()
    calls = logging_calls(shelf, logger)
    body = json.dumps({"signature_name": method, "examples": [{"a": 1.0}]}).encode()
    await json_of(getattr(calls, method)(body, M))
    (call,) = logger.calls
    assert (call.method, call.signature_name) == (method, method)
    assert isinstance(call.content, Examples)
    assert len(call.content.examples) == 1
    signature_outputs = MODEL.signatures[method].outputs
    assert call.content.outputs.keys() == signature_outputs.keys()


async def test_bodies_are_logged_where_they_are_wanted(shelf: Shelf) -> None:
    logger = KeptLogger(wants_bodies=True)
    answer = await response_of(logging_calls(shelf, logger).predict(b'{"inputs": [2.0]}', M))
    (call,) = logger.calls
    assert call.content == Bodies(b'{"inputs": [2.0]}', answer.body)


@pytest.mark.parametrize("key", ["instances", "inputs"])
async def test_a_large_answer_is_one_text_whether_it_is_in_parts_or_not(
    key: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("m", 7, MODEL)
    calls = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None)
    body = json.dumps({key: [[number / 8, -number] for number in range(100_000)]}).encode()
    whole = await response_of(calls.predict(body, M))
    monkeypatch.setattr(json_tensors, "_PART_BYTES", LargeResponse.SMALLEST_BYTES)
    in_parts = await response_of(calls.predict(body, M))
    assert not whole.more
    assert isinstance(in_parts, LargeResponse)
    assert in_parts.whole() == whole.body
    assert in_parts.headers == whole.headers
    answered = json.loads(whole.body)["predictions" if key == "instances" else "outputs"]
    assert answered[2] == [2.125, 1.0]


async def test_a_large_answer_is_logged_whole(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_tensors, "_PART_BYTES", LargeResponse.SMALLEST_BYTES)
    kept = KeptLogger(wants_bodies=True)
    shelf.put("m", 7, MODEL)
    logs = KeptLogs({"m": kept})
    calls = InferenceCalls(shelf, in_pool=shelf.in_pool, timeout_s=None, logs=logs)
    body = json.dumps({"instances": list(range(500_000))}).encode()
    answer = await response_of(calls.predict(body, M))
    assert answer.more
    (call,) = kept.calls
    assert call.content == Bodies(body, answer.whole())
