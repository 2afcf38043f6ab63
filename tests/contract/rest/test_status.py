"""GET: status, metadata, the list of models."""

from typing import Any

import pytest

from tests.contract.rest.server import Rest

OK = {"error_code": "OK", "error_message": ""}


def tensor(dtype: str, name: str, *sizes: str) -> Any:
    return {
        "dtype": dtype,
        "tensor_shape": {
            "dim": [{"size": size, "name": ""} for size in sizes],
            "unknown_rank": False,
        },
        "name": name,
    }


def unknown_rank(dtype: str, name: str) -> Any:
    shape = {"dim": [], "unknown_rank": True}
    return {"dtype": dtype, "tensor_shape": shape, "name": name}


async def signatures(rest: Rest, model: str) -> Any:
    body = (await rest.get(f"/{model}/metadata")).json
    assert list(body) == ["model_spec", "metadata"]
    assert list(body["metadata"]) == ["signature_def"]
    return body["metadata"]["signature_def"]["signature_def"]


async def test_status_lists_the_versions_highest_first(rest: Rest) -> None:
    answer = await rest.get("/versions")
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert answer.json == {
        "model_version_status": [
            {"version": "124", "state": "AVAILABLE", "status": OK},
            {"version": "123", "state": "AVAILABLE", "status": OK},
        ]
    }


async def test_status_of_one_version_is_of_that_alone(rest: Rest) -> None:
    answer = await rest.get("/versions/versions/123")
    assert answer.body == (
        b'{\n "model_version_status": [\n  {\n   "version": "123",\n   "state": "AVAILABLE",\n'
        b'   "status": {\n    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )


@pytest.mark.parametrize("label", ["stable", "canary", "never heard of"])
async def test_status_ignores_the_label(rest: Rest, label: str) -> None:
    labelled = await rest.get(f"/versions/labels/{label.replace(' ', '%20')}")
    assert labelled.body == (await rest.get("/versions")).body


async def test_a_version_that_failed_stays_listed_with_its_error(rest: Rest) -> None:
    [status] = (await rest.get("/broken")).json["model_version_status"]
    assert (status["version"], status["state"]) == ("1", "END")
    assert status["status"]["error_code"] == "DATA_LOSS"
    assert status["status"]["error_message"].endswith("saved_model.pb as binary proto")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/nope", "Could not find any versions of model nope"),
        ("/half_plus_two?x=1", "Could not find any versions of model half_plus_two?x=1"),
        ("/half_plus_two/versions/5", "Could not find version 5 of model half_plus_two"),
        ("/nope/versions/5", "Could not find version 5 of model nope"),
        ("/nope/metadata", "Servable not found for request: Latest(nope)"),
        ("/broken/metadata", "Servable not found for request: Latest(broken)"),
        (
            "/half_plus_two/versions/5/metadata",
            "Servable not found for request: Specific(half_plus_two, 5)",
        ),
        (
            "/versions/labels/gone/metadata",
            "Servable not found for request: Specific(versions, 99)",
        ),
    ],
)
async def test_what_is_not_there_is_not_found(rest: Rest, target: str, message: str) -> None:
    answer = await rest.get(target)
    assert (answer.status, answer.error) == (404, message)


async def test_metadata_of_an_unknown_label_is_a_bad_request(rest: Rest) -> None:
    answer = await rest.get("/versions/labels/nope/metadata")
    assert (answer.status, answer.error) == (400, "Unrecognized servable version label: nope")


@pytest.mark.parametrize(
    ("target", "version"),
    [
        ("/versions/metadata", "124"),
        ("/versions/versions/123/metadata", "123"),
        ("/versions/labels/stable/metadata", "123"),
    ],
)
async def test_metadata_names_the_version_it_is_of(rest: Rest, target: str, version: str) -> None:
    answer = await rest.get(target)
    assert (answer.status, answer.version) == (200, version)
    assert answer.json["model_spec"] == {
        "name": "versions",
        "signature_name": "",
        "version": version,
    }


