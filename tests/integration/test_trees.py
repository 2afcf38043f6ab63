"""Models of LightGBM and XGBoost behind a real server."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.vocabulary.dtypes import DataType
from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    example,
    message,
    model_spec,
    outcome,
    predict_request,
    tensor,
)
from tests.integration.serving import Server, run_command, running

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

ModelPath = Callable[[str], Path]
ROWS = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
KINDS = ["lightgbm", "xgboost"]
COLUMNS = {
    "title": "Late payers",
    "signatures": {
        "serving_default": {
            "inputs": {"age": {"unit": "years"}, "city": {"choices": ["Bonn", "Lyon", "Oslo"]}},
            "outputs": {"y": {"kind": "classes", "labels": ["pays", "is late"]}},
            "examples": [
                {"title": "one", "inputs": {"age": [30], "city": ["Oslo"], "income": [2]}}
            ],
        }
    },
}


@pytest.fixture(scope="module")
def models(model_path: ModelPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of base paths: of each kind a matrix, a table by columns, and three classes."""
    made = tmp_path_factory.mktemp("trees")
    names = {
        "lightgbm": "lightgbm_binary",
        "lightgbm_table": "lightgbm_table",
        "lightgbm_classes": "lightgbm_multiclass",
        "xgboost": "xgboost_binary_ubj",
        "xgboost_table": "xgboost_table_ubj",
        "xgboost_classes": "xgboost_softprob_json",
    }
    for name, source in names.items():
        shutil.copytree(model_path(source), made / name)
        if name.endswith("table"):
            (made / name / "1" / "assets").mkdir()
            (made / name / "1" / "assets" / "salver.json").write_text(json.dumps(COLUMNS))
    return made


def config_of(models: Path) -> str:
    entries = "".join(
        f'config {{ name: "{base.name}" base_path: "{base}" model_platform: "tensorflow" }}\n'
        for base in sorted(models.iterdir())
    )
    return f"model_config_list {{ {entries} }}"


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(config_of(models))
    with running(f"--model_config_file={config}") as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as connection:
        yield connection


