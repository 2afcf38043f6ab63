"""Keys, tokens and certificates, told by two workers behind one port over TLS."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from tests.integration.certificates import ssl_config
from tests.integration.serving import Server, eventually, run_command, start
from tests.issuers import ISSUER, jwk, key_set, private_key, token

NAME = "scorer.example.com"
PREDICT = "/v1/models/half_plus_two:predict"


class Issuer(BaseHTTPRequestHandler):
    """Has one key set."""

    content = key_set(jwk("RS256", private_key("RS256"), kid="1"))

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/jwks"
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Guarded:
    """A server that asks who asks, and what its clients need."""

    root: Path
    server: Server
    certificate: str = ""

    def keys(self, *arguments: str) -> str:
        done = run_command(
            "salver", "keys", *arguments, f"--auth_config_file={self.root / 'auth.yaml'}"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def status(self, certificate: str = "nobody", **headers: str) -> int:
        """Of a prediction, over a connection of its own, so that any worker may answer."""
        answer = requests.post(
            f"https://127.0.0.1:{self.server.port}{PREDICT}",
            data=b'{"instances": [1.0]}',
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            verify=str(self.root / "ca.pem"),
            cert=str(self.root / f"{certificate}.pem"),
            timeout=30,
        )
        return answer.status_code

    def everywhere(self, status: int, **credentials: str) -> bool:
        """Whether a dozen connections get the same."""
        return all(self.status(**credentials) == status for _ in range(12))


@pytest.fixture(scope="module")
def guarded(
    issuer: str, model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("access")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(root / "ca.pem"))
    (root / "ssl.conf").write_text(ssl_config(authority, verify_clients=True))
    for name, identity in (("scorer", NAME), ("nobody", "nobody.example.com")):
        issued = authority.issue_cert(identity)
        issued.private_key_and_cert_chain_pem.write_to_path(str(root / f"{name}.pem"))
    (root / "keys.txt").write_text("")
    (root / "auth.yaml").write_text(
        f"""
        api_keys: {{file: keys.txt}}
        jwt: [{{issuer: "{ISSUER}", audience: salver, jwks_url: "{issuer}", algorithms: [RS256]}}]
        mtls: [{{subject_alt_name: "{NAME}", role: scorer}}]
        roles:
          scorer: {{models: ["half_*"], verbs: [predict]}}
          other: {{models: [x], verbs: [predict]}}
        """
    )
    server = start(
        f"half_plus_two={model_path('half_plus_two')}",
        "--workers=2",
        f"--rest_ssl_config_file={root / 'ssl.conf'}",
        f"--auth_config_file={root / 'auth.yaml'}",
        command="salver",
    )
    guarded = Guarded(root, server)
    try:
        server.err.wait_for("Exporting HTTP/REST API at:")
        yield guarded
    finally:
        server.dispose()


def good(**changes: Any) -> str:
    now_s = int(time.time())  # noqa: TID251 - tokens are of the calendar
    return token(**{"iat": now_s, "exp": now_s + 300, **changes}).decode()


def test_who_shows_nothing_is_asked_for_credentials(guarded: Guarded) -> None:
    assert guarded.everywhere(401)


def test_a_key_counts_once_it_is_made_and_no_more_once_it_is_revoked(guarded: Guarded) -> None:
    key, other = (
        guarded.keys("create", *each) for each in (("a", "--role=scorer"), ("b", "--role=other"))
    )
    eventually("both count", lambda: guarded.everywhere(403, x_api_key=other), within_s=15)
    assert guarded.everywhere(200, x_api_key=key)
    assert guarded.everywhere(200, authorization=f"Bearer {key}")
    assert guarded.status(x_api_key=key[:-1] + "#") == 401
    guarded.keys("revoke", "a")
    eventually("it is revoked", lambda: guarded.everywhere(401, x_api_key=key), within_s=15)


def test_a_key_that_is_revoked_while_requests_come_is_let_in_no_more(guarded: Guarded) -> None:
    """Each worker looks for itself: from some moment on none lets it in, and others go on."""
    key, other = (guarded.keys("create", id, "--role=scorer") for id in ("d", "e"))
    eventually("both count", lambda: guarded.everywhere(200, x_api_key=other), within_s=15)
    assert guarded.everywhere(200, x_api_key=key)
    is_over = threading.Event()
    seen: list[int] = []

    def ask() -> None:
        while not is_over.is_set():
            seen.append(guarded.status(x_api_key=other))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    guarded.keys("revoke", "d")
    eventually("it is revoked", lambda: guarded.everywhere(401, x_api_key=key), within_s=15)
    assert guarded.everywhere(401, x_api_key=key)
    is_over.set()
    for thread in threads:
        thread.join()
    assert set(seen) == {200}


def test_a_token_counts_by_the_keys_of_its_issuer(guarded: Guarded) -> None:
    eventually(
        "tokens count",
        lambda: guarded.everywhere(200, authorization=f"Bearer {good()}"),
        within_s=15,
    )
    assert guarded.status(authorization=f"Bearer {good(aud='other')}") == 401
    assert guarded.status(authorization=f"Bearer {good(roles=['other'])}") == 403
    assert guarded.status(authorization=f"Bearer {good(exp=1)}") == 401


def test_a_certificate_counts_by_its_name(guarded: Guarded) -> None:
    assert guarded.everywhere(200, certificate="scorer")


def test_no_credentials_stand_in_the_log(guarded: Guarded) -> None:
    key = guarded.keys("create", "c", "--role=scorer")
    shown = good()
    for value in (key, shown, key + "x", shown + "x"):
        guarded.status(authorization=f"Bearer {value}")
        guarded.status(x_api_key=value)
    guarded.server.stop()
    log = guarded.server.err.text() + guarded.server.out.text()
    assert key[-32:] not in log
    assert shown[-32:] not in log
