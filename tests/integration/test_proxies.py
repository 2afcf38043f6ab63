"""Stores that speak TLS, behind a proxy that tunnels: by the environment, and by the file."""

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from salver.errors import ServingError
from salver.remote.hub import HubSource
from salver.remote.source import ObjectStoreSource
from salver.remote.web_source import WebSource
from salver.sources.protocol import MonitoredServable, Version
from salver.sources.settings import SourceSettings
from salver.vocabulary.servable import Latest
from tests.integration.serving import Server
from tests.integration.test_object_stores import put_whole
from tests.integration.test_sources import until_serving
from tests.remote_stores import NO_CREDENTIALS, moto
from tests.tls_proxies import Tunnels, tls_before, tunnelling
from tests.web_server import Hub, serving

USER, PASSWORD = "someone", "pa@55word/:"
LOGIN = f"{USER}:{PASSWORD}"
WRITTEN = f"{USER}:pa%4055word%2F%3A"
WRONG = f"{USER}:wrong-secret"
SECRETS = (
    *(WRITTEN, PASSWORD, "wrong-secret", "55word"),
    base64.b64encode(LOGIN.encode()).decode(),
)
HOST = "store.test"  # which only the proxy knows


class Stage:
    """Lets everything pass."""

    def check(self) -> None: ...
    def progress(self, _done_bytes: int) -> None: ...
    def wait(self, _seconds: float) -> None: ...


@dataclass
class Far:
    """A store that speaks TLS under two names, of which only a proxy knows one.

    Attributes:
        scheme: of its base paths.
        base_path: of a model there, by a host.
        make: makes a source.
        port: where it listens.
        ca_file: of its authority.
        environment: what it is found by, by a host.
    """

    scheme: str
    base_path: Callable[[str], str]
    make: Callable[[SourceSettings], Any]
    port: int
    ca_file: Path
    environment: Callable[[str], Mapping[str, str]] = field(default=lambda _host: {})


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@contextmanager
def bucket(ca: trustme.CA, ca_file: Path) -> Iterator[Far]:
    with moto() as store, tls_before(port_of(store.url), ca, "localhost", "127.0.0.1") as port:
        store.put("m/1/file", b"content")
        environment = {**store.environment, "AWS_CA_BUNDLE": str(ca_file)}
        yield Far(
            *("s3", lambda _host: "s3://models/m", ObjectStoreSource, port, ca_file),
            lambda host: {**environment, "AWS_ENDPOINT_URL": f"https://{host}"},
        )


@contextmanager
def web(ca: trustme.CA, ca_file: Path) -> Iterator[Far]:
    with serving() as server, tls_before(port_of(server.url), ca, HOST, "127.0.0.1") as port:
        server.files["/m/1.tar.gz"] = b"content"
        yield Far(
            "https",
            lambda host: f"https://{host}/m/1.tar.gz",
            lambda settings: WebSource("https", settings),
            port,
            ca_file,
            lambda _host: {"SSL_CERT_FILE": str(ca_file)},
        )


@contextmanager
def hub(ca: trustme.CA, ca_file: Path) -> Iterator[Far]:
    made = Hub()
    made.commit("a" * 40, "2024-01-02T03:04:05Z", file=b"content")
    with serving(made), tls_before(port_of(made.url), ca, HOST, "127.0.0.1") as port:
        yield Far(
            *("hf", lambda _host: f"hf://owner/repo@{'a' * 40}", HubSource, port, ca_file),
        )


