"""A server that asks who is there: its playground, and the clients of ours that show a key."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

import salver
from salver.cli.bench import bench
from salver.cli.replay import replay_command
from salver.errors import Unauthenticated
from tests.integration.chromium import DESKTOP, PHONE, Page, browsing
from tests.integration.serving import Server, running

READER = "salver_reader_" + "r" * 32
FEW = "salver_few_" + "f" * 32
WRONG = "salver_reader_" + "w" * 32


@pytest.fixture(scope="module")
def server(
    model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    auth = tmp_path_factory.mktemp("auth") / "auth.json"
    lines = [
        f"{name} {hashlib.sha256(key.encode()).hexdigest()} {name}\n"
        for name, key in (("reader", READER), ("few", FEW))
    ]
    auth.with_name("keys.txt").write_text("".join(lines))
    verbs = ["metadata", "predict", "metrics"]
    roles = {"reader": {"verbs": verbs}, "few": {"verbs": verbs, "models": ["half_*"]}}
    anonymous = {"verbs": ["health"]}
    rules = {"anonymous": anonymous, "api_keys": {"file": "keys.txt"}, "roles": roles}
    auth.write_text(json.dumps(rules))
    path = str(model_path("half_plus_two"))
    models = [{"name": name, "base_path": path} for name in ("half_plus_two", "secret")]
    config = auth.with_name("models.json")
    config.write_text(json.dumps({"models": models}))
    with running(
        f"--model_config_file={config}", f"--auth_config_file={auth}", command="salver"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "reader.key"
    path.write_text(f"{READER}\n")
    return path


@pytest.fixture
def page() -> Iterator[Page]:
    with browsing() as page:
        page.resize(DESKTOP)
        yield page


def enter(page: Page, key: str) -> None:
    page.find(".sign-in input").send_keys(key)
    page.find(".sign-in button").click()


def test_a_person_signs_in_tries_a_model_and_signs_out(page: Page, server: Server) -> None:
    page.open(f"{server.url}/")
    page.wait_for_text("h1", "Sign in")
    enter(page, WRONG)
    page.wait_for_text(".sign-in .problem", "The API key is not valid")
    page.find(".sign-in input").clear()
    enter(page, READER)
    page.wait_for_text("h1", "half_plus_two")
    assert page.run("return localStorage.length + document.cookie.length") == 0
    page.open(f"{server.url}/#/dashboard")
    page.wait_for_text(".tiles", "All requests")
    page.open(f"{server.url}/docs")
    page.wait_for_text(".sidebar", "openapi.json")
    page.find("#sign-out").click()
    page.wait_for_text("h1", "Sign in")
    assert page.run("return sessionStorage.length") == 0


def test_on_a_phone_nothing_stands_out_of_the_page(page: Page, server: Server) -> None:
    page.resize(PHONE)
    page.open(f"{server.url}/docs")
    enter(page, READER)
    page.find("#sign-out")
    page.open(f"{server.url}/")
    page.wait_for_text("h1", "half_plus_two")
    assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]


def urls_of(server: Server) -> list[str]:
    return [server.url, f"grpc://{server.grpc_target}"]


def test_a_client_shows_its_key_over_both_apis(server: Server) -> None:
    for url in urls_of(server):
        for protocol in ("tfs", "v2"):
            with salver.Client(url, protocol=protocol, api_key=READER) as client:
                assert client.predict("half_plus_two", [[2.0]])["y"].tolist() == [[3.0]]
        with salver.Client(url, api_key=WRONG) as client:
            with pytest.raises(Unauthenticated) as caught:
                client.predict("half_plus_two", [[2.0]])
            assert WRONG not in str(caught.value)
        with salver.Client(url) as client, pytest.raises(Unauthenticated, match="missing"):
            client.predict("half_plus_two", [[2.0]])


async def test_so_does_one_of_a_loop(server: Server) -> None:
    for url in urls_of(server):
        async with salver.AsyncClient(url, api_key=READER) as client:
            assert (await client.predict("half_plus_two", [[2.0]]))["y"].tolist() == [[3.0]]


def test_a_client_may_no_more_than_its_key(server: Server) -> None:
    header = {"authorization": f"Bearer {READER}"}
    answer = server.post("/admin/v1/models/half_plus_two:clear_quarantine", headers=header)
    assert answer.status_code == 403


def test_load_is_put_on_it_and_logs_are_sent_with_a_key(
    server: Server, key_file: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    call = {"model": "half_plus_two", "version": 1, "signature": "serving_default",
            "method": "predict", "request": {"instances": [2.0]},
            "response": {"predictions": [3.0]}}  # fmt: skip
    log.write_text(json.dumps(call) + "\n")
    key = f"--api_key_file={key_file}"
    brief = ("--duration=0.2", "--warmup=0", "--concurrency=2")
    for url in urls_of(server):
        for more in ((), ("--protocol=v2",)):
            assert bench([url, "half_plus_two", key, *brief, *more]) == 0
            assert replay_command([str(log), "--to", url, key, *more]) == 0
        with pytest.raises(Unauthenticated):
            bench([url, "half_plus_two", *brief])
        assert replay_command([str(log), "--to", url]) == 2


def test_lists_have_the_models_of_the_role_alone(server: Server) -> None:
    few = {"x-api-key": FEW}
    for path in ("/v1/models", "/v2/models", "/v2/models/stats", "/openapi.json"):
        assert "secret" in server.get(path, headers={"x-api-key": READER}).text
        answer = server.get(path, headers=few)
        assert (answer.status_code, "half_plus_two" in answer.text) == (200, True), path
        assert "secret" not in answer.text, path
    for path in ("/v1/models/half_none", "/v1/models/half_none/metadata", "/v2/models/half_none"):
        assert "secret" in server.get(path, headers={"x-api-key": READER}).text, path
        answer = server.get(path, headers=few)
        assert (answer.status_code, "half_plus_two" in answer.text) == (404, True), path
        assert "secret" not in answer.text, path
    for path in ("/v1/models/half_none:predict", "/v2/models/half_none/infer"):
        body = {"instances": [1.0], "inputs": []}
        assert "secret" in server.post(path, body, headers={"x-api-key": READER}).text, path
        assert "secret" not in server.post(path, body, headers=few).text, path
    index = server.post("/v2/repository/index", headers=few).json()
    assert {each["name"] for each in index} == {"half_plus_two"}
    for path in ("/openapi.json?model=secret", "/v2/models/secret", "/v1/models/secret",
                 "/v2/models/secret/stats", "/metrics", "/admin/v1/history",
                 "/playground/labels?model=secret&version=1"):  # fmt: skip
        assert server.get(path, headers=few).status_code == 403, path
    stub = grpc.insecure_channel(server.grpc_target)
    for method in ("RepositoryIndex", "ModelStatistics"):
        call = stub.unary_unary(f"/inference.GRPCInferenceService/{method}")
        told = call(b"", metadata=(("x-api-key", FEW),), timeout=60)
        assert b"half_plus_two" in told
        assert b"secret" not in told
    stub.close()
