"""The client against real servers by both APIs, and models served and published from Python."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import trustme

import salver
from salver.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    ServingError,
    Unavailable,
    Unimplemented,
)
from salver.vocabulary.dtypes import DTYPES, QUANTIZED, DataType, numpy_dtype
from salver.vocabulary.tensorflow_types import short_text
from tests.integration.certificates import ssl_config
from tests.integration.serving import PATIENCE_S, SOURCES, Server, eventually

StartServer = Callable[..., Server]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
BLOCKS: list[tuple[str, str]] = [
    (program, printed)
    for marker, program, printed in re.findall(
        r"^(<!-- file: .*?-->\n)?```python\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?",
        PAGE.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    if not marker and "from prices" not in program  # they are one, which test_documents runs
]
needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)


@pytest.fixture(params=["rest", "grpc"])
def url(request: pytest.FixtureRequest, all_models_server: Server) -> str:
    if request.param == "rest":
        return all_models_server.url
    return f"grpc://{all_models_server.grpc_target}"


@pytest.fixture
def client(url: str) -> Iterator[salver.Client]:
    with salver.Client(url) as client:
        yield client


# -- the client ------------------------------------------------------------------------------------


def test_predict_takes_and_gives_numpy(client: salver.Client) -> None:
    answer = client.predict("half_plus_two", np.array([1, 2, 5]))
    assert answer["y"].dtype == np.float32
    assert answer["y"].tolist() == [2.5, 3.0, 4.5]
    assert answer.version == 123


VALUES = {DataType.STRING: [b"a", b"", "é".encode(), b"\xff\x00"], DataType.BOOL: [True, False]}
JSON_TAKES_NONE = {
    DataType.UINT16, DataType.COMPLEX64, DataType.COMPLEX128, DataType.FLOAT8_E5M2,
    DataType.FLOAT8_E4M3FN, DataType.FLOAT8_E4M3FNUZ, DataType.FLOAT8_E4M3B11FNUZ,
    DataType.FLOAT8_E5M2FNUZ, DataType.INT4, DataType.UINT4, DataType.INT2, DataType.UINT2,
    DataType.FLOAT4_E2M1FN,
}  # fmt: skip


@pytest.mark.parametrize(
    "dtype",
    [of for of in DTYPES.values() if of.storage and of not in QUANTIZED],
    ids=lambda of: short_text(of),
)
def test_every_dtype_goes_there_and_back(client: salver.Client, dtype: DataType) -> None:
    name = short_text(dtype)
    if name not in client.metadata("every_dtype").signatures:
        pytest.skip(f"this TensorFlow has no {name}")
    array = np.array(VALUES.get(dtype, [0, 1, 1])).astype(numpy_dtype(dtype))
    if dtype is DataType.STRING:
        array = np.array(VALUES[dtype], object)
    if client.url.startswith("http") and dtype in JSON_TAKES_NONE:
        with pytest.raises(Unimplemented, match="JSON has no form for input 'x' of type"):
            client.predict("every_dtype", array, signature=name)
        return
    back = client.predict("every_dtype", array, signature=name)["y"]
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()


def test_several_inputs_go_by_name_and_outputs_can_be_chosen(client: salver.Client) -> None:
    inputs = {"a": np.ones((2, 2)), "b": [1, 2], "text": ["one", "two"]}
    whole = client.predict("several", inputs)
    names = sorted(whole)
    chosen = client.predict("several", inputs, outputs=names[:1])
    assert list(chosen) == names[:1]
    np.testing.assert_array_equal(chosen[names[0]], whole[names[0]])


def test_classify_and_regress(client: salver.Client) -> None:
    ((best,),) = client.classify("half_plus_two", [{"x": 80.0}], signature="classify_x_to_y")
    assert best.score == 42.0
    values = client.regress(
        "half_plus_two", [{"x": 80.0}, {"x": [1.0]}], signature="regress_x_to_y"
    )
    assert values.tolist() == [42.0, 2.5]


def test_versions_and_labels(client: salver.Client) -> None:
    assert client.predict("versions", [1.0], version=123).version == 123
    assert client.predict("versions", [1.0]).version == 124
    labelled = client.predict("versions", [1.0], label="stable")
    assert labelled.version == 123
    assert client.status("versions").available == (124, 123)
    assert client.status("versions", version=123).available == (123,)
    assert client.metadata("versions", label="canary").version == 124


def test_errors_have_the_server_s_code_and_words(client: salver.Client) -> None:
    with pytest.raises(NotFound, match=re.escape("Servable not found for request: Latest(none)")):
        client.predict("none", [1.0])
    with pytest.raises(NotFound, match=re.escape("Specific(half_plus_two, 9)")):
        client.predict("half_plus_two", [1.0], version=9)
    with pytest.raises(ServingError, match="negative"):
        client.predict("failing", [-1.0])
    with pytest.raises(FailedPrecondition, match='Serving signature key "none" not found'):
        client.predict("half_plus_two", [1.0], signature="none")


def test_rest_errors_bring_hints(all_models_server: Server) -> None:
    with salver.Client(all_models_server.url) as client, pytest.raises(NotFound) as caught:
        client.status("none")
    assert caught.value.hint


def test_models_are_listed(all_models_server: Server) -> None:
    with salver.Client(all_models_server.url) as client:
        labels = {model.name: model.labels for model in client.models()}
    assert labels["versions"]["stable"] == 123


def test_a_slow_model_exceeds_the_time_of_its_call(client: salver.Client) -> None:
    with pytest.raises(DeadlineExceeded):
        client.predict("slow", [500.0], timeout_s=0.1)


async def test_a_loop_asks_many_things_at_once(url: str) -> None:
    async with salver.AsyncClient(url) as client:
        await client.wait_ready()
        answers = await asyncio.gather(
            *[client.predict("half_plus_two", [float(x)]) for x in range(100)]
        )
    assert [answer["y"].tolist() for answer in answers] == [[x / 2 + 2] for x in range(100)]


def test_threads_share_a_client(client: salver.Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda x: client.predict("half_plus_two", [x]), range(50)))
    assert [answer["y"].tolist() for answer in answers] == [[x / 2 + 2] for x in range(50)]


def test_tls(model_path: Callable[[str], Path], tmp_path: Path, start_server: StartServer) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "tls").write_text(ssl_config(authority))
    plain = start_server(
        "--model_name=m", f"--model_base_path={model_path('half_plus_two')}",
        f"--ssl_config_file={tmp_path}/tls",
    )  # fmt: skip
    secure = f"grpcs://127.0.0.1:{plain.grpc_port}"
    with salver.Client(secure, tls=salver.Tls(ca=tmp_path / "ca.pem")) as client:
        assert client.predict("m", [1.0])["y"].tolist() == [2.5]
    with salver.Client(secure, retries=0) as stranger, pytest.raises(Unavailable):
        stranger.status("m")


def test_https(
    model_path: Callable[[str], Path],
    tmp_path: Path,
    launch_server: StartServer,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "tls").write_text(ssl_config(authority))
    server = launch_server(
        "--model_name=m", f"--model_base_path={model_path('half_plus_two')}",
        f"--rest_ssl_config_file={tmp_path}/tls",
    )  # fmt: skip
    url = f"https://127.0.0.1:{server.port}"
    for tls in (salver.Tls(ca=tmp_path / "ca.pem"), salver.Tls(is_verified=False)):
        with salver.Client(url, tls=tls) as client:
            client.wait_ready("m")
            assert client.predict("m", [1.0])["y"].tolist() == [2.5]
    with salver.Client(url, retries=0) as stranger, pytest.raises(Unavailable, match="certificate"):
        stranger.status("m")


def test_waiting_begins_before_the_server(
    model_path: Callable[[str], Path], launch_server: StartServer
) -> None:
    server = launch_server(f"m={model_path('half_plus_two')}", command="salver")
    with salver.Client(server.url) as rest, salver.Client(f"grpc://{server.grpc_target}") as grpc:
        rest.wait_ready("m", timeout_s=PATIENCE_S)
        grpc.wait_ready("m", timeout_s=PATIENCE_S)
        assert rest.predict("m", [1.0])["y"].tolist() == [2.5]


# -- publish and serve, without TensorFlow in this process -----------------------------------------


def test_publishing_under_a_live_server_loses_no_request(
    version_path: Callable[[str], Path], tmp_path: Path
) -> None:
    base = tmp_path / "half"
    salver.publish(version_path("half_plus_two"), base, check=False)
    with salver.serve(base) as server:
        is_over = threading.Event()

        def ask() -> set[int | None]:
            versions = set()
            with salver.Client(server.url, retries=0) as client:
                while not is_over.is_set():
                    answer = client.predict("half", [1.0])
                    assert answer["y"].tolist() == [2.5]
                    versions.add(answer.version)
            return versions

        with ThreadPoolExecutor(2) as threads:
            asking = [threads.submit(ask) for _ in range(2)]
            try:
                for number in (2, 3):
                    made = salver.publish(
                        base, base, labels=["x"], warmup=[[1.0]], check=number == 2
                    )
                    assert made.version == number
                    server.client.wait_ready("half", version=number)
            finally:
                is_over.set()
            answered = [asked.result() for asked in asking]
        assert server.predict([1.0]).version == 3
        assert all(versions <= {1, 2, 3} for versions in answered)
    assert (base / "3" / "assets" / "labels.txt").read_text() == "x\n"
    assert sorted(of.name for of in base.iterdir()) == ["1", "2", "3"]


def test_a_version_that_does_not_load_is_never_seen(
    model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(DataLoss, match="Can't parse"):
        salver.publish(model_path("truncated_pb") / "1", tmp_path / "new")
    with pytest.raises(NotFound):
        salver.publish(model_path("lost_variables") / "1", tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_warmup_request_that_fails_stops_the_version(
    version_path: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ServingError, match="negative"):
        salver.publish(version_path("failing"), tmp_path, warmup=[[-1.0]])
    assert not list(tmp_path.iterdir())


def test_a_path_is_served_and_a_second_one_takes_over(
    version_path: Callable[[str], Path], model_path: Callable[[str], Path]
) -> None:
    version = version_path("half_plus_two")
    with salver.serve(version, name="m", grpc_port=0) as server:
        assert server.grpc_url is None
        assert server.predict([1.0]).version == 123
        assert salver.serve(version, name="m") is server
        assert server.predict([1.0]).version == 124
        with pytest.raises(DataLoss):
            salver.serve(model_path("truncated_pb") / "1", name="m")
        assert server.predict([1.0]).version == 124
        pid, url = server.pid, server.url
    assert not server.is_running
    assert not Path(f"/proc/{pid}").exists()
    with salver.Client(url, retries=0) as client, pytest.raises(Unavailable):
        client.status("m")


def test_a_model_that_does_not_load_is_told_with_the_log(
    model_path: Callable[[str], Path],
) -> None:
    with pytest.raises(DataLoss, match="Can't parse") as caught:
        salver.serve(model_path("truncated_pb") / "1", name="m")
    assert "The log of the server ends with:" in (caught.value.hint or "")
    with pytest.raises(FailedPrecondition, match="The server ended with status 2") as ended:
        salver.serve(model_path("half_plus_two"), name="m", flags={"no_such_flag": 1})
    assert "--no_such_flag" in (ended.value.hint or "")


def test_the_server_ends_with_a_parent_that_is_killed(
    model_path: Callable[[str], Path], tmp_path: Path
) -> None:
    program = (
        "import os, sys, time, salver\n"
        f"server = salver.serve({str(model_path('half_plus_two'))!r}, name='m')\n"
        "print(server.pid, server.url, flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        with salver.Client(url) as client:
            assert client.predict("m", [1.0])["y"].tolist() == [2.5]
        parent.send_signal(signal.SIGKILL)
    eventually("the server has ended", lambda: not Path(f"/proc/{pid}").exists())
    assert not list(tmp_path.iterdir())


# -- with TensorFlow, in a process of its own ------------------------------------------------------


def run_python(program: str, directory: Path) -> str:
    child = subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": str(SOURCES),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


LIVE = """
import os, sys, threading
import numpy as np
import tensorflow as tf
import keras
import salver
from salver.errors import InvalidArgument

