"""Python models in servers as users start them, over REST and gRPC."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format

from salver._pb import message_class
from tests import toy_source
from tests.integration.grpc_clients.plain import (
    connected,
    model_spec,
    predict_request,
    tensor,
    values,
)
from tests.integration.serving import Server, eventually, run_command

StartServer = Callable[..., Server]

TEXTS = """
    from words import count

    class Model:
        inputs = {"text": ("string", [-1]), "least": ("int64", [], 2)}
        outputs = {"words": ("int64", [-1]), "loud": ("string", [-1])}
        signatures = {"fail": {"inputs": {"how": ("string", [])}, "outputs": {"y": ("int64", [])}}}

        def load(self, context):
            self.context = context

        def predict(self, inputs):
            words = [max(count(text), inputs["least"]) for text in inputs["text"]]
            return {"words": words, "loud": [text.decode().upper() for text in inputs["text"]]}

        def fail(self, inputs):
            if inputs["how"] == b"value":
                raise ValueError("no such value")
            raise RuntimeError("no luck")
"""
ROWS = """
    import threading

    class Model:
        inputs = {"x": ("float32", [-1]), "by": ("float32", [-1], 10)}
        outputs = {"y": ("float32", [-1]), "rows": ("int64", [-1])}
        max_batch_size = 64

        def load(self, context):
            self.go = threading.Event()

        def predict(self, inputs):
            if inputs["x"][0] < 0:
                self.go.wait(20)
            else:
                self.go.set()
            rows = len(inputs["x"])
            return {"y": inputs["x"] * inputs["by"], "rows": [rows] * rows}
"""
MEETING = """
    import asyncio

    class Model:
        inputs, outputs = {"n": ("int64", [])}, {"n": ("int64", [])}

        async def load(self, context):
            self.here, self.all_here = 0, asyncio.Event()

        async def predict(self, inputs):
            self.here += 1
            if self.here == inputs["n"]:
                self.all_here.set()
            await self.all_here.wait()
            return {"n": self.here}
"""
ENDLESS = "while True:\n    pass\n"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A directory of models."""
    for name, source in (("texts", TEXTS), ("rows", ROWS), ("meeting", MEETING)):
        write(tmp_path / "models" / name, source)
    (tmp_path / "models" / "texts" / "1" / "words.py").write_text(
        "def count(text):\n    return len(text.split())\n"
    )
    return tmp_path / "models"


def write(base: Path, source: str, version: int = 1) -> None:
    (base / str(version)).mkdir(parents=True)
    (base / str(version) / "model.py").write_text(dedent(source))


def configuration(path: Path, models: Path, **more: str) -> str:
    entries = [
        f'config {{ name: "{each.name}" base_path: "{each}" model_platform: "tensorflow" }}'
        for each in sorted(models.iterdir())
    ]
    entries += [
        f'config {{ name: "{name}" base_path: "{where}" model_platform: "python" }}'
        for name, where in more.items()
    ]
    path.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    return f"--model_config_file={path}"


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def server(
    request: pytest.FixtureRequest, start_server: StartServer, models: Path, tmp_path: Path
) -> Server:
    return start_server(
        configuration(tmp_path / "models.config", models),
        f"--trusted_model_paths={models}",
        f"--workers={request.param}",
        "--rest_api_num_threads=32",
    )


def test_they_answer_over_both_protocols(server: Server) -> None:
    answer = server.post("/v1/models/texts:predict", {"inputs": {"text": ["ä b c", "a"]}})
    assert answer.json() == {"outputs": {"words": [3, 2], "loud": ["Ä B C", "A"]}}
    answer = server.post("/v1/models/texts:predict", {"inputs": {"text": ["a"], "least": 9}})
    assert answer.json()["outputs"]["words"] == [9]
    with connected(server.grpc_target) as client:
        given = client.call(
            "Predict", predict_request(model_spec("texts"), {"text": tensor(["a b c"])})
        )
        assert values(given.outputs["words"]) == [3]
        assert values(given.outputs["loud"]) == [b"A B C"]