async def test_metadata_has_the_shape_of_the_reference(rest: Rest) -> None:
    assert await signatures(rest, "matrix_half_plus_two") == {
        "serving_default": {
            "inputs": {"x": tensor("DT_FLOAT", "x:0", "-1", "3", "3")},
            "outputs": {"y": tensor("DT_FLOAT", "y:0", "-1", "3", "3")},
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
    }


async def test_metadata_has_all_signatures_of_half_plus_two(twin: Rest) -> None:
    found = await signatures(twin, "half_plus_two")
    assert found.keys() >= {
        "serving_default",
        "regress_x_to_y",
        "regress_x_to_y2",
        "regress_x2_to_y3",
        "classify_x_to_y",
    }
    regress = found["regress_x_to_y"]
    assert regress["method_name"] == "tensorflow/serving/regress"
    assert regress["inputs"]["inputs"]["dtype"] == "DT_STRING"
    assert regress["outputs"] == {"outputs": tensor("DT_FLOAT", "y:0", "-1", "1")}


async def test_metadata_tells_an_unknown_rank_and_a_reference_type(twin: Rest) -> None:
    found = await signatures(twin, "counter")
    assert found["incr_counter_by"]["inputs"] == {"delta": unknown_rank("DT_FLOAT", "delta:0")}
    output = found["get_counter"]["outputs"]["output"]
    assert (output["dtype"], output["tensor_shape"]["dim"]) == ("DT_FLOAT_REF", [])
    assert found["get_counter"]["inputs"] == {}


async def test_metadata_of_a_tf2_model_has_its_initialiser_and_defaults(twin: Rest) -> None:
    found = await signatures(twin, "half_plus_two_tf2")
    [initialised] = found["__saved_model_init_op"]["outputs"].values()
    assert (initialised["name"], initialised["dtype"]) == ("NoOp", "DT_INVALID")
    assert found["serving_default"]["defaults"].keys() <= {"x"}


async def test_all_models_are_listed(rest: Rest) -> None:
    # The reference answers 400, "Missing model name in request."
    models = {model["name"]: model for model in (await rest.get("")).json["models"]}
    assert list(models)[-2:] == ["versions", "broken"]
    assert models["versions"]["version_labels"] == {"stable": 123, "canary": 124, "gone": 99}
    assert models["versions"]["model_version_status"][0]["version"] == "124"
    assert models["broken"]["model_version_status"][0]["state"] == "END"


@pytest.mark.parametrize(
    ("which", "version"),
    [("", "124"), ("/versions/123", "123"), ("/labels/stable", "123"), ("/labels/canary", "124")],
)
async def test_a_prediction_is_made_by_the_version_asked_for(
    rest: Rest, which: str, version: str
) -> None:
    answer = await rest.predict(f"versions{which}", {"instances": [2.0]})
    assert (answer.json, answer.version) == ({"predictions": [3.0]}, version)


@pytest.mark.parametrize("call", ["predict", "classify", "regress"])
@pytest.mark.parametrize(
    ("which", "status", "message"),
    [
        ("nope", 404, "Servable not found for request: Latest(nope)"),
        ("broken", 404, "Servable not found for request: Latest(broken)"),
        (
            "half_plus_two/versions/5",
            404,
            "Servable not found for request: Specific(half_plus_two, 5)",
        ),
        ("half_plus_two/labels/l", 400, "Unrecognized servable version label: l"),
        ("versions/labels/nope", 400, "Unrecognized servable version label: nope"),
        ("versions/labels/gone", 404, "Servable not found for request: Specific(versions, 99)"),
    ],
)
async def test_a_version_that_is_not_available_answers_no_call(
    rest: Rest, call: str, which: str, status: int, message: str
) -> None:
    body = {"instances": [1.0], "examples": [{"x": 1.0}]}
    answer = await rest.ask("POST", f"/v1/models/{which}:{call}", body)
    assert (answer.status, answer.error) == (status, message)