model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(3)], name="net")
x = np.array([[1.0, 2.0]], np.float32)
with salver.serve(model) as server:
    (y,) = server.predict(x).values()
    np.testing.assert_allclose(y, model.predict(x, verbose=0), rtol=1e-6)
    is_over = threading.Event()
    failures = []

    def ask():
        while not is_over.is_set():
            try:
                server.predict(x)
            except Exception as error:
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()

    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def predict(self, x):
            return {"output_0": 2.0 * x}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def thrice(self, x):
            return {"y": 3.0 * x}

        @tf.function
        def unsigned(self, x):
            return x

    assert salver.serve(Two(), name="net") is server
    is_over.set()
    asking.join()
    assert not failures, failures
    assert server.predict(x).version == 2
    assert server.predict(x)["output_0"].tolist() == [[2.0, 4.0]]
    assert server.predict([1], signature="thrice")["y"].tolist() == [3.0]

class Three(Two):
    pass

published = salver.publish(Three(), "models/three", labels=["a", "b"], warmup=True)
assert sorted(os.listdir("models/three")) == ["1"], os.listdir("models/three")
assert os.path.exists("models/three/1/assets.extra/tf_serving_warmup_requests")
for wrong in (tf.Module(), 3, keras.Sequential([keras.layers.Lambda(lambda x: 1 / 0)])):
    try:
        salver.publish(wrong, "models/wrong")
    except InvalidArgument:
        assert not os.path.exists("models/wrong")
    else:
        raise AssertionError(wrong)
keras_model = salver.publish(model, "models/keras")
print(published.version, keras_model.version)
"""


@needs_tensorflow
def test_live_models_are_served_and_published(tmp_path: Path) -> None:
    assert run_python(LIVE, tmp_path).splitlines()[-1] == "1 1"


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_page_s_programs_print_what_it_says(
    all_models_server: Server, tmp_path: Path, number: int
) -> None:
    program, printed = BLOCKS[number]
    if re.search("tensorflow|keras", program) and find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    program = program.replace("localhost:8501", all_models_server.url.removeprefix("http://"))
    program = program.replace("localhost:8500", all_models_server.grpc_target)
    said = run_python(program, tmp_path)
    assert said
    if printed:
        assert said == printed
