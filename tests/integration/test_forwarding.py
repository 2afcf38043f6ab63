"""Several servers on this machine: what is asked of the wrong one is answered by the right one."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import salver
from salver.peers.map import Peer, PeerMap, Placed, read
from tests.integration.peers import Peers, peers, write_map
from tests.integration.serving import PATIENCE_S, Server, eventually, free_port

TOKENS = dedent(
    """
    import os, time

    class Model:
        inputs = {"text": ("string", [-1]), "n": ("int64", [], 3), "wait": ("bool", [], False)}
        outputs = {"token": ("string", [-1])}

        def predict(self, inputs):
            path = os.path.dirname(os.path.abspath(__file__)) + "/notes"
            try:
                for i in range(int(inputs["n"])):
                    yield {"token": [f"{inputs['text'][0].decode()} {i}"]}
                while inputs["wait"]:
                    time.sleep(0.05)
                    yield {"token": ["more"]}
            finally:
                with open(path, "a") as file:
                    file.write("ended\\n")
    """
)
LARGE = dedent(
    """
    import numpy as np

    class Model:
        inputs = {"x": ("float32", [-1])}
        outputs = {"y": ("float32", [-1])}

        def predict(self, inputs):
            return {"y": np.resize(inputs["x"], 300_000)}
    """
)
X = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}
RAW = np.array([1, 2], np.float32).tobytes()
HEAD = json.dumps(
    {
        "inputs": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": [2],
                "parameters": {"binary_data_size": len(RAW)},
            }
        ],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }
).encode()
EXAMPLES = {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}]}
CLASSES = {"signature_name": "classify_x_to_y", "examples": [{"x": 1.0}]}


def written(directory: Path, code: str) -> Path:
    at = directory / "1"
    at.mkdir(parents=True)
    (at / "model.py").write_text(code)
    return directory


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, model_path: Callable[[str], Path]
) -> Iterator[Peers]:
    directory = tmp_path_factory.mktemp("peers")
    models = {
        "n1": {"here": model_path("half_plus_two")},
        "n2": {
            "there": model_path("half_plus_two"),
            "tokens": written(directory / "tokens", TOKENS),
            "large": written(directory / "large", LARGE),
        },
    }
    log = directory / "access.log"
    flags = {"n1": [f"--access_log={log}"], "n2": [f"--trusted_model_paths={directory}"]}
    with peers(directory, models, more=flags) as made:
        made.place(
            {
                "here": Placed(("n1",)),
                "there": Placed(("n1", "n2"), (123,)),  # n1 has lost it, say
                "tokens": Placed(("n2",)),
                "large": Placed(("n2",), (1,)),
                "nowhere": Placed(()),
            }
        )
        yield made


ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/models/there:predict", {"json": {"instances": [1.0, 2.0]}}),
    ("POST", "/v1/models/there/versions/123:predict", {"json": {"inputs": [1.0]}}),
    ("POST", "/V1/models/there:predict", {"data": b"{"}),
    ("POST", "/v1/models/there:regress", {"json": EXAMPLES}),
    ("POST", "/v1/models/there:classify", {"json": CLASSES}),
    ("GET", "/v1/models/there", {}),
    ("GET", "/v1/models/there/metadata", {}),
    ("GET", "/v1/models/there/versions/123", {}),
    ("GET", "/v2/models/there", {}),
    ("HEAD", "/v2/models/there", {}),
    ("GET", "/v2/models/there/ready", {}),
    ("GET", "/v2/models/there/versions/123/ready", {}),
    ("POST", "/v2/models/large/infer", {"json": X}),
    (
        "POST",
        "/v2/models/large/infer",
        {"data": HEAD + RAW, "headers": {"inference-header-content-length": str(len(HEAD))}},
    ),
    ("POST", "/v2/models/large/infer", {"json": X, "headers": {"accept-encoding": "gzip"}}),
    ("POST", "/v2/models/tokens/generate", {"json": {"text": "a", "n": 2}}),
    ("POST", "/v2/models/tokens/generate_stream", {"json": {"text": "a", "n": 5}}),
    ("POST", "/v2/models/tokens/generate_stream", {"json": {"text": 7, "n": []}}),
]


@pytest.mark.parametrize(("method", "path", "request_"), ROUTES)
def test_the_wrong_server_gives_the_answer_of_the_right_one(
    made: Peers, method: str, path: str, request_: dict[str, Any]
) -> None:
    def ask(server: Server) -> Any:
        answer = server.session.request(method, server.url + path, timeout=PATIENCE_S, **request_)
        fields = {name.lower(): value for name, value in answer.headers.items()}
        where = fields.pop("salver-forwarded-to", None)
        fields.pop("date")
        return (answer.status_code, answer.content, fields), where

    right, nobody = ask(made.servers["n2"])
    wrong, somebody = ask(made.servers["n1"])
    assert wrong == right
    assert (nobody, somebody) == (None, "n2")


def test_what_no_server_has_is_refused_in_the_usual_words(made: Peers) -> None:
    n1 = made.servers["n1"]
    for path in ("nowhere", "unknown", "there/versions/9"):
        answer = n1.post(f"/v1/models/{path}:predict", {"instances": [1.0]})
        assert answer.status_code == 404
        assert "Servable not found for request" in answer.json()["error"]
        assert "salver-forwarded-to" not in answer.headers


def test_what_administers_a_server_is_not_handed_on(made: Peers) -> None:
    n1 = made.servers["n1"]
    answer = n1.get("/admin/v1/models/there", headers={"Host": f"127.0.0.1:{n1.port}"})
    assert "salver-forwarded-to" not in answer.headers


def test_a_map_tells_clients_where_models_are(made: Peers) -> None:
    answer = made.servers["n1"].get("/cluster/v1/map")
    assert answer.content == made.map_file.read_bytes()
    etag = {"If-None-Match": answer.headers["ETag"]}
    assert made.servers["n1"].get("/cluster/v1/map", headers=etag).status_code == 304


def test_the_access_log_says_where_a_request_went(made: Peers, tmp_path: Path) -> None:
    made.servers["n1"].predict("there", [7.0])
    log = made.map_file.parent / "access.log"

    def found() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return [line for line in lines if line.get("forwarded_to") == "n2"]

    assert eventually("the line is written", found)[0]["status"] == 200


def test_a_client_that_leaves_ends_the_run_on_the_other_server(made: Peers) -> None:
    notes = made.map_file.parent / "tokens" / "1" / "notes"

    def ended() -> int:
        return notes.read_text().count("ended") if notes.exists() else 0

    before = ended()
    body = json.dumps({"text": "a", "n": 1, "wait": True}).encode()
    with made.servers["n1"].connect() as client:
        client.sendall(
            b"POST /v2/models/tokens/generate_stream HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        received = b""
        while b"more" not in received:
            received += client.recv(1 << 16)
        client.shutdown(socket.SHUT_RDWR)
    eventually("the run has ended", lambda: ended() > before)


def test_a_label_that_is_behind_is_answered_where_the_map_says(made: Peers) -> None:
    before = _placed(made)
    made.place({**before, "here": Placed(("n1", "n2"), (123,), {"stable": 123})})
    answer = made.servers["n1"].post("/v1/models/here/labels/stable:predict", {"instances": [1.0]})
    made.place(before)
    assert answer.headers["salver-forwarded-to"] == "n2"  # which has not got it either
    assert answer.status_code in (400, 404, 503)


def _placed(made: Peers) -> dict[str, Placed]:
    return dict(read(made.map_file.read_bytes()).models)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_client_asks_the_right_server_by_itself(made: Peers, scheme: str) -> None:
    n1 = made.servers["n1"]
    port = n1.port if scheme == "http" else n1.grpc_port
    before = made.count("n1", "salver_peer_requests_total")
    with salver.Client(f"{scheme}://127.0.0.1:{port}", cluster=True) as client:
        assert client.predict("large", [1.0, 2.0])["y"][:3].tolist() == [1.0, 2.0, 1.0]
        assert client.predict("here", [1.0])["y"].tolist() == [2.5]
    assert made.count("n1", "salver_peer_requests_total") == before


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_client_asks_another_server_in_the_same_call_where_one_cannot_be_reached(
    made: Peers, scheme: str
) -> None:
    before = read(made.map_file.read_bytes())
    off = Peer("off", f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    placed = {**before.models, "large": Placed(("off", "n2"), (1,))}
    made.generation += 1
    write_map(made.map_file, PeerMap(made.generation, {**before.peers, "off": off}, placed))
    n1 = made.servers["n1"]
    made.wait_for(n1, made.generation)
    port = n1.port if scheme == "http" else n1.grpc_port
    handed_on = made.count("n1", "salver_peer_requests_total")
    for _ in range(10):  # each draws by itself whom it asks first
        with salver.Client(f"{scheme}://127.0.0.1:{port}", cluster=True, retries=0) as client:
            assert client.predict("large", [1.0])["y"][0] == 1.0
    assert made.count("n1", "salver_peer_requests_total") == handed_on
    made.place(dict(before.models))