def test_what_they_declare_is_their_metadata(server: Server) -> None:
    found = server.get("/v1/models/texts/metadata").json()["metadata"]["signature_def"]
    inputs = found["signature_def"]["serving_default"]["inputs"]
    assert {name: of["dtype"] for name, of in inputs.items()} == {
        "text": "DT_STRING",
        "least": "DT_INT64",
    }


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"signature_name": "fail", "inputs": "value"}, 400, "no such value"),
        ({"signature_name": "fail", "inputs": "other"}, 500, "no luck"),
        ({"inputs": {"text": [["a"]]}}, 400, "Input text has the shape [1, 1]"),
        ({"inputs": {"least": 1}}, 400, "text"),
        ({"instances": [{"text": "a", "most": 1}]}, 400, "most"),
    ],
)
def test_what_fails_says_why_and_no_more(server: Server, body: Any, status: int, said: str) -> None:
    answer = server.post("/v1/models/texts:predict", body)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert "Traceback" not in answer.text
    if status == 500:
        server.err.wait_for("RuntimeError: no luck")


def test_requests_are_merged_before_a_model_that_allows_it(server: Server) -> None:
    def ask(x: float) -> Any:
        return server.post("/v1/models/rows:predict", {"instances": [{"x": x}]}).json()

    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(ask, -1.0)  # waits until another has come
        answers = [pool.submit(ask, float(n)) for n in range(1, 16)]
        assert first.result()["predictions"][0]["y"] == -10
        predictions = [answer.result()["predictions"][0] for answer in answers]
    assert [each["y"] for each in predictions] == [10.0 * n for n in range(1, 16)]
    assert max(each["rows"] for each in predictions) > 1


def test_more_rows_than_a_run_may_have_are_run_in_pieces(server: Server) -> None:
    rows = [{"x": 1.0, "by": float(n)} for n in range(100)]
    answer = server.post("/v1/models/rows:predict", {"instances": rows}).json()
    assert [each["y"] for each in answer["predictions"]] == [float(n) for n in range(100)]
    assert {each["rows"] for each in answer["predictions"]} <= {64, 36}


def test_async_models_run_many_requests_at_once(start_server: StartServer, models: Path) -> None:
    server = start_server(str(models / "meeting"), command="salver")
    with ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(lambda _: server.post("/v1/models/meeting:predict", {"inputs": 3}), range(3))
        )
    assert [answer.json() for answer in answers] == [{"outputs": 3}] * 3


# -- which are loaded ------------------------------------------------------------------------------


def listens(server: Server) -> bool:
    try:
        return server.get("/healthz/live").status_code == 200
    except OSError:
        return False


def failure(server: Server, model: str, part: str) -> str:
    """What the status of a model says once its version has failed."""

    def text() -> str:
        if not listens(server):
            return ""
        answer = server.get(f"/v1/models/{model}").text
        return answer if part in answer else ""

    return str(eventually(f"{model} fails with {part}", text))


def test_a_path_typed_on_the_command_line_is_trusted(
    start_server: StartServer, models: Path
) -> None:
    server = start_server(str(models / "texts"), str(models / "rows" / "1"), command="salver")
    assert server.predict("rows", [{"x": 1}]).json()["predictions"][0]["y"] == 10
    answer = server.post("/v1/models/texts:predict", {"inputs": {"text": ["a b c"]}})
    assert answer.json()["outputs"]["words"] == [3]


