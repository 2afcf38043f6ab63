import asyncio
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kept_logs import KeptLogger, KeptLogs
from tests.messages import array_of, example, method_types, spec, tensor
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

from salver._pb import message_class
from salver.errors import (
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ServingError,
    Unavailable,
    error_of,
)
from salver.inference.call import LARGE_BYTES
from salver.inference.logged import Messages
from salver.protocols.methods import Call
from salver.tfs.rpc.prediction import PredictionService
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, ServableRequest
from salver.vocabulary.signature import Signature
from salver.vocabulary.tensorflow_types import number_of

SERVICE = "/tensorflow.serving.PredictionService/"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
LONG_S = 10.0
LARGE = LARGE_BYTES // 4 + 1  # elements of a float tensor that is large


def classes(examples: Array) -> list[Array]:
    names = np.array([[b"car", b"bike"]] * len(examples), dtype=object)
    return [names, np.array([[0.25, 0.75]] * len(examples), np.float32)]


def lengths(examples: Array) -> list[Array]:
    return [np.array([len(each) for each in examples], np.float32)]


def fail(_: Array) -> list[Array]:
    raise error_of(Code.INTERNAL, "the model broke")


PAIR = (DataType.STRING, (-1, 2))
TWO = signature({"a": FLOATS, "b": FLOATS}, {"less": FLOATS, "more": FLOATS, "sum": FLOATS})
MODEL = FunctionModel(
    {
        "serving_default": HALF_PLUS_TWO.functions["serving_default"],
        "two": (TWO, lambda a, b: [a - b, a * b, a + b]),
        "optional": (
            Signature(
                TWO.inputs,
                signature({}, {"difference": FLOATS}).outputs,
                defaults={"b": np.array([10.0])},
            ),
            lambda a, b: [a - b.astype(np.float32)],
        ),
        "constant": (signature({}, {"c": FLOATS}), lambda: [np.ones(2, np.float32)]),
        "classify": (
            signature({"inputs": STRINGS}, {"classes": PAIR, "scores": FLOATS}, CLASSIFY),
            classes,
        ),
        "regress": (signature({"inputs": STRINGS}, {"outputs": FLOATS}, REGRESS), lengths),
        "odd": (signature({"odd_x": FLOATS}, {"odd_y": FLOATS}, "odd"), half_plus_two),
        "failing": (signature({"f": FLOATS}, {"g": FLOATS}), fail),
        "short": (signature({"s": FLOATS}, {"t": FLOATS, "u": FLOATS}), lambda x: [x]),
        "inflate": (
            signature({"small": FLOATS}, {"large": FLOATS}),
            lambda x: [np.repeat(x, LARGE)],
        ),
    }
)


class Client:
    """Asks a service by messages."""

    def __init__(self, service: PredictionService) -> None:
        self._table = service.methods()

    def begin(self, name: str, timeout_s: float | None = None, **request: Any) -> Any:
        request_type, _ = method_types(SERVICE + name)
        method = self._table[SERVICE + name]
        assert callable(method)
        return method(request_type(**request).SerializeToString(), Call(timeout_s))

    async def __call__(self, name: str, timeout_s: float | None = None, **request: Any) -> Any:
        _, response_type = method_types(SERVICE + name)
        answer = await response_of(self.begin(name, timeout_s, **request))
        return response_type.FromString(answer)

    async def predict(self, name: str = "", **inputs: Any) -> dict[str, list[Any]]:
        response = await self("Predict", model_spec=spec("m", name), inputs=inputs)
        return {alias: array_of(of).tolist() for alias, of in response.outputs.items()}


def client_of(shelf: Shelf, **options: Any) -> Client:
    return Client(PredictionService(shelf, in_pool=shelf.in_pool, **options))


@pytest.fixture(params=[True, False], ids=["inline", "pooled"])
def client(request: pytest.FixtureRequest, shelf: Shelf) -> Client:
    """Of a server whose model runs in the loop, and of one where it does not."""
    shelf.put("m", 7, MODEL, is_inline=request.param)
    return client_of(shelf)


