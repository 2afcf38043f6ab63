import gzip
import hashlib
import io
import itertools
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web_server import WebServer, serving

from salver.errors import (
    Aborted,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    ServingError,
    Unavailable,
)
from salver.instruments.cache import Cache
from salver.remote.errors import StoreBusy
from salver.remote.web_source import WebSource
from salver.sources.fetching import fetch_version
from salver.sources.protocol import MonitoredServable
from salver.sources.settings import SourceSettings
from salver.vocabulary.servable import Latest, Specific, VersionPolicy


class Stage:
    """Lets everything pass, and notes how long it was asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def check(self) -> None: ...
    def progress(self, _done_bytes: int) -> None: ...

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving() as server:
        yield server


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def look(
    source: WebSource,
    url: str,
    policy: VersionPolicy = Latest(),  # noqa: B008
) -> Any:
    ((_, found),) = source.find((MonitoredServable("m", url, policy),))
    return found


def fetched(source: WebSource, url: str, into: Path) -> dict[str, bytes]:
    (version,) = look(source, url).values()
    into.mkdir(exist_ok=True)
    source.fetch(version, into, Stage())
    return {
        str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()
    }


@pytest.fixture
def source() -> Iterator[WebSource]:
    clock = itertools.count(step=1000.0)  # each look is due
    made = WebSource("http", SourceSettings(), lambda: float(next(clock)))
    yield made
    made.close()


def test_an_archive_is_the_version_of_its_name(web: WebServer, source: WebSource) -> None:
    web.files["/digits/3.tar.gz"] = archive(x=b"1")
    assert list(look(source, f"{web.url}/digits/3.tar.gz")) == [3]
    web.files["/digits.tgz"] = archive(x=b"1")
    assert list(look(source, f"{web.url}/digits.tgz")) == [1]


def test_an_index_names_archives_below_it(web: WebServer, source: WebSource) -> None:
    web.files["/digits/index.json"] = b'{"versions": {"3": "3.tar.gz", "2": "old/2.tar.gz"}}'
    web.files["/digits/3.tar.gz"] = web.files["/digits/old/2.tar.gz"] = archive(x=b"1")
    found = look(source, f"{web.url}/digits/", Latest(2))
    assert {n: v.location for n, v in found.items()} == {
        2: f"{web.url}/digits/old/2.tar.gz",
        3: f"{web.url}/digits/3.tar.gz",
    }
    assert list(look(source, f"{web.url}/digits/", Specific((2,)))) == [2]


@pytest.mark.parametrize(
    "name",
    [
        "../3.tar.gz",
        "%2e%2e/3.tar.gz",
        "a/..%2f..%2f3.tar.gz",
        "a/../../3.tar.gz",
        "/3.tar.gz",
        "http://169.254.169.254/3.tar.gz",
        "//h/3.tar.gz",
        "a//b",
        7,
    ],
)
def test_an_index_names_nothing_elsewhere(web: WebServer, source: WebSource, name: Any) -> None:
    web.files["/digits/index.json"] = json.dumps({"versions": {"3": name}}).encode()
    error = look(source, f"{web.url}/digits/")
    assert isinstance(error, InvalidArgument)
    assert "which is no archive below it" in error.message


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"versions": [1]}', b'{"other": 1}', b"[" * 9999]
)
def test_a_wrong_index_is_told(web: WebServer, source: WebSource, content: bytes) -> None:
    web.files["/digits/index.json"] = content
    assert "is no index" in look(source, f"{web.url}/digits/").message


@pytest.mark.parametrize(
    "path",
    ["a/../3.tar.gz", "%2e%2E/3.tar.gz", "a/..%2f3.tar.gz", "%252e%252e/x/", "..\\x/", "./x/"],
)
def test_a_base_path_that_leads_out_of_itself_is_refused_and_not_asked_for(
    web: WebServer, source: WebSource, path: str
) -> None:
    error = look(source, f"{web.url}/digits/{path}")
    assert isinstance(error, InvalidArgument)
    assert "cannot be a base path: it has `.` or `..` in it" in error.message
    if path.endswith("/"):
        with pytest.raises(InvalidArgument, match="cannot be a base path"):
            source.models_below(f"{web.url}/digits/{path}", lambda _directory: False)
    assert web.asked == []


@pytest.mark.parametrize("end", ["?sig=hidden", "#x"])
def test_what_may_be_secret_in_a_url_is_refused(source: WebSource, end: str) -> None:
    error = look(source, f"http://127.0.0.1:1/3.tar.gz{end}")
    assert isinstance(error, InvalidArgument)
    assert "hidden" not in error.message
    error = look(source, "http://user:hidden@127.0.0.1:1/3.tar.gz")
    assert "hidden" not in error.message


def test_the_files_of_an_archive_are_unpacked_and_it_is_gone(
    web: WebServer, source: WebSource, tmp_path: Path
) -> None:
    web.files["/3.tar.gz"] = archive(**{"3/saved_model.pb": b"model", "3/variables/x": b""})
    files = fetched(source, f"{web.url}/3.tar.gz", tmp_path / "v")
    assert files == {"saved_model.pb": b"model", "variables/x": b""}


def test_a_large_archive_comes_in_parts_unless_the_server_knows_none(
    web: WebServer, source: WebSource, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(20 << 20)
    web.files["/3.tar.gz"] = archive(x=content)
    assert fetched(source, f"{web.url}/3.tar.gz", tmp_path / "v") == {"x": content}
    assert len([wanted for _, _, wanted in web.asked if wanted]) == 3
    web.has_ranges = False
    assert fetched(source, f"{web.url}/3.tar.gz", tmp_path / "w") == {"x": content}


def test_an_archive_that_changes_is_a_new_revision_and_never_mixed(
    web: WebServer, source: WebSource, tmp_path: Path
) -> None:
    web.files["/3.tar.gz"] = archive(x=b"1")
    (version,) = look(source, f"{web.url}/3.tar.gz").values()
    web.files["/3.tar.gz"] = archive(x=b"22")
    with pytest.raises(Aborted, match="has changed since it was looked at"):
        source.fetch(version, tmp_path, Stage())


def test_the_checksums_in_an_archive_are_compared(
    web: WebServer, source: WebSource, tmp_path: Path
) -> None:
    def kept() -> bytes:
        version = look(source, f"{web.url}/3.tar.gz")[3]
        held = fetch_version(3, version, source, Cache(tmp_path), Stage())
        try:
            return (held.path / "x").read_bytes()
        finally:
            held.close()

    right = f"{hashlib.sha256(b'1').hexdigest()}  x\n".encode()
    web.files["/3.tar.gz"] = archive(x=b"1", SHA256SUMS=right)
    assert kept() == b"1"
    web.files["/3.tar.gz"] = archive(x=b"2", SHA256SUMS=right)
    with pytest.raises(DataLoss, match="x is not what SHA256SUMS lists") as raised:
        kept()
    assert raised.value.is_final


def test_a_server_that_has_too_much_to_do_is_asked_when_it_wants_to_be(
    web: WebServer, source: WebSource
) -> None:
    def busy(handler: Any) -> bool:
        handler.answer(503, b"", {"Retry-After": "90"})
        return True

    web.fault = busy
    error = look(source, f"{web.url}/3.tar.gz")
    assert isinstance(error, StoreBusy)
    assert error.retry_after_s == 90.0
    assert "it is asked again in 9" in error.message


def test_a_server_that_is_away_is_told_of(source: WebSource) -> None:
    error = look(source, "http://127.0.0.1:1/3.tar.gz")
    assert isinstance(error, Unavailable)
    assert error.message.startswith("http://127.0.0.1:1/3.tar.gz cannot be read: ")


def test_a_server_without_head_is_asked_otherwise(web: WebServer, source: WebSource) -> None:
    def no_head(handler: Any) -> bool:
        if handler.command == "HEAD":
            handler.answer(405, b"")
        return bool(handler.command == "HEAD")

    web.fault = no_head
    web.files["/3.tar.gz"] = archive(x=b"1")
    assert list(look(source, f"{web.url}/3.tar.gz")) == [3]


def test_a_redirect_tells_another_server_no_token(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hidden\n")
    (tmp_path / "remote.yaml").write_text(
        f"stores: [{{prefix: '{web.url}', credential_file: token}}]"
    )
    source = WebSource("http", SourceSettings(config_file=str(tmp_path / "remote.yaml")))
    with serving() as other:
        other.files["/there.tar.gz"] = archive(x=b"1")

        def redirect(handler: Any) -> bool:
            handler.answer(302, b"", {"Location": f"{other.url}/there.tar.gz"})
            return True

        web.fault = redirect
        assert fetched(source, f"{web.url}/3.tar.gz", tmp_path / "v") == {"x": b"1"}
        assert all(headers["authorization"] == "Bearer hidden" for headers in web.headers)
        assert other.headers
        assert not any("authorization" in headers for headers in other.headers)
        source.close()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/x", ""])
def test_a_redirect_to_anything_else_is_refused(
    web: WebServer, source: WebSource, target: str
) -> None:
    def redirect(handler: Any) -> bool:
        handler.answer(302, b"", {"Location": target or f"{web.url}/3.tar.gz"})
        return True

    web.fault = redirect
    error = look(source, f"{web.url}/3.tar.gz")
    assert isinstance(error, ServingError)
    assert "redirects" in error.message


@pytest.mark.parametrize(
    "target", ["http://[x/", "http://h:port/", "http://h:99999/", "http://\x7f/"]
)
def test_a_redirect_to_what_is_no_url_is_an_error_of_its_model_alone(
    web: WebServer, source: WebSource, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    def redirect(handler: Any) -> bool:
        if handler.path.startswith("/good"):
            return False
        handler.answer(302, b"", {"Location": target})
        return True

    web.fault = redirect
    web.files["/good/3.tar.gz"] = archive(x=b"1")
    names = ("evil", "good")
    models = [MonitoredServable(name, f"{web.url}/{name}/3.tar.gz", Latest()) for name in names]
    found: dict[str, Any] = {servable.name: found for servable, found in source.find(models)}
    assert list(found["good"]) == [3]
    assert isinstance(found["evil"], ServingError)
    assert f"{web.url}/evil/3.tar.gz " in found["evil"].message
    assert "it is asked again in 1 s" in found["evil"].message
    assert caplog.records == []


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "br"])
def test_an_index_that_is_sent_compressed_is_refused_and_never_unpacked(
    web: WebServer, source: WebSource, coding: str
) -> None:
    def compressed(handler: Any) -> bool:
        bomb = gzip.compress(gzip.compress(bytes(1 << 20)))
        handler.answer(200, bomb, {"Content-Encoding": coding})
        return True

    web.fault = compressed
    error = look(source, f"{web.url}/digits/")
    assert isinstance(error, FailedPrecondition)
    assert f"/digits/index.json is sent compressed ({coding})" in error.message
    assert web.headers[-1]["accept-encoding"] == "identity"


def test_an_archive_that_a_server_calls_compressed_is_taken_as_it_is(
    web: WebServer, source: WebSource, tmp_path: Path
) -> None:
    content = archive(x=b"1")

    def called_so(handler: Any) -> bool:
        handler.answer(200, content, {"Content-Encoding": "x-gzip"})
        return True

    web.fault = called_so
    assert fetched(source, f"{web.url}/3.tar.gz", tmp_path / "v") == {"x": b"1"}


def test_what_is_no_archive_is_told_with_what_would_be(source: WebSource) -> None:
    error = look(source, "http://127.0.0.1:1/model.onnx")
    assert isinstance(error, InvalidArgument)
    assert "3.tar.gz" in (error.hint or "")


def below(web: WebServer, index: Any) -> dict[str, str]:
    web.files["/shelf/index.json"] = (
        index if isinstance(index, bytes) else json.dumps(index).encode()
    )
    source = WebSource("http", SourceSettings())
    try:
        return dict(source.models_below(f"{web.url}/shelf/", lambda _directory: False))
    finally:
        source.close()


def test_an_index_names_the_models_below_it(web: WebServer) -> None:
    assert below(web, {"models": {"a": "a/", "b": "b/2.tar.gz"}}) == {
        "a": f"{web.url}/shelf/a/",
        "b": f"{web.url}/shelf/b/2.tar.gz",
    }
    assert below(web, {"versions": {"1": "1.tar.gz"}}) == {}


@pytest.mark.parametrize(
    "path", ["../x/", "%2e%2e/x/", "a/../../x", "/x", "https://other/x", "a//b", "", 3, None]
)
def test_a_model_elsewhere_is_refused(web: WebServer, path: Any) -> None:
    with pytest.raises(InvalidArgument, match="which is no model below it"):
        below(web, {"models": {"a": path}})


@pytest.mark.parametrize("index", [b"no json", b"[]", b'{"models": ["a"]}', b"[" * 100_000])
def test_an_index_that_is_none_names_no_models(web: WebServer, index: bytes) -> None:
    with pytest.raises(FailedPrecondition, match="is no index"):
        below(web, index)