def test_a_directory_without_versions_and_a_file_are_served_too(
    start_server: StartServer, models: Path
) -> None:
    plain = models / "texts" / "1"
    plain.rename(models.parent / "plain")
    model = models / "rows" / "1" / "model.py"
    server = start_server(str(models.parent / "plain"), f"file={model}", command="salver")
    answer = server.post("/v1/models/plain:predict", {"inputs": {"text": ["a b c"]}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"]["words"] == [3]
    assert server.predict("file", [{"x": 1}]).json()["predictions"][0]["y"] == 10


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_else_is_and_no_reload_makes_it_so(
    launch_server: Callable[..., Server], models: Path, tmp_path: Path, workers: int
) -> None:
    """The first model is a spy: its code leaves a file where it runs."""
    spy = tmp_path / "spied"
    write(tmp_path / "elsewhere" / "spy", f"open({str(spy)!r}, 'w')\n" + dedent(ROWS))
    (models / "link").mkdir()
    (models / "link" / "1").symlink_to(tmp_path / "elsewhere" / "spy" / "1")
    flag = configuration(tmp_path / "models.config", models)
    # A request may name the place, so that only trust stands before it.
    flags = (f"--trusted_model_paths={models}", f"--allowed_base_paths={tmp_path}")
    server = launch_server(flag, *flags, f"--workers={workers}", command="salver")
    said = failure(server, "link", "FAILED_PRECONDITION")
    assert "is a Python model, which would run as the server's user" in said
    assert "start the server with --trusted_model_paths=" in said
    server.wait_until("texts", 1)
    with connected(server.grpc_target) as client:
        config = "tensorflow.serving.ModelServerConfig"
        made = message_class(config)()
        text_format.Parse(
            f'model_config_list {{ config {{ name: "spy" base_path: "{tmp_path}/elsewhere/spy" '
            'model_platform: "python" } }',
            made,
        )
        request = message_class("tensorflow.serving.ReloadConfigRequest")(config=made)
        with pytest.raises(grpc.RpcError, match="which would run as the server's user"):
            client.call("HandleReloadConfigRequest", request)
    assert not spy.exists()


def test_a_fetched_version_is_trusted_by_its_uri(
    launch_server: Callable[..., Server], models: Path, tmp_path: Path
) -> None:
    toy_source.install(tmp_path / "plugins")
    prelude = f"import sys; sys.path.insert(0, {str(tmp_path / 'plugins')!r})"
    for trusted, ends in ((f"toy://{models}", "AVAILABLE"), (f"{tmp_path},toy://no", "END")):
        server = launch_server(
            f"--model_base_path=toy://{models}/rows",
            "--model_name=rows",
            f"--trusted_model_paths={trusted}",
            f"--model_cache={tmp_path / 'cache'}",
            prelude=prelude,
            command="salver",
        )
        eventually("it listens", partial(listens, server))
        server.wait_until("rows", 1, ends)


def test_show_tells_what_is_declared_and_runs_nothing(models: Path, tmp_path: Path) -> None:
    spy = tmp_path / "spied"
    path = models / "rows" / "1" / "model.py"
    path.write_text(f"open({str(spy)!r}, 'w')\n" + path.read_text())
    done = run_command("salver", "show", str(models / "rows"))
    assert done.returncode == 0, done.stderr
    assert f"Python model at {path} (version 1)" in done.stdout
    assert "inputs['by'] tensor_info:" in done.stdout
    path.write_text("from elsewhere import Model\n")
    done = run_command("salver", "show", str(path))
    assert "Only a load tells its signatures." in done.stdout
    assert not spy.exists()


def test_an_import_that_never_ends_is_given_up(
    launch_server: Callable[..., Server], models: Path, tmp_path: Path
) -> None:
    write(models / "endless", ENDLESS)
    server = launch_server(
        configuration(tmp_path / "models.config", models),
        f"--trusted_model_paths={models}",
        "--load_timeout_seconds=8",
        command="salver",
    )
    failure(server, "endless", "DEADLINE_EXCEEDED")
    server.wait_until("texts", 1)


def test_a_new_version_takes_over_with_modules_of_its_own(
    start_server: StartServer, models: Path
) -> None:
    server = start_server(str(models / "texts"), command="salver")
    new = models / "texts" / "new"
    write(new, TEXTS, 2)
    (new / "2" / "words.py").write_text("def count(text):\n    return 100\n")
    (new / "2").rename(models / "texts" / "2")
    server.wait_until("texts", 2)
    answer = server.post("/v1/models/texts:predict", {"inputs": {"text": ["a"]}})
    assert answer.json()["outputs"]["words"] == [100]


def test_an_enormous_answer_is_refused_or_given_and_others_are_answered(
    start_server: StartServer, models: Path
) -> None:
    write(
        models / "large",
        """
        import numpy as np
        class Model:
            inputs, outputs = {"n": ("int64", [])}, {"y": ("int8", [-1])}
            def predict(self, inputs):
                return {"y": np.zeros(inputs["n"], np.int8)}
        """,
    )
    server = start_server(str(models), "--max_memory_in_flight_bytes=50000000", command="salver")
    assert server.post("/v1/models/large:predict", {"inputs": 10}).json() == {"outputs": [0] * 10}
    refused = server.post("/v1/models/large:predict", {"inputs": 1 << 62})
    assert refused.status_code in (429, 500, 503), refused.text
    assert server.predict("rows", [{"x": 1}]).status_code == 200


def test_lazily_loaded_models_are_known_before_they_are_loaded(
    start_server: StartServer, models: Path
) -> None:
    server = start_server(str(models / "rows"), "--lazy_load_models", command="salver")
    assert server.predict("rows", [{"x": 2}]).json()["predictions"][0]["y"] == 20


def test_numbers_arrive_as_they_are_declared(server: Server) -> None:
    with connected(server.grpc_target) as client:
        feeds = {"x": tensor(np.array([1, 2], np.float32))}
        given = client.call("Predict", predict_request(model_spec("rows"), feeds))
        assert values(given.outputs["y"]) == [10, 20]
        assert given.outputs["y"].dtype == message_class("tensorflow.TensorProto")(dtype=1).dtype
