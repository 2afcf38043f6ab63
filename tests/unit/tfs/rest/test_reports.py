import json
from typing import Any

import pytest
from tests.shelf import FLOATS, HALF_PLUS_TWO, FunctionModel, Shelf, half_plus_two, signature

from salver.errors import InvalidArgument, NotFound, ResourceExhausted
from salver.lifecycle.monitor import VersionState, VersionStatus
from salver.operations.health_pages import health_response
from salver.scheduling.run_pool import RunPool
from salver.tfs.rest.reports import (
    list_response,
    metadata_response,
    status_response,
)
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId

M = ServableRequest("m")


@pytest.fixture
def versions(shelf: Shelf) -> Shelf:
    """A model of three versions: one failed, one available, one unloaded."""
    shelf.put("m", 123, HALF_PLUS_TWO)
    shelf.publish("m", 124, VersionState.END, ResourceExhausted('too "large"'))
    shelf.publish("m", 9, VersionState.END)
    return shelf


def test_status_is_laid_out_as_protobuf_does(shelf: Shelf) -> None:
    shelf.put("m", 123, HALF_PLUS_TWO)
    response = status_response(shelf, M)
    assert (response.status, response.content_type) == (200, "application/json")
    assert response.body.decode() == (
        "{\n"
        ' "model_version_status": [\n'
        "  {\n"
        '   "version": "123",\n'
        '   "state": "AVAILABLE",\n'
        '   "status": {\n'
        '    "error_code": "OK",\n'
        '    "error_message": ""\n'
        "   }\n"
        "  }\n"
        " ]\n"
        "}\n"
    )


def test_versions_are_listed_highest_first_with_what_became_of_them(versions: Shelf) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    failed = {"error_code": "RESOURCE_EXHAUSTED", "error_message": 'too "large"'}
    assert json.loads(status_response(versions, M).body) == {
        "model_version_status": [
            {"version": "124", "state": "END", "status": failed},
            {"version": "123", "state": "AVAILABLE", "status": ok},
            {"version": "9", "state": "END", "status": ok},
        ]
    }


@pytest.mark.parametrize("state", list(VersionState))
def test_a_state_goes_by_its_name(shelf: Shelf, state: VersionState) -> None:
    shelf.publish("m", 1, state)
    [status] = json.loads(status_response(shelf, M).body)["model_version_status"]
    assert status["state"] == state.name


def test_one_version_is_told_of_alone(versions: Shelf) -> None:
    body = json.loads(status_response(versions, ServableRequest("m", version=9)).body)
    assert [status["version"] for status in body["model_version_status"]] == ["9"]


def test_a_label_is_ignored_even_an_unknown_one(versions: Shelf) -> None:
    labelled = status_response(versions, ServableRequest("m", label="nope"))
    assert labelled.body == status_response(versions, M).body


def test_a_model_never_seen_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match=r"^Could not find any versions of model m$"):
        status_response(shelf, M)


def test_an_error_whose_words_are_no_text_is_told_all_the_same(shelf: Shelf) -> None:
    shelf.publish("m", 1, VersionState.END, NotFound("no \udcff grün"))
    assert "no \udcff grün" in status_response(shelf, M).body.decode(errors="surrogateescape")


def test_the_list_has_every_configured_model_in_order(versions: Shelf) -> None:
    versions.put("b", 1, HALF_PLUS_TWO)
    versions.put("a", 1, HALF_PLUS_TWO)
    versions.names.append("on its way")
    versions.serving.assign_labels({"m": {"stable": 123}}, {})
    models = json.loads(list_response(versions).body)["models"]
    assert [model["name"] for model in models] == ["m", "b", "a", "on its way"]
    assert [model["version_labels"] for model in models] == [{"stable": 123}, {}, {}, {}]
    status = json.loads(status_response(versions, M).body)
    assert models[0]["model_version_status"] == status["model_version_status"]
    assert models[3]["model_version_status"] == []


def test_a_server_without_models_lists_none(shelf: Shelf) -> None:
    assert json.loads(list_response(shelf).body) == {"models": []}


def metadata(shelf: Shelf, request: ServableRequest = M) -> Any:
    response = metadata_response(shelf, request)
    assert (response.status, response.content_type) == (200, "application/json")
    return json.loads(response.body)


