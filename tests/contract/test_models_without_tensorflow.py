"""A model that knows nothing of TensorFlow is served, shown and measured as the others are."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from salver.bench.inputs import describe_feeds, random_feeds
from salver.cli.show import describe_model
from salver.codecs.protobuf.prediction_log import decode_prediction_log
from salver.errors import ServingError, Unimplemented
from salver.protocols.methods import Call
from salver.scheduling.run_pool import RunPool
from salver.tfs.rest.calls import InferenceCalls
from salver.tfs.rest.reports import metadata_response
from salver.tfs.rpc.prediction import PredictionService
from salver.tfs.rpc.session import SessionService
from salver.vocabulary.model import ModelInfo
from salver.vocabulary.requests import Array, ServableRequest
from salver.vocabulary.signature import DEFAULT_SIGNATURE
from salver.warmup.making import Target, default_records
from tests.messages import array_of, method_types, spec, tensor
from tests.shelf import FLOATS, STRINGS, FunctionModel, Shelf, response_of, signature

M = ServableRequest("m")
PREDICTION = "/tensorflow.serving.PredictionService"
SESSION = "/tensorflow.serving.SessionService/SessionRun"


def lengths(texts: Array) -> Array:
    return np.array([len(text) for text in texts.tolist()], np.float32)


MODEL = FunctionModel(
    {
        DEFAULT_SIGNATURE: (
            signature({"a": FLOATS, "b": FLOATS}, {"less": FLOATS, "sum": FLOATS}),
            lambda a, b: [a - b, a + b],
        ),
        "classify": (
            signature({"inputs": STRINGS}, {"scores": (FLOATS[0], (-1, 1))}),
            lambda texts: [lengths(texts).reshape(-1, 1)],
        ),
        "regress": (
            signature({"inputs": STRINGS}, {"outputs": FLOATS}),
            lambda texts: [lengths(texts) + 1],
        ),
    },
    has_graph=False,
)
INFO = ModelInfo(MODEL.signatures)


@pytest.fixture(params=[True, False], ids=["inline", "pooled"])
def served(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    assert (MODEL.definitions, MODEL.graph) == (None, None)
    pool = RunPool(1)
    shelf = Shelf(pool)
    shelf.put("m", 7, MODEL, is_inline=request.param)
    yield shelf
    pool.close()


class Grpc:
    """Asks by messages."""

    def __init__(self, shelf: Shelf) -> None:
        self._table: dict[str, Any] = {
            **PredictionService(shelf, in_pool=shelf.in_pool).methods(),
            **SessionService(shelf, in_pool=shelf.in_pool).methods(),
        }

    async def __call__(self, path: str, **fields: Any) -> Any:
        request, response = method_types(path)
        answer = self._table[path](request(**fields).SerializeToString(), Call())
        return response.FromString(await response_of(answer))


@pytest.fixture
def grpc(served: Shelf) -> Grpc:
    return Grpc(served)


@pytest.fixture
def rest(served: Shelf) -> InferenceCalls:
    return InferenceCalls(served, in_pool=served.in_pool, timeout_s=30.0)


def floats(*values: float) -> Any:
    return tensor(np.array(values, np.float32))


BODY = b'{"inputs": {"a": [5, 1], "b": [2, 1]}}'


async def test_it_is_predicted_over_rest(rest: InferenceCalls) -> None:
    response = await response_of(rest.predict(BODY, M))
    assert json.loads(response.body) == {"outputs": {"less": [3.0, 0.0], "sum": [7.0, 2.0]}}


async def test_it_is_predicted_over_grpc(grpc: Grpc) -> None:
    inputs = {"a": floats(5), "b": floats(2)}
    path = f"{PREDICTION}/Predict"
    response = await grpc(path, model_spec=spec("m"), inputs=inputs)
    assert {name: array_of(of).tolist() for name, of in response.outputs.items()} == {
        "less": [3.0],
        "sum": [7.0],
    }
    response = await grpc(path, model_spec=spec("m"), inputs=inputs, output_filter=["sum"])
    assert {name: array_of(of).tolist() for name, of in response.outputs.items()} == {"sum": [7.0]}


async def test_an_input_that_is_missing_is_called_by_its_alias(grpc: Grpc) -> None:
    with pytest.raises(ServingError, match=r"^Signature input alias: b\(feed name: b\) not found"):
        await grpc(
            f"{PREDICTION}/Predict",
            model_spec=spec("m"),
            inputs={"a": floats(1), "c": floats(1)},
        )


async def test_it_classifies_and_regresses_and_does_both_at_once(grpc: Grpc) -> None:
    request, _ = method_types(f"{PREDICTION}/MultiInference")
    multi = request()
    for text in (b"x", b"text"):
        example = multi.input.example_list.examples.add()
        example.features.feature["t"].bytes_list.value.append(text)
    sizes = [len(each.SerializeToString()) for each in multi.input.example_list.examples]
    for name in ("regress", "classify"):
        task = multi.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.CopyFrom(spec("m", name))
    response = await grpc(f"{PREDICTION}/MultiInference", tasks=multi.tasks, input=multi.input)
    regressed, classified = response.results
    assert [of.value for of in regressed.regression_result.regressions] == [s + 1 for s in sizes]
    scores = [of.classes[0].score for of in classified.classification_result.classifications]
    assert scores == sizes
    response = await grpc(
        f"{PREDICTION}/Regress", model_spec=spec("m", "regress"), input=multi.input
    )
    assert [of.value for of in response.result.regressions] == [s + 1 for s in sizes]


async def test_all_that_a_joint_run_holds_is_let_go(grpc: Grpc, served: Shelf) -> None:
    await test_it_classifies_and_regresses_and_does_both_at_once(grpc)
    assert served.in_flight() == 0


async def test_its_tensors_cannot_be_asked_for_by_name(grpc: Grpc, served: Shelf) -> None:
    for is_alias in (True, False):
        with pytest.raises(Unimplemented, match=r"^This model has no graph"):
            await grpc(SESSION, model_spec=spec("m"), tensor_name_is_alias=is_alias)
    assert served.in_flight() == 0


async def test_both_apis_tell_what_it_takes_as_a_signature_def(grpc: Grpc, served: Shelf) -> None:
    response = await grpc(
        f"{PREDICTION}/GetModelMetadata", model_spec=spec("m"), metadata_field=["signature_def"]
    )
    assert response.model_spec == spec("m", version=7)
    definitions = served_definitions(response)
    assert sorted(definitions) == sorted(MODEL.signatures)
    told = json.loads(metadata_response(served, M).body)["metadata"]["signature_def"]
    a = told["signature_def"][DEFAULT_SIGNATURE]["inputs"]["a"]
    assert (a["dtype"], a["name"]) == ("DT_FLOAT", "a")
    assert a["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert definitions[DEFAULT_SIGNATURE].outputs["sum"].dtype == 1


def served_definitions(response: Any) -> Any:
    from salver._pb import message_class

    packed = response.metadata["signature_def"].value
    return message_class("tensorflow.serving.SignatureDefMap").FromString(packed).signature_def


def test_salver_show_tells_the_same_without_names_of_tensors() -> None:
    text = describe_model(INFO)
    assert "signature_def['serving_default']:" in text
    assert (
        "    inputs['a'] tensor_info:\n        dtype: DT_FLOAT\n        shape: (-1)\n    inp"
        in text
    )
    assert "name:" not in text.replace("method name:", "")


def test_requests_are_made_up_for_bench_and_warmup() -> None:
    of = MODEL.signatures[DEFAULT_SIGNATURE]
    feeds = random_feeds(of, 2, np.random.default_rng(1))
    assert describe_feeds(feeds, of) == "a float [2], b float [2]"
    made = dict(default_records(Target("m", INFO)))
    assert all(record.record is not None for record in made.values())
    record = made[DEFAULT_SIGNATURE].record
    assert record is not None
    assert decode_prediction_log(record) is not None
