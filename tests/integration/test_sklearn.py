"""Estimators of scikit-learn behind a real server."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.vocabulary.dtypes import DataType
from tests.integration.grpc_clients.plain import Client, connected, tensor
from tests.integration.serving import Lines, Server, eventually, run_command, running

skops_io = pytest.importorskip("skops.io")
pd = pytest.importorskip("pandas")

ModelPath = Callable[[str], Path]
MODEL = "columns"
TABLE = [
    {"age": 30.0, "city": "Oslo", "income": 2.0},
    {"age": 60.5, "city": "Bonn", "income": 2.0},
    {"age": 60.5, "city": "Nowhere", "income": 8.0},
]


@pytest.fixture(scope="module")
def base(model_path: ModelPath, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("sklearn") / MODEL
    shutil.copytree(model_path("sklearn_columns"), copied)
    return copied


@pytest.fixture(scope="module")
def estimator(base: Path) -> Any:
    return skops_io.load(base / "1" / "model.skops")


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[Server]:
    flags = (f"--model_base_path={base}", f"--model_name={MODEL}")
    with running(
        *flags, "--file_system_poll_wait_seconds=1", "--max_num_load_retries=0"
    ) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as connection:
        yield connection


def test_both_apis_answer_what_the_estimator_says(
    server: Server, client: Client, estimator: Any
) -> None:
    table = pd.DataFrame(TABLE)
    over_rest = server.predict(MODEL, TABLE)
    assert over_rest.json()["predictions"] == estimator.predict(table).tolist(), over_rest.text
    feeds = {
        "age": tensor([row["age"] for row in TABLE], DataType.FLOAT64),
        "city": [row["city"] for row in TABLE],
        "income": tensor([row["income"] for row in TABLE], DataType.FLOAT64),
    }
    answer = client.predict(MODEL, feeds)["y"]
    assert [label.decode() for label in answer] == estimator.predict(table).tolist()
    answer = client.predict(MODEL, feeds, signature="predict_proba")["probabilities"]
    np.testing.assert_array_equal(answer, estimator.predict_proba(table))


def test_each_method_is_a_signature_over_rest(server: Server, estimator: Any) -> None:
    for method in ("predict_proba", "decision_function"):
        body = {"signature_name": method, "instances": TABLE}
        found = server.post(f"/v1/models/{MODEL}:predict", body).json()["predictions"]
        np.testing.assert_allclose(found, getattr(estimator, method)(pd.DataFrame(TABLE)))


def test_what_does_not_fit_is_refused_in_the_estimators_words(server: Server) -> None:
    answer = server.post(
        f"/v1/models/{MODEL}:predict", {"inputs": {"age": [1], "city": ["Oslo"], "income": [1, 2]}}
    )
    assert answer.status_code == 400
    assert "as many rows" in answer.json()["error"]


def test_requests_are_merged_and_each_gets_its_own_rows(
    base: Path, estimator: Any, tmp_path: Path
) -> None:
    batching = tmp_path / "batching.txt"
    batching.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 20000 }")
    wanted = estimator.predict(pd.DataFrame(TABLE)).tolist()
    with running(
        f"--model_base_path={base}",
        f"--model_name={MODEL}",
        "--enable_batching",
        f"--batching_parameters_file={batching}",
    ) as server:

        def ask(at: int) -> Any:
            return server.predict(MODEL, [TABLE[at % 3]]).json()["predictions"][0]

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(24))) == wanted * 8


def test_broken_files_keep_the_old_version_serving(
    server: Server, base: Path, model_path: ModelPath, tmp_path: Path
) -> None:
    whole = (base / "1" / "model.skops").read_bytes()
    untrusted = (model_path("sklearn_forest") / "1" / "model.skops").read_bytes()
    flipped = bytearray(whole)
    for at in np.random.default_rng(2).integers(0, len(whole), 60):
        flipped[at] ^= 0x55
    pickled = (model_path("sklearn_pickle") / "1" / "model.pkl").read_bytes()
    for version, (name, content) in enumerate(
        [
            ("model.skops", whole[: len(whole) // 2]),
            ("model.skops", bytes(flipped)),
            ("model.skops", untrusted),
            ("model.pkl", pickled),
        ],
        start=2,
    ):
        partial = tmp_path / "partial"
        partial.mkdir()
        (partial / name).write_bytes(content)
        partial.rename(base / str(version))
        server.wait_until(MODEL, version, "END")
        assert server.predict(MODEL, TABLE).status_code == 200
    status = server.get(f"/v1/models/{MODEL}/versions/4").json()["model_version_status"][0]
    assert "not trusted: sklearn.tree._tree.Tree" in status["status"]["error_message"]
    status = server.get(f"/v1/models/{MODEL}/versions/5").json()["model_version_status"][0]
    assert "pickle" in status["status"]["error_message"]


def test_types_are_trusted_by_a_flag(model_path: ModelPath) -> None:
    with running(
        f"--model_base_path={model_path('sklearn_forest')}",
        "--model_name=forest",
        "--sklearn_trusted_types=sklearn.tree._tree.Tree",
    ) as server:
        answer = server.predict("forest", [[0.1, 0.2, 0.3]])
        assert answer.status_code == 200, answer.text


def test_show_tells_of_columns(base: Path) -> None:
    done = run_command("salver", "show", str(base / "1"))
    assert done.returncode == 0, done.stderr
    for part in ("predict_proba", "inputs['city']", "DT_STRING", "outputs['probabilities']"):
        assert part in done.stdout


def test_failing_requests_keep_nothing(server: Server) -> None:
    body = {"inputs": {"age": [1.0] * 20_000, "city": ["Oslo"] * 20_000, "income": [1.0]}}

    def fail(_: int) -> int:
        return server.post(f"/v1/models/{MODEL}:predict", body).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(fail, range(40))) == {400}
        before = server.resident_bytes()
        assert set(pool.map(fail, range(120))) == {400}
    assert server.resident_bytes() - before < 16 << 20


def test_a_pickle_is_served_from_a_trusted_path_where_pickles_are_allowed(
    model_path: ModelPath,
    tmp_path: Path,
    start_server: Callable[..., Server],
    launch_server: Callable[..., Server],
) -> None:
    base = tmp_path / "m"
    shutil.copytree(model_path("sklearn_pickle"), base)
    flags = ("--model_name=m", f"--model_base_path={base}")
    allowed = start_server(*flags, "--allow_pickle", f"--trusted_model_paths={tmp_path}")
    assert allowed.states("m") == {1: "AVAILABLE"}
    for missing in (("--allow_pickle",), (f"--trusted_model_paths={tmp_path}",)):
        log = launch_server(*flags, *missing).err
        eventually("it is refused", partial(_says, log, "is a pickle, "))


def _says(log: Lines, text: str) -> bool:
    return text in log.text()