def expected(models: Path, kind: str, rows: Any) -> Any:
    if kind == "lightgbm":
        return lightgbm.Booster(model_file=models / kind / "1" / "model.txt").predict(rows)
    booster = xgboost.Booster(model_file=models / kind / "1" / "model.ubj")
    return booster.predict(xgboost.DMatrix(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_both_apis_answer_what_the_library_says(
    kind: str, server: Server, client: Client, models: Path
) -> None:
    wanted = expected(models, kind, ROWS)
    over_rest = server.predict(kind, ROWS.tolist()).json()["predictions"]
    np.testing.assert_allclose(over_rest, wanted, rtol=1e-6)
    np.testing.assert_allclose(client.predict(kind, {"x": ROWS})["y"], wanted, rtol=1e-6)
    for _ in range(50):  # also where it is run in the event loop
        one = server.predict(kind, ROWS[:1].tolist()).json()["predictions"]
        np.testing.assert_allclose(one, wanted[:1], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_inputs_of_their_own_with_texts_for_categories(
    kind: str, server: Server, client: Client
) -> None:
    rows = [
        {"age": 30.0, "city": "Oslo", "income": 2.0},
        {"age": 60.0, "city": "Bonn", "income": 2.0},
    ]
    over_rest = server.predict(f"{kind}_table", rows)
    assert over_rest.status_code == 200, over_rest.text
    first, second = over_rest.json()["predictions"]
    dtype = DataType.FLOAT64 if kind == "lightgbm" else DataType.FLOAT32
    feeds = {
        "age": tensor([30, 60], dtype),
        "city": ["Oslo", "Bonn"],
        "income": tensor([2, 2], dtype),
    }
    answer = client.predict(f"{kind}_table", feeds)["y"]
    np.testing.assert_allclose(answer, [first, second], rtol=1e-6)
    assert first != second


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_classified_and_regressed_by_the_names_of_features(
    kind: str, server: Server, client: Client
) -> None:
    given = {"age": 30.0, "city": "Oslo", "income": 2.0}
    (y,) = server.predict(f"{kind}_table", [given]).json()["predictions"]
    path = f"/v1/models/{kind}_table"
    classified = server.post(f"{path}:classify", {"examples": [given]}).json()["results"]
    assert [label for label, _ in classified[0]] == ["pays", "is late"]
    np.testing.assert_allclose([score for _, score in classified[0]], [1 - y, y], rtol=1e-5)
    (regressed,) = server.post(f"{path}:regress", {"examples": [given]}).json()["results"]
    np.testing.assert_allclose(regressed, y, rtol=1e-6)
    request = message("ClassificationRequest", model_spec=model_spec(f"{kind}_table"))
    request.input.example_list.examples.append(example(**given))
    answer = client.call("Classify", request)
    (classes,) = answer.result.classifications
    assert [each.label for each in classes.classes] == ["pays", "is late"]
    assert answer.model_spec.signature_name == "classify"
    request = message("RegressionRequest", model_spec=model_spec(f"{kind}_table"))
    request.input.example_list.examples.append(example(**given))
    (value,) = client.call("Regress", request).result.regressions
    np.testing.assert_allclose(value.value, y, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_several_classes_are_told_apart(kind: str, server: Server) -> None:
    rows = server.predict(f"{kind}_classes", ROWS.tolist()).json()["predictions"]
    assert np.shape(rows) == (4, 3)
    body = {"examples": [{"x": row} for row in ROWS.tolist()]}
    answer = server.post(f"/v1/models/{kind}_classes:classify", body).json()["results"]
    scores = [[score for _, score in classes] for classes in answer]
    np.testing.assert_allclose(scores, rows, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused_by_both_apis_in_the_same_words(
    kind: str, server: Server, client: Client
) -> None:
    text = "Input x must have shape [-1, 4], not [1, 3]"
    answer = server.predict(kind, [[1.0, 2.0, 3.0]])
    assert (answer.status_code, answer.json()["error"]) == (400, text)
    request = predict_request(model_spec(kind), {"x": np.ones((1, 3), np.float32)})
    assert outcome(lambda: client.call("Predict", request)) == ("INVALID_ARGUMENT", text)
    wrong = server.post(f"/v1/models/{kind}:classify", {"examples": [{"height": 1.0}]})
    assert wrong.status_code == 400
    assert "none of the features" in wrong.json()["error"]


def test_failing_requests_keep_nothing(server: Server) -> None:
    def fail(_: int) -> int:
        return server.predict("lightgbm", [[1.0] * 20_000]).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(fail, range(100))) == {400}
        before = server.resident_bytes()
        assert set(pool.map(fail, range(300))) == {400}
    assert server.resident_bytes() - before < 8 << 20


@pytest.mark.parametrize("kind", KINDS)
def test_requests_are_merged_and_each_gets_its_own_rows(
    kind: str, models: Path, tmp_path: Path
) -> None:
    batching = tmp_path / "batching.txt"
    batching.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 20000 }"
        " num_batch_threads { value: 2 }"
    )
    flags = (f"--model_base_path={models / kind}", f"--model_name={kind}", "--enable_batching")
    wanted = expected(models, kind, ROWS)
    with running(*flags, f"--batching_parameters_file={batching}") as server:

        def ask(at: int) -> float:
            row = ROWS[at % 4 : at % 4 + 1].tolist()
            (found,) = server.predict(kind, row).json()["predictions"]
            return float(found)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(32)))
        np.testing.assert_allclose(answers, np.tile(wanted, 8), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name"), [("lightgbm", "model.txt"), ("xgboost", "model.ubj")], ids=KINDS
)
def test_broken_files_keep_the_old_version_serving(
    kind: str, name: str, models: Path, tmp_path: Path
) -> None:
    base = tmp_path / kind
    shutil.copytree(models / kind, base)
    whole = (base / "1" / name).read_bytes()
    rng = np.random.default_rng(5)
    with running(
        f"--model_base_path={base}",
        f"--model_name={kind}",
        "--file_system_poll_wait_seconds=1",
        "--max_num_load_retries=0",
    ) as server:
        for version in range(2, 10):
            broken = bytearray(whole[: rng.integers(20, len(whole) - 20)])
            if version % 2:
                broken = bytearray(whole)
                for at in rng.integers(30, len(whole) * 2 // 3, 40):
                    broken[at] = rng.integers(0, 256)
            partial = tmp_path / "partial"
            partial.mkdir()
            (partial / name).write_bytes(broken)
            partial.rename(base / str(version))
            server.wait_until(kind, version, "END")
            assert server.predict(kind, ROWS.tolist()).status_code == 200
        assert server.states(kind)[1] == "AVAILABLE"
        status = server.get(f"/v1/models/{kind}/versions/2").json()["model_version_status"][0]
        assert "only a part of one" in status["status"]["error_message"]


@pytest.mark.parametrize("kind", KINDS)
def test_show_tells_of_columns_and_methods(kind: str, models: Path) -> None:
    done = run_command("salver", "show", str(models / f"{kind}_table"))
    assert done.returncode == 0, done.stderr
    for part in ("Late payers", "inputs['city']", "DT_STRING", "tensorflow/serving/classify"):
        assert part in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_alone_is_served(kind: str, models: Path) -> None:
    name = {"lightgbm": "model.txt", "xgboost": "model.ubj"}[kind]
    with running(str(models / kind / "1" / name), command="salver") as server:
        (model,) = server.get("/v1/models").json()["models"]
        answer = server.predict(model["name"], ROWS.tolist())
        np.testing.assert_allclose(
            answer.json()["predictions"], expected(models, kind, ROWS), rtol=1e-6
        )
