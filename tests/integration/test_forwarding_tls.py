"""Servers that know each other by certificates alone: every connection is encrypted, both ways."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
import trustme

from salver.access.key_file import add_key
from salver.access.keys import new_key
from tests.integration.certificates import ssl_config
from tests.integration.grpc_clients.plain import connected, outcome
from tests.integration.peers import Peers, peers
from tests.integration.serving import Server

NODE = "node.cluster"
AUTH = """
schema: 1
anonymous: {verbs: [health, metrics]}
api_keys: {file: keys.txt}
roles:
  scorer: {models: ["there"], verbs: [predict, metadata]}
"""
SAID = {"salver-forwarded": "n1", "salver-principal": '["scorer", "api_key", "scorer"]'}


def written(directory: Path, authority: trustme.CA, name: str) -> tuple[Path, Path]:
    """Files of a certificate and its key."""
    issued = authority.issue_cert(name)
    chain, key = directory / f"{name}.pem", directory / f"{name}.key"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return chain, key


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def key(directory: Path) -> str:
    secret, line = new_key("scorer", "scorer")
    add_key(str(directory / "keys.txt"), line)
    return secret


@pytest.fixture(scope="module", params=["native", "grpcio"])
def made(
    request: pytest.FixtureRequest, directory: Path, key: str, model_path: Callable[[str], Path]
) -> Iterator[Peers]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    own = [written(directory, authority, name) for name in (NODE, "client.example")]
    ca, chain, private = (json.dumps(path.read_text()) for path in (directory / "ca.pem", *own[0]))
    (directory / "auth.yaml").write_text(AUTH)
    (directory / "tls").write_text(ssl_config(authority, verify_clients=True))
    (directory / "peers.tls").write_text(
        f"custom_ca: {ca}\nserver_cert: {chain}\nserver_key: {private}\n"
    )

    def prepare(server: Server) -> None:
        server.url = server.url.replace("http:", "https:")
        server.session.trust_env = False  # a bundle that it names would come before `verify`
        server.session.verify = str(directory / "ca.pem")
        server.session.cert = (str(own[1][0]), str(own[1][1]))

    half = model_path("half_plus_two")
    with peers(
        directory,
        {"n1": {"here": half}, "n2": {"there": half}},
        f"--auth_config_file={directory / 'auth.yaml'}",
        f"--ssl_config_file={directory / 'tls'}",
        f"--rest_ssl_config_file={directory / 'tls'}",
        f"--peer_ssl_config_file={directory / 'peers.tls'}",
        f"--peer_certificate_names={NODE}",
        f"--grpc_transport={request.param}",
        has_token=False,
        prepare=prepare,
    ) as servers:
        yield servers


def ask(made: Peers, server: str, headers: Mapping[str, str], **more: Any) -> requests.Response:
    return made.servers[server].post(
        "/v1/models/there:predict", {"instances": [1.0]}, headers=headers, **more
    )


def call(made: Peers, server: str, directory: Path, who: str, headers: Mapping[str, str]) -> str:
    """The code with which a call of gRPC ends."""
    ca, private, chain = (directory / name for name in ("ca.pem", f"{who}.key", f"{who}.pem"))
    credentials = grpc.ssl_channel_credentials(
        ca.read_bytes(), private.read_bytes(), chain.read_bytes()
    )
    with connected(made.servers[server].grpc_target, credentials=credentials) as client:
        metadata = tuple(headers.items())
        return outcome(lambda: client.predict("there", {"x": [1.0]}, metadata=metadata))[0]


def test_the_wrong_server_hands_a_request_on_and_says_who_asks(
    made: Peers, directory: Path, key: str
) -> None:
    headers = {"authorization": f"Bearer {key}"}
    answer = ask(made, "n1", headers)
    assert answer.json() == {"predictions": [2.5]}
    assert answer.headers["salver-forwarded-to"] == "n2"
    assert ask(made, "n1", {}).status_code == 401
    assert call(made, "n1", directory, "client.example", headers) == "OK"
    assert call(made, "n1", directory, "client.example", {}) == "UNAUTHENTICATED"


def test_who_a_request_is_from_is_believed_by_the_certificate_of_a_server_alone(
    made: Peers, directory: Path
) -> None:
    node = tuple(str(directory / f"{NODE}.{ending}") for ending in ("pem", "key"))
    assert ask(made, "n2", SAID, cert=node).status_code == 200
    assert ask(made, "n2", SAID).status_code == 401
    assert call(made, "n2", directory, NODE, SAID) == "OK"
    assert call(made, "n2", directory, "client.example", SAID) == "UNAUTHENTICATED"


def test_who_shows_no_certificate_is_not_heard(made: Peers) -> None:
    with pytest.raises(requests.ConnectionError):
        made.servers["n2"].get("/healthz/ready", cert=())
