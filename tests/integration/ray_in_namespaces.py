"""Nodes of Ray on machines that are network namespaces: each with files of its own for Ray."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from salver.cluster.on_ray.head import reaches
from tests.integration.clusters import Machines, machines
from tests.integration.namespaces import Network, inside
from tests.integration.serving import eventually

__all__ = ["RayInNamespaces", "separate_machines"]

_PORT: Final = 6379
_START_S: Final = 180.0
# Each `ip netns exec` has mounts of its own, so that others do not see this one.
_WITH_OWN_FILES: Final = 'mount --bind "$0" "$1" && shift && exec "$@"'


class RayInNamespaces:
    """Some `Nodes`, which are what `ray start` makes on so many machines."""

    def __init__(self, network: Network, environment: Mapping[str, str]) -> None:
        self.address = ""
        self._network = network
        self._environment = dict(environment)
        self._files = Path(tempfile.mkdtemp(prefix="ray-"))  # short: it has sockets
        self._started: list[subprocess.Popen[bytes]] = []

    def add(self, host: str) -> None:
        """See `Nodes`."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=2"]
        command += [f"--node-ip-address={host}", "--disable-usage-stats"]
        if not self.address:
            self.address = f"{host}:{_PORT}"
            shared = self._files / "head"
            shared.mkdir()
            command += ["--head", f"--port={_PORT}", "--include-dashboard=false"]
            command += [f"--temp-dir={shared}"]
        else:
            own = Path(tempfile.mkdtemp(dir=self._files))
            command += [f"--address={self.address}"]
            command = ["sh", "-c", _WITH_OWN_FILES, str(own), str(self._files / "head"), *command]
        self._run(host, command)
        if self.address.startswith(f"{host}:"):
            eventually("Ray's head answers", lambda: reaches(self.address), within_s=_START_S)

    def _run(self, host: str, command: Sequence[str]) -> None:
        with (self._files / f"{host}.log").open("ab") as log:
            started = subprocess.Popen(
                ["ip", "netns", "exec", self._network.namespace(host), *command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._started.append(started)

    def kill(self, host: str) -> None:
        """See `Nodes`; the server there ends too."""
        self._network.kill(host)

    def close(self) -> None:
        """See `Nodes`."""
        self._network.kill_all()
        for started in self._started:
            started.kill()
            started.wait()
        shutil.rmtree(self._files, ignore_errors=True)


@contextmanager
def separate_machines(
    directory: Path, network: Network, hosts: Sequence[str]
) -> Iterator[Machines]:
    """Nodes of Ray on machines of a network; this thread is on that of the head meanwhile."""
    with (
        inside(network.namespace(hosts[0])),
        machines(directory, hosts, partial(RayInNamespaces, network)) as made,
    ):
        yield made