def floats(*values: float) -> Any:
    return tensor(np.array(values, np.float32))


def examples_in(*examples: Any, context: Any = None) -> Any:
    made = message_class("tensorflow.serving.Input")()
    if context is None:
        made.example_list.examples.extend(examples)
    else:
        made.example_list_with_context.examples.extend(examples)
        made.example_list_with_context.context.CopyFrom(context)
    return made


async def refused(answer: Any) -> ServingError:
    with pytest.raises(ServingError) as raised:
        await answer
    return raised.value


async def text_of(answer: Any, code: Code = Code.INVALID_ARGUMENT) -> str:
    error = await refused(answer)
    assert error.code is code
    return error.message


# -- which version, for every method ---------------------------------------------------------------

METHODS: dict[str, dict[str, Any]] = {
    "Predict": {"inputs": {"x": floats(1)}},
    "Classify": {"input": examples_in(example())},
    "Regress": {"input": examples_in(example())},
    "GetModelMetadata": {"metadata_field": ["signature_def"]},
}
EVERY = pytest.mark.parametrize("method", METHODS)


@EVERY
async def test_a_request_without_a_spec_is_refused(client: Client, method: str) -> None:
    assert await text_of(client(method, **METHODS[method])) == "Missing ModelSpec"


@EVERY
async def test_a_spec_without_a_name_is_refused(client: Client, method: str) -> None:
    for nameless in (spec(""), spec("", version=7), spec("", "two", label="l")):
        request = {"model_spec": nameless, **METHODS[method]}
        assert await text_of(client(method, **request)) == "ModelSpec has no name specified."