@pytest.fixture(scope="module", params=[bucket, web, hub])
def far(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    ca = trustme.CA()
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    with request.param(ca, ca_file) as made:
        yield made


@pytest.fixture
def proxy(far: Far) -> Iterator[Tunnels]:
    # The bucket of a host with a dot in it would be its first name to the store of the tests.
    with tunnelling(Tunnels({HOST: far.port, "localhost": far.port}, LOGIN)) as made:
        yield made


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in NO_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def host_of(far: Far) -> str:
    return "localhost" if far.scheme == "s3" else HOST


def look(far: Far, host: str, config_file: str = "") -> Mapping[int, Version] | ServingError:
    source = far.make(SourceSettings(config_file=config_file, settle_s=0.0))
    with ExitStack() as closing:
        closing.callback(getattr(source, "close", lambda: None))
        servable = MonitoredServable("m", far.base_path(host), Latest())
        ((_, found),) = source.find((servable,))
        assert isinstance(found, (dict, ServingError))
        return found


def numbers(found: Mapping[int, Version] | ServingError) -> list[int]:
    assert not isinstance(found, ServingError), found.message
    return list(found)


def set_all(environment: pytest.MonkeyPatch, far: Far, host: str, **more: str) -> None:
    for name, value in {**far.environment(host), **more}.items():
        environment.setenv(name, value)


def config_of(far: Far, directory: Path, host: str, proxy: str = "") -> str:
    """A file that says how the store is reached, and what the environment cannot say of it."""
    endpoint = "" if far.scheme == "https" else f"\n    endpoint: https://{host}"
    prefix = far.base_path(host).rpartition("/")[0]
    path = directory / "remote.yaml"
    path.write_text(
        f'stores:\n  - prefix: {prefix}{endpoint}\n    proxy: "{proxy}"\n'
        f"    ca_file: {far.ca_file}\n"
    )
    return str(path)


def config_of_hub(far: Far, directory: Path, host: str) -> str:
    """The same for a hub, whose library reads the environment once."""
    return config_of(far, directory, host) if far.scheme == "hf" else ""


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_store_is_reached_by_the_proxy_of_the_environment_which_is_told_the_login(
    far: Far, proxy: Tunnels, environment: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    host = host_of(far)
    set_all(environment, far, host, **{name: proxy.url(WRITTEN)})
    found = look(far, host, config_of_hub(far, tmp_path, host))
    assert numbers(found) == [1]
    assert set(proxy.asked) == {f"{host}:443"}


def test_a_host_of_no_proxy_is_reached_without(
    far: Far, proxy: Tunnels, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = f"127.0.0.1:{far.port}"
    no_proxy = "example.com,127.0.0.1"
    set_all(environment, far, host, HTTPS_PROXY=proxy.url(WRITTEN), NO_PROXY=no_proxy)
    assert numbers(look(far, host, config_of_hub(far, tmp_path, host))) == [1]
    assert proxy.asked == []


def test_the_proxy_of_the_file_goes_before_that_of_the_environment(
    far: Far, proxy: Tunnels, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = host_of(far)
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    others = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": host}
    for name, value in {**keys, **others}.items():
        environment.setenv(name, value)
    found = look(far, host, config_of(far, tmp_path, host, proxy.url(WRITTEN)))
    assert numbers(found) == [1]
    assert set(proxy.asked) == {f"{host}:443"}


@pytest.mark.parametrize("is_of_file", [False, True])
@pytest.mark.parametrize(
    ("login", "said"), [(WRONG, "the proxy"), (f"{WRITTEN}@ho st:x?", "be opened|is no URL|cannot")]
)
def test_no_error_shows_the_login_of_a_proxy(
    far: Far,
    proxy: Tunnels,
    environment: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    is_of_file: bool,
    login: str,
    said: str,
) -> None:
    caplog.set_level("INFO")
    host, url = host_of(far), proxy.url(login)
    set_all(environment, far, host, **({} if is_of_file else {"HTTPS_PROXY": url}))
    by_file = config_of(far, tmp_path, host, url)
    error = look(far, host, by_file if is_of_file else config_of_hub(far, tmp_path, host))
    assert isinstance(error, ServingError)
    assert any(part in error.message for part in said.split("|")), error.message
    assert not any(secret in error.message + caplog.text for secret in SECRETS)


def test_a_server_fetches_by_the_proxy_and_shows_its_login_nowhere(
    launch_server: Callable[..., Server],
    model_path: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    ca, ca_file = trustme.CA(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    with (
        moto() as store,
        tls_before(port_of(store.url), ca, "localhost") as port,
        tunnelling(Tunnels({"localhost": port}, LOGIN)) as proxy,
    ):
        put_whole(store, model_path("half_plus_two") / "00000123", "m/1")
        server = launch_server(
            "far=s3://models/m",
            f"--model_cache={tmp_path / 'cache'}",
            "--remote_poll_wait_seconds=0.3",
            command="salver",
            environment={
                **store.environment,
                "AWS_ENDPOINT_URL": "https://localhost",
                "AWS_CA_BUNDLE": str(ca_file),
                "HTTPS_PROXY": proxy.url(WRITTEN),
            },
        )
        until_serving(server, 1)
        proxy.login = "another:login"
        server.err.wait_for("the proxy wants another login, or one")
        page = server.get("/monitoring/prometheus/metrics").text
        shown = server.err.text() + server.out.text() + page + server.get("/v1/models/far").text
        assert not any(secret in shown for secret in SECRETS)
        assert server.stop() == 0
