"""Servers that know of each other when one of them is away, and when they ask who calls."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from salver.access.key_file import add_key
from salver.access.keys import new_key
from salver.peers.map import Placed
from tests.integration.peers import TOKEN, Peers, peers
from tests.integration.serving import eventually

AUTH = """
schema: 1
anonymous: {verbs: [health, metrics]}
api_keys: {file: keys.txt}
roles:
  scorer: {models: ["there"], verbs: [predict, metadata]}
  nobody: {models: ["other"], verbs: [predict]}
"""


@pytest.fixture
def half(model_path: Callable[[str], Path]) -> Path:
    return model_path("half_plus_two")


@pytest.fixture
def guarded(tmp_path: Path, half: Path) -> Iterator[tuple[Peers, dict[str, str]]]:
    keys = {}
    for role in ("scorer", "nobody"):
        key, line = new_key(role, role)
        add_key(str(tmp_path / "keys.txt"), line)
        keys[role] = key
    (tmp_path / "auth.yaml").write_text(AUTH)
    models = {"n1": {"here": half}, "n2": {"there": half}}
    with peers(tmp_path, models, f"--auth_config_file={tmp_path / 'auth.yaml'}") as made:
        yield made, keys


def test_who_asks_is_found_out_once_and_believed_by_the_other(
    guarded: tuple[Peers, dict[str, str]], tmp_path: Path
) -> None:
    made, keys = guarded
    n1, n2 = made.servers["n1"], made.servers["n2"]
    path, body = "/v1/models/there:predict", {"instances": [1.0]}

    def status(server: object, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return getattr(server, "post")(path, body, headers=named).status_code  # type: ignore[no-any-return]  # noqa: B009

    assert status(n1, authorization=f"Bearer {keys['scorer']}") == 200
    assert status(n1, authorization=f"Bearer {keys['nobody']}") == 403
    assert status(n1) == 401
    # What a stranger says of hops counts for nothing, at either of them.
    said = {"salver_forwarded": "n1", "salver_principal": '["scorer", "api_key", "scorer"]'}
    assert status(n1, **said) == 401
    assert status(n2, **said) == 401
    assert status(n2, **said, salver_peer_token="guessed-and-wrong-secret") == 401
    assert status(n2, **said, salver_peer_token=TOKEN) == 200
    # The map has what one may see alone.
    scorer = {"authorization": f"Bearer {keys['scorer']}"}
    assert list(n1.get("/cluster/v1/map", headers=scorer).json()["models"]) == ["there"]
    assert n1.get("/cluster/v1/map").status_code == 401
    assert [each["name"] for each in n1.get("/v1/models", headers=scorer).json()["elsewhere"]] == [
        "there"
    ]
    nobody = {"authorization": f"Bearer {keys['nobody']}"}
    assert "there" not in n1.get("/v1/models", headers=nobody).text
    # The other one has another secret: it refuses, and that is no refusal of the client.
    (tmp_path / "token2").write_text("another-secret-of-the-servers")
    (tmp_path / "token").write_text("a-third-secret-of-the-servers")
    (tmp_path / "token2").replace(tmp_path / "token")
    eventually(
        "the new secret is taken",
        lambda: status(n2, **said, salver_peer_token="another-secret-of-the-servers") == 200,
    )
    assert status(n2, **said, salver_peer_token=TOKEN) == 401
    eventually("both have it", lambda: status(n1, **scorer) == 200)


def test_a_server_that_is_killed_costs_no_request_that_it_had_not_begun(
    tmp_path: Path, half: Path
) -> None:
    models = {"n1": {"here": half}, "n2": {"there": half}, "n3": {"there": half}}
    with peers(tmp_path, models) as made:
        n1 = made.servers["n1"]
        made.place({"there": Placed(("n2", "n3"))})
        statuses: Counter[int] = Counter()
        texts: set[str] = set()
        stop = threading.Event()

        def load() -> None:
            import requests

            with requests.Session() as session:
                while not stop.is_set():
                    answer = session.post(
                        f"{n1.url}/v1/models/there:predict", json={"instances": [1.0]}, timeout=60
                    )
                    statuses[answer.status_code] += 1
                    if answer.status_code != 200:
                        texts.add(answer.text)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            eventually("there is load", lambda: statuses[200] > 100)
            made.servers["n2"].process.kill()
            after = statuses[200]
            eventually("it goes on", lambda: statuses[200] > after + 300)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        # What had been begun there may be lost: one request a thread at most.
        assert statuses[502] <= 4, texts
        assert set(statuses) <= {200, 502}, texts
        assert made.count("n1", "salver_peers_put_aside") == 1
        # With both away nobody can be asked, and who asks is told so.
        made.servers["n3"].process.kill()
        made.servers["n3"].wait()
        answer = n1.predict("there", [1.0])
        assert answer.status_code in (502, 503)
        answer = n1.predict("there", [1.0])
        assert answer.status_code == 503
        assert "None of the servers that have the model can be reached" in answer.json()["error"]


@pytest.mark.parametrize("has_token", [True, False])
def test_two_servers_that_send_each_other_everything_end_it_at_once(
    tmp_path: Path, half: Path, has_token: bool
) -> None:
    models = {"n1": {"a": half}, "n2": {"b": half}}
    with peers(tmp_path, models, has_token=has_token) as made:
        made.place({"lost": Placed(("n1", "n2"))})  # which neither has
        for server in made.servers.values():
            answer = server.predict("lost", [1.0])
            assert answer.status_code == 404
            assert "Servable not found for request: Latest(lost)" in answer.json()["error"]
        for name, other in (("n1", "n2"), ("n2", "n1")):
            asked = made.count(name, "salver_peer_requests_total", peer=other)
            assert asked == 1


def test_several_workers_hand_requests_on(tmp_path: Path, half: Path) -> None:
    models = {"n1": {"here": half}, "n2": {"there": half}}
    with peers(tmp_path, models, "--workers=2") as made:
        import requests

        for _ in range(8):
            url = f"{made.servers['n1'].url}/v1/models/there:predict"
            answer = requests.post(url, json={"instances": [1.0]}, timeout=60)
            assert answer.status_code == 200
            assert answer.headers["salver-forwarded-to"] == "n2"
        counted = made.count("n1", "salver_forwarded_requests_total", outcome="answered")
        assert counted == 8