@EVERY
@pytest.mark.parametrize(
    ("wanted", "code", "message"),
    [
        (spec("n"), Code.NOT_FOUND, "Servable not found for request: Latest(n)"),
        (
            spec("m", version=3),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(m, 3)",
        ),
        (
            spec("m", version=0),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(m, 0)",
        ),
        (
            spec("m", label="l"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: l",
        ),
    ],
)
async def test_a_version_there_is_not_is_refused(
    client: Client, method: str, wanted: Any, code: Code, message: str
) -> None:
    answer = client(method, model_spec=wanted, **METHODS[method])
    assert await text_of(answer, code) == message


@pytest.mark.parametrize(
    ("method", "signature_name"),
    [("Predict", ""), ("Classify", "classify"), ("Regress", "regress"), ("GetModelMetadata", "")],
)
@pytest.mark.parametrize(
    ("wanted", "version"), [({}, 9), ({"version": 8}, 8), ({"label": "stable"}, 7)]
)
async def test_the_version_that_answered_is_told_and_never_a_label(
    shelf: Shelf, client: Client, method: str, signature_name: str, wanted: Any, version: int
) -> None:
    for other in (9, 8):
        shelf.put("m", other, MODEL)
    shelf.serving.assign_labels({"m": {"stable": 7}}, {})
    response = await client(
        method, model_spec=spec("m", signature_name, **wanted), **METHODS[method]
    )
    told = "" if method == "GetModelMetadata" else signature_name or "serving_default"
    assert response.model_spec == spec("m", told, version=version)


# -- Predict ---------------------------------------------------------------------------------------


async def test_tensors_in_and_tensors_out(client: Client) -> None:
    assert await client.predict(x=floats(1, 2, 5)) == {"y": [2.5, 3.0, 4.5]}
    assert await client.predict("two", b=floats(2), a=floats(5)) == {
        "less": [3.0],
        "more": [10.0],
        "sum": [7.0],
    }
    assert await client.predict("constant") == {"c": [1.0, 1.0]}


async def test_an_input_that_is_left_out_takes_the_default(client: Client) -> None:
    assert await client.predict("optional", a=floats(1)) == {"difference": [-9.0]}
    assert await client.predict("optional", a=floats(1), b=floats(2)) == {"difference": [-1.0]}


@pytest.mark.parametrize(
    ("output_filter", "expected"),
    [
        ([], {"less": [3.0], "more": [10.0], "sum": [7.0]}),
        (["sum"], {"sum": [7.0]}),
        (["sum", "less"], {"less": [3.0], "sum": [7.0]}),
        (["sum", "more", "less"], {"less": [3.0], "more": [10.0], "sum": [7.0]}),
    ],
)
async def test_only_what_the_filter_names_is_answered(
    client: Client, output_filter: list[str], expected: Any
) -> None:
    response = await client(
        "Predict",
        model_spec=spec("m", "two"),
        inputs={"a": floats(5), "b": floats(2)},
        output_filter=output_filter,
    )
    assert {name: array_of(of).tolist() for name, of in response.outputs.items()} == expected


async def test_values_are_written_as_values_or_as_content(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    request = {"model_spec": spec("m"), "inputs": {"x": floats(2)}}
    response = await client_of(shelf)("Predict", **request)
    assert response.outputs["y"].float_val == [3.0]
    assert not response.outputs["y"].tensor_content
    response = await client_of(shelf, as_content=True)("Predict", **request)
    assert response.outputs["y"].tensor_content == np.float32(3).tobytes()
    assert not response.outputs["y"].float_val


@pytest.mark.parametrize(
    ("name", "inputs", "output_filter", "code", "message"),
    [
        ("nope", "x", [], Code.FAILED_PRECONDITION, 'Serving signature key "nope" not found.'),
        (
            "",
            "",
            [],
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
            "Missing but required: {x}.",
        ),
        (
            "",
            "y",
            [],
            Code.INVALID_ARGUMENT,
            "Signature input alias: x(feed name: x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {y}, or default input alias set: ",
        ),
        (
            "optional",
            "b",
            [],
            Code.INVALID_ARGUMENT,
            "Signature input alias: a(feed name: a:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {b}, or default input alias set: b",
        ),
        (
            "optional",
            "a c",
            [],
            Code.INVALID_ARGUMENT,
            "Inputs contains invalid name. Used request inputs: a, request input: a,c",
        ),
        ("two", "a bad", ["?"], Code.INVALID_ARGUMENT, "tensor parsing error: b"),
        (
            "two",
            "a b",
            ["sum", "?"],
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: ? Outputs expected to be in the set "
            "{less,more,sum}.",
        ),
        (
            "two",
            "a b",
            ["sum", "sum"],
            Code.INVALID_ARGUMENT,
            "duplicate output tensor alias: sum",
        ),
        ("failing", "f", [], Code.INTERNAL, "the model broke"),
        ("short", "s", [], Code.UNKNOWN, "Predict internal error"),
    ],
)
async def test_what_is_wrong_with_a_prediction_is_told(
    client: Client, name: str, inputs: str, output_filter: list[str], code: Code, message: str
) -> None:
    tensors = {alias: floats(1) for alias in inputs.split()}
    if tensors.pop("bad", None) is not None:
        tensors["b"] = message_class("tensorflow.TensorProto")()
    answer = client(
        "Predict", model_spec=spec("m", name), inputs=tensors, output_filter=output_filter
    )
    assert await text_of(answer, code) == message


async def test_the_method_name_is_looked_at_where_a_flag_says_so(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    assert await client_of(shelf).predict("odd", odd_x=floats(2)) == {"odd_y": [3.0]}
    strict = client_of(shelf, is_method_checked=True)
    for inputs in ({"odd_x": floats(2)}, {}):  # before the inputs
        assert await text_of(strict.predict("odd", **inputs), Code.INTERNAL) == (
            "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
            "tensorflow/serving/classify, tensorflow/serving/regress}. Was: odd"
        )
    assert await strict.predict(x=floats(2)) == {"y": [3.0]}


@pytest.mark.parametrize("name", ["Predict", "Classify", "Regress", "MultiInference"])
async def test_bytes_that_are_no_message_are_refused(client: Client, name: str) -> None:
    with pytest.raises(Internal):
        await response_of(client._table[SERVICE + name](b"\xff", Call()))  # type: ignore[operator]
    with pytest.raises(Internal):
        await response_of(
            client._table[SERVICE + name](b"\xff" * LARGE_BYTES * 2, Call())  # type: ignore[operator]
        )


def whole_requests() -> dict[str, bytes]:
    """One request of each method that is answered."""
    two = {"a": floats(5), "b": tensor([2.0], DataType.FLOAT64)}
    requests: dict[str, dict[str, Any]] = {
        "Predict": {
            "model_spec": spec("m", "optional", version=7),
            "inputs": two,
            "output_filter": ["difference"],
        },
        "Classify": {"model_spec": spec("m", "classify"), "input": examples_in(example(a=[1]))},
        "Regress": {
            "model_spec": spec("m", "regress"),
            "input": examples_in(example(a=[b"x"]), context=example(b=[1.0])),
        },
        "MultiInference": {
            "tasks": [task("regress", spec("m", "regress"))],
            "input": examples_in(example()),
        },
        "GetModelMetadata": {"model_spec": spec("m"), "metadata_field": ["signature_def"]},
    }
    return {
        name: method_types(SERVICE + name)[0](**of).SerializeToString()
        for name, of in requests.items()
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", [*METHODS, "MultiInference"])
def test_whatever_the_bytes_a_call_is_answered_or_refused_and_holds_nothing(
    shelf: Shelf, name: str, data: st.DataObject
) -> None:
    if not shelf.names:
        shelf.put("m", 7, MODEL)
    request = bytearray(whole_requests()[name])
    for _ in range(data.draw(st.integers(0, 3))):
        request[data.draw(st.integers(0, len(request) - 1))] = data.draw(st.integers(0, 255))
    del request[data.draw(st.integers(0, len(request))) :]
    method: Any = PredictionService(shelf, in_pool=shelf.in_pool).methods()[SERVICE + name]
    with suppress(ServingError):
        assert isinstance(method(bytes(request), Call()), bytes)
    assert shelf.in_flight() == 0


# -- Classify and Regress --------------------------------------------------------------------------


async def test_examples_are_classified(client: Client) -> None:
    response = await client(
        "Classify", model_spec=spec("m", "classify"), input=examples_in(example(), example())
    )
    car, bike = response.result.classifications[1].classes
    assert (car.label, car.score, bike.label, bike.score) == ("car", 0.25, "bike", 0.75)
    assert len(response.result.classifications) == 2


async def test_examples_are_regressed(client: Client) -> None:
    one = example(a=[b"x"])
    response = await client(
        "Regress", model_spec=spec("m", "regress"), input=examples_in(one, example())
    )
    assert [of.value for of in response.result.regressions] == [one.ByteSize(), 0.0]


async def test_the_context_goes_before_each_example(client: Client) -> None:
    one, context = example(a=[b"x"]), example(b=[1, 2])
    response = await client(
        "Regress",
        model_spec=spec("m", "regress"),
        input=examples_in(one, example(), context=context),
    )
    assert [of.value for of in response.result.regressions] == [
        one.ByteSize() + context.ByteSize(),
        context.ByteSize(),
    ]


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        ("Classify", "nope", "No signature was found with the name: nope"),
        ("Regress", "nope", "No signature was found with the name: nope"),
        ("Classify", "two", "Expected one input Tensor."),
        ("Regress", "classify", "Expected one output Tensor."),
        ("Classify", "", "No classification inputs found in SignatureDef: inputs {"),
        ("Regress", "", "No regression inputs found in SignatureDef: inputs {"),
        ("Classify", "classify", "Input is empty."),
        ("Regress", "regress", "Input is empty."),
    ],
)
async def test_what_is_wrong_with_examples_or_their_signature_is_told(
    client: Client, method: str, name: str, message: str
) -> None:
    for nothing in (examples_in(), examples_in(context=example()), None):
        answer = client(method, model_spec=spec("m", name), input=nothing)
        assert (await text_of(answer)).startswith(message)


async def test_the_method_name_of_examples_is_looked_at_where_a_flag_says_so(
    shelf: Shelf,
) -> None:
    shelf.put("m", 7, MODEL)
    strict = client_of(shelf, is_method_checked=True)
    request = {"input": examples_in(example())}
    assert await text_of(strict("Classify", model_spec=spec("m", "regress"), **request)) == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/regress"
    )
    assert await text_of(strict("Regress", model_spec=spec("m", "odd"), **request)) == (
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: odd"
    )


async def test_results_of_another_shape_are_refused(shelf: Shelf) -> None:
    def flat(examples: Array) -> list[Array]:
        return [np.zeros(len(examples), np.float32)]

    shelf.put(
        "m",
        7,
        FunctionModel({"c": (signature({"inputs": STRINGS}, {"scores": FLOATS}), flat)}),
    )
    answer = client_of(shelf)(
        "Classify", model_spec=spec("m", "c"), input=examples_in(example(), example())
    )
    assert await text_of(answer) == ("Expected Tensor shape: [batch_size num_classes] but got [2]")


# -- MultiInference --------------------------------------------------------------------------------


def multi_model() -> FunctionModel:
    """One graph behind two signatures, as TF1 exports have it."""
    both = signature({"inputs": STRINGS}, {"outputs": FLOATS, "scores": FLOATS})
    outputs, scores = both.outputs["outputs"], both.outputs["scores"]

    def graph(examples: Array) -> list[Array]:
        [values] = lengths(examples)
        return [values, np.stack([values, -values], axis=1)]

    return FunctionModel(
        {
            "regress": (Signature(both.inputs, {"outputs": outputs}, REGRESS), lengths),
            "classify": (
                Signature(both.inputs, {"scores": scores}, CLASSIFY),
                lambda examples: graph(examples)[1:],
            ),
            "all": (both, graph),
            "predict": HALF_PLUS_TWO.functions["serving_default"],
        }
    )


def task(method: str, wanted: Any = None) -> dict[str, Any]:
    more = {} if wanted is None else {"model_spec": wanted}
    return {"method_name": method and f"tensorflow/serving/{method}", **more}


@pytest.fixture(params=[True, False], ids=["inline", "pooled"])
def multi(request: pytest.FixtureRequest, shelf: Shelf) -> Client:
    shelf.put("m", 7, multi_model(), is_inline=request.param)
    return client_of(shelf)


async def test_tasks_share_one_run_and_are_answered_in_order(multi: Client) -> None:
    one = example(a=[b"x"])
    response = await multi(
        "MultiInference",
        tasks=[
            task("classify", spec("m", "classify", version=7)),
            task("regress", spec("m", "regress")),
        ],
        input=examples_in(one),
    )
    classified, regressed = response.results
    assert classified.model_spec == spec("m", "classify", version=7)
    [row] = classified.classification_result.classifications
    assert [of.score for of in row.classes] == [one.ByteSize(), -one.ByteSize()]
    assert regressed.model_spec == spec("m", "regress", version=7)
    assert [of.value for of in regressed.regression_result.regressions] == [one.ByteSize()]


async def test_the_version_of_the_first_task_counts(shelf: Shelf, multi: Client) -> None:
    shelf.put("m", 8, multi_model())
    response = await multi(
        "MultiInference",
        tasks=[
            task("regress", spec("m", "regress", version=7)),
            task("classify", spec("m", "classify", version=99)),
        ],
        input=examples_in(example()),
    )
    assert [of.model_spec.version.value for of in response.results] == [7, 7]


NAMELESS = "ModelSpec has no name specified."


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], Code.INVALID_ARGUMENT, NAMELESS),
        ([task("regress")], Code.INVALID_ARGUMENT, NAMELESS),
        ([task("regress", spec(""))], Code.INVALID_ARGUMENT, NAMELESS),
        (
            [task("regress", spec("n", "regress"))],
            Code.NOT_FOUND,
            "Servable not found for request: Latest(n)",
        ),
        (
            [task("regress", spec("m", "regress")), task("regress")],
            Code.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
        ),
        (
            [task("regress", spec("m", "regress")), task("classify", spec("n", "classify"))],
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [task("regress", spec("m", "regress")), task("classify", spec("m", "regress"))],
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress",
        ),
        (
            [task("regress", spec("m"))],
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: serving_default",
        ),
        (
            [task("", spec("m", "regress"))],
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: ",
        ),
        (
            [task("predict", spec("m", "regress"))],
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        ([task("regress", spec("m", "all"))], Code.INVALID_ARGUMENT, "Expected one output Tensor."),
        ([task("regress", spec("m", "regress"))], Code.INVALID_ARGUMENT, "Input is empty."),
    ],
)
async def test_what_is_wrong_with_tasks_is_told(
    multi: Client, tasks: list[Any], code: Code, message: str
) -> None:
    answer = multi("MultiInference", tasks=tasks, input=examples_in())
    assert await text_of(answer, code) == message