def test_metadata_has_the_shape_of_the_reference(shelf: Shelf) -> None:
    two_axes = (DataType.FLOAT32, (-1, 1))
    model = FunctionModel(
        {
            "serving_default": (
                signature({"x": two_axes}, {"y": (DataType.INT64, None)}),
                half_plus_two,
            )
        }
    )
    shelf.put("m", 123, model)
    axes = [{"size": "-1", "name": ""}, {"size": "1", "name": ""}]
    assert metadata(shelf) == {
        "model_spec": {"name": "m", "signature_name": "", "version": "123"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {
                            "x": {
                                "dtype": "DT_FLOAT",
                                "tensor_shape": {"dim": axes, "unknown_rank": False},
                                "name": "x:0",
                            }
                        },
                        "outputs": {
                            "y": {
                                "dtype": "DT_INT64",
                                "tensor_shape": {"dim": [], "unknown_rank": True},
                                "name": "y:0",
                            }
                        },
                        "method_name": "tensorflow/serving/predict",
                        "defaults": {},
                    }
                }
            }
        },
    }


def test_metadata_is_put_together_as_text(shelf: Shelf) -> None:
    shelf.put("m", 123, HALF_PLUS_TWO)
    body = metadata_response(shelf, M).body.decode()
    assert body.startswith(
        '{\n"model_spec":{\n "name": "m",\n "signature_name": "",\n "version": "123"\n}\n,\n'
        '"metadata": {"signature_def": {\n "signature_def": {\n  "serving_default": {\n'
    )
    assert body.endswith("}\n}\n}\n")


def test_metadata_is_that_of_the_version_or_label_asked_for(shelf: Shelf) -> None:
    of = (signature({"x": FLOATS}, {"y": FLOATS}), half_plus_two)
    shelf.put("m", 1, FunctionModel({"one": of}))
    shelf.put("m", 2, FunctionModel({"two": of}))
    shelf.serving.assign_labels({"m": {"stable": 1}}, {})
    for request, version, name in (
        (M, "2", "two"),
        (ServableRequest("m", version=1), "1", "one"),
        (ServableRequest("m", label="stable"), "1", "one"),
    ):
        found = metadata(shelf, request)
        assert found["model_spec"]["version"] == version
        assert list(found["metadata"]["signature_def"]["signature_def"]) == [name]
        assert metadata_response(shelf, request).headers == (("salver-model-version", version),)


def test_metadata_of_a_version_that_is_not_available_is_not_found(versions: Shelf) -> None:
    with pytest.raises(NotFound, match=r"^Servable not found for request: Specific\(m, 124\)$"):
        metadata_response(versions, ServableRequest("m", version=124))
    with pytest.raises(NotFound, match=r"^Servable not found for request: Latest\(nope\)$"):
        metadata_response(versions, ServableRequest("nope"))
    with pytest.raises(InvalidArgument, match=r"^Unrecognized servable version label: l$"):
        metadata_response(versions, ServableRequest("m", label="l"))


def test_metadata_holds_no_version(shelf: Shelf) -> None:
    shelf.put("m", 1, HALF_PLUS_TWO)
    metadata_response(shelf, M)
    assert shelf.in_flight() == 0


def test_a_name_that_is_no_text_is_written_as_it_came(shelf: Shelf) -> None:
    shelf.put("gr\udcfcn", 1, HALF_PLUS_TWO)
    assert b'"name": "gr\xfcn"' in metadata_response(shelf, ServableRequest("gr\udcfcn")).body


def test_health_is_ok_or_says_what_is_amiss() -> None:
    well, unwell = health_response(None), health_response("draining")
    assert (well.status, json.loads(well.body)) == (200, {"status": "ok"})
    assert (unwell.status, json.loads(unwell.body)) == (
        503,
        {"status": "unavailable", "reason": "draining"},
    )
    assert well.headers == unwell.headers == (("Cache-Control", "no-store"),)


def test_a_status_says_whether_a_version_is_in_memory_where_that_is_known() -> None:
    id = ServableId("m", 1)
    statuses = [
        VersionStatus(id, VersionState.AVAILABLE, error, is_in_memory=False)
        for error in (None, NotFound("gone"))
    ]

    class Told(Shelf):
        def statuses(self, name: str, version: int | None = None) -> tuple[VersionStatus, ...]:
            return tuple(statuses)

    pool = RunPool(1)
    shown = json.loads(list_response(Told(pool, names=["m"])).body)["models"][0]
    pool.close()
    assert [each["in_memory"] for each in shown["model_version_status"]] == [False, False]
    assert [each["status"]["error_code"] for each in shown["model_version_status"]] == [
        "OK",
        "NOT_FOUND",
    ]