# -- GetModelMetadata ------------------------------------------------------------------------------


async def test_metadata_is_all_signatures_verbatim(client: Client) -> None:
    response = await client(
        "GetModelMetadata", model_spec=spec("m"), metadata_field=["signature_def", "signature_def"]
    )
    assert list(response.metadata) == ["signature_def"]
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert packed.value == MODEL.definitions


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "other"], "Metadata field other is not supported"),
        ([""], "Metadata field  is not supported"),
    ],
)
@pytest.mark.parametrize("name", ["m", "nope", ""])
async def test_the_fields_are_looked_at_before_the_model(
    client: Client, fields: list[str], message: str, name: str
) -> None:
    answer = client("GetModelMetadata", model_spec=spec(name), metadata_field=fields)
    assert await text_of(answer) == message


async def test_metadata_takes_no_deadline(client: Client, gate: Gate) -> None:
    request = {"model_spec": spec("m"), "metadata_field": ["signature_def"]}
    assert (await client("GetModelMetadata", -1.0, **request)).metadata


# -- time, size and leaving ------------------------------------------------------------------------


def predict_request(size: int = 1) -> dict[str, Any]:
    return {"model_spec": spec("m"), "inputs": {"x": floats(*[1.0] * size)}}


async def test_a_small_request_of_a_short_run_needs_no_task(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    client = client_of(shelf)
    assert isinstance(client.begin("Predict", **predict_request()), bytes)
    request = {"model_spec": spec("m", "regress"), "input": examples_in(example())}
    assert isinstance(client.begin("Regress", **request), bytes)
    assert shelf.pooled == 0


async def test_a_large_request_is_decoded_in_the_pool_and_a_large_answer_encoded_there(
    client: Client, shelf: Shelf
) -> None:
    response = await client("Predict", LONG_S, **predict_request(LARGE))
    assert array_of(response.outputs["y"]).tolist() == [2.5] * LARGE
    assert shelf.pooled == 2
    assert await client.predict("inflate", small=floats(1)) == {"large": [1.0] * LARGE}
    assert shelf.pooled == 3


async def test_a_small_request_of_which_much_is_made_is_decoded_in_the_pool(
    shelf: Shelf,
) -> None:
    shelf.put("m", 7, MODEL)
    client = client_of(shelf)
    padded = message_class("tensorflow.TensorProto")(
        dtype=number_of(DataType.FLOAT32), float_val=[1.0]
    )
    padded.tensor_shape.dim.add(size=2 * LARGE)
    request: dict[str, Any] = {"model_spec": spec("m"), "inputs": {"x": padded}}
    response = await client("Predict", LONG_S, **request)
    assert array_of(response.outputs["y"]).tolist() == [2.5] * LARGE * 2
    assert shelf.pooled == 2
    context = message_class("tensorflow.Example")()
    context.features.feature["z"].bytes_list.value.append(b"z" * 30_000)
    examples = examples_in(*[example()] * 9, context=context)
    regressed = await client("Regress", LONG_S, model_spec=spec("m", "regress"), input=examples)
    assert len(regressed.result.regressions) == 9
    assert shelf.pooled == 3
    assert shelf.in_flight() == 0


async def test_what_would_be_made_of_few_bytes_is_bounded(client: Client, shelf: Shelf) -> None:
    padded = message_class("tensorflow.TensorProto")(dtype=number_of(DataType.INT32), int_val=[1])
    padded.tensor_shape.dim.add(size=1 << 26)
    assert await text_of(client("Predict", model_spec=spec("m"), inputs={"x": padded})) == (
        "tensor parsing error: x"
    )
    assert shelf.pooled == 0
    assert shelf.in_flight() == 0


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
@pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "MultiInference"])
async def test_a_call_that_came_too_late_is_not_looked_at(
    client: Client, method: str, timeout_s: float
) -> None:
    with pytest.raises(DeadlineExceeded, match=r"^Deadline Exceeded$"):
        client.begin(method, timeout_s)


async def test_at_the_deadline_the_client_is_answered_and_the_version_held_until_the_run_ends(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, gated(gate), is_inline=False)
    answer = client_of(shelf).begin("Predict", 1e-3, **predict_request())
    assert gate.entered.wait(LONG_S)
    assert await text_of(answer, Code.DEADLINE_EXCEEDED) == "Timed out waiting for notification"
    assert shelf.in_flight() == 1
    gate.let_go.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


async def test_at_the_deadline_a_large_request_in_the_queue_is_answered_and_dropped(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    answer = client_of(shelf)("Predict", 1e-3, **predict_request(LARGE))
    assert await text_of(answer, Code.DEADLINE_EXCEEDED) == "Deadline Exceeded"
    gate.let_go.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


def gated(gate: Gate) -> FunctionModel:
    return FunctionModel({"serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), gate)})


async def test_a_client_that_leaves_a_running_call_holds_nothing_when_it_has_ended(
    shelf: Shelf, gate: Gate
) -> None:
    shelf.put("m", 7, gated(gate), is_inline=False)
    answer = client_of(shelf).begin("Predict", LONG_S, **predict_request())
    assert gate.entered.wait(LONG_S)
    await cancelled(asyncio.ensure_future(answer))
    gate.let_go.set()
    shelf.pool.close()
    assert shelf.in_flight() == 0


@pytest.mark.parametrize("size", [1, LARGE], ids=["small", "large"])
async def test_a_client_that_leaves_a_queued_call_has_it_dropped(
    shelf: Shelf, gate: Gate, size: int
) -> None:
    ran = []

    def function(x: Array) -> list[Array]:
        ran.append(x)
        return half_plus_two(x)

    shelf.put(
        "m",
        7,
        FunctionModel({"serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), function)}),
        is_inline=False,
    )
    occupy(shelf.pool, gate)
    answer = client_of(shelf).begin("Predict", LONG_S, **predict_request(size))
    await cancelled(asyncio.ensure_future(answer))
    assert shelf.in_flight() == 0
    gate.let_go.set()
    shelf.pool.close()
    assert not ran


@pytest.mark.parametrize("size", [1, LARGE], ids=["small", "large"])
async def test_a_server_that_stops_is_unavailable(shelf: Shelf, size: int) -> None:
    shelf.put("m", 7, MODEL, is_inline=False)
    shelf.pool.close()
    with pytest.raises(Unavailable, match=r"^The server is stopping$"):
        await client_of(shelf)("Predict", **predict_request(size))


async def test_a_large_request_that_is_wrong_holds_nothing(client: Client) -> None:
    request = predict_request(LARGE)
    request["inputs"]["z"] = floats(1)
    with pytest.raises(InvalidArgument, match=r"^input size does not match signature: 2!=1 "):
        await client("Predict", **request)


@pytest.mark.parametrize(
    ("name", "method", "signature_name"),
    [
        ("Predict", "predict", "optional"),
        ("Classify", "classify", "classify"),
        ("Regress", "regress", "regress"),
        ("MultiInference", "multi_inference", "regress"),
    ],
)
async def test_an_answered_call_is_logged_with_its_messages(
    name: str, method: str, signature_name: str, shelf: Shelf
) -> None:
    shelf.put("m", 7, MODEL)
    logger = KeptLogger()
    logs = KeptLogs({"m": logger})
    table = PredictionService(shelf, in_pool=shelf.in_pool, logs=logs).methods()
    ask: Any = table[SERVICE + name]
    request = whole_requests()[name]
    answer = await response_of(ask(request, Call()))
    (call,) = logger.calls
    assert (call.method, call.version, call.signature_name) == (method, 7, signature_name)
    assert call.servable == ServableRequest("m", 7 if name == "Predict" else None)
    assert call.content == Messages(request, answer)


# -- what is counted -------------------------------------------------------------------------------


def metered(shelf: Shelf, metric: str = "salver_request_seconds_count") -> dict[str, int]:
    """Labels → value of one metric, as the page has it."""
    lines = shelf.metrics.draw()().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(f"{metric}{{"))
    return {labels.removeprefix(metric): int(value) for labels, value in pairs}


def call_labels(signature: str, method: str, entrypoint: str = "GRPC") -> str:
    return (
        f'{{model_name="m",version="7",signature="{signature}",method="{method}",'
        f'entrypoint="{entrypoint}",protocol="tfs"}}'
    )


async def test_each_call_has_a_meter_of_its_signature(shelf: Shelf, client: Client) -> None:
    inputs = {"a": floats(1), "b": floats(2)}
    await client.predict("two", **inputs)
    request = {"model_spec": spec("m", "two"), "inputs": inputs, "output_filter": ["sum"]}
    await client("Predict", **request)
    some = examples_in(example(x=[1.0]))
    await client("Classify", model_spec=spec("m", "classify"), input=some)
    await client("Regress", model_spec=spec("m", "regress"), input=some)
    assert metered(shelf) == {
        call_labels("two", "predict"): 2,
        call_labels("classify", "classify"): 1,
        call_labels("regress", "regress"): 1,
    }


async def test_a_large_request_is_timed_from_when_it_came(shelf: Shelf, client: Client) -> None:
    await client.predict("", x=floats(*np.zeros(LARGE)))
    assert metered(shelf) == {call_labels("serving_default", "predict"): 1}
    lines = shelf.metrics.draw()().decode().splitlines()
    (total,) = [line for line in lines if line.startswith("salver_request_seconds_sum")]
    assert 0 < float(total.split()[-1]) < LONG_S


async def test_a_failure_moves_no_meter(shelf: Shelf, client: Client) -> None:
    await refused(client.predict("failing", f=floats(1)))
    assert metered(shelf) == {}


async def test_multi_inference_is_counted_with_its_examples_but_not_as_the_others(
    shelf: Shelf, multi: Client
) -> None:
    seen: list[tuple[str, int]] = []
    client = client_of(shelf, count_examples=lambda model, n: seen.append((model, n)))
    tasks = [{"model_spec": spec("m", "regress"), "method_name": REGRESS}]
    some = examples_in(example(x=[1.0]), example(x=[2.0]))
    await client("MultiInference", tasks=tasks, input=some)
    assert seen == [("m", 2)]
    assert metered(shelf, ":tensorflow:serving:request_count") == {}
    (labels,) = metered(shelf)
    assert 'signature="",method="multi_inference",entrypoint="GRPC"' in labels


async def test_what_comes_in_by_another_entrypoint_is_counted_apart(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    await client_of(shelf, entrypoint="WARMUP").predict("", x=floats(1))
    assert metered(shelf) == {}
    runs = metered(shelf, ":tensorflow:serving:runtime_latency_count")
    assert runs == {'{model_name="m",API="Predict",runtime="TF1"}': 1}
