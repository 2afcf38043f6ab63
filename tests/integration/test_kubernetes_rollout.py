"""Pods are replaced under load, behind a balancer, and no request is lost.

The Deployment of `deploy/kubernetes` is rolled as Kubernetes does it: a new pod is ready before an
old one is deleted; the old one gets SIGTERM at once, and requests until all know that it is going.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from copy import deepcopy
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration import manifests as of
from tests.integration.balancer import KINDS, Balancer, balancing
from tests.integration.grpc_clients.plain import Client, connected
from tests.integration.kubelet import Kubelet, Pod
from tests.integration.serving import PATIENCE_S, eventually

SPREADS_S = 1.0  # until all know that a pod is going
DELAY = "--drain_delay_seconds=3"  # three times as long, and not ten as in the manifest
BODY = b'{"instances": [2.0]}'
REPLICAS = 2
CLIENTS = 2  # of each kind


class Load:
    """Clients that ask one thing after the other, each over a connection that it keeps.

    Attributes:
        answered: how many requests were, by kind of client.
        failed: what became of the others.
    """

    def __init__(self, balancer: Balancer) -> None:
        self.answered = dict.fromkeys(KINDS, 0)
        self.failed: list[str] = []
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._rest if kind.startswith("rest") else self._grpc, args=each
            )
            for kind in KINDS
            for each in [(kind, balancer.ports[kind])] * CLIENTS
        ]
        for thread in self._threads:
            thread.start()

    def wait_for_more(self) -> None:
        """Wait until each kind has had further answers, or one of them a failure."""
        before = dict(self.answered)

        def has_more() -> bool:
            return bool(self.failed) or all(self.answered[k] > n + 10 for k, n in before.items())

        eventually("requests are answered", has_more)

    def stop(self) -> None:
        """End all clients, when they have their answers."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _count(self, kind: str, problem: str | None) -> None:
        with self._lock:
            if problem is None:
                self.answered[kind] += 1
            else:
                self.failed.append(f"{kind}: {problem}")

    def _rest(self, kind: str, port: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        while not self._is_over.wait(0.005):
            self._count(kind, _rest_problem(connection))
        connection.close()

    def _grpc(self, kind: str, port: int) -> None:
        with connected(f"127.0.0.1:{port}") as client:
            while not self._is_over.wait(0.005):
                self._count(kind, _grpc_problem(client))


def _rest_problem(connection: HTTPConnection) -> str | None:
    try:
        connection.request("POST", "/v1/models/digits:predict", BODY, {"Host": "salver"})
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, HTTPException) as error:
        connection.close()
        return repr(error)
    return None if answer.status == 200 else f"{answer.status} {said!r}"


def _grpc_problem(client: Client) -> str | None:
    try:
        answer = client.predict("digits", {"x": [2.0]}, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return f"{error.code()} {error.details()}"
    return None if answer == {"y": [3.0]} else str(answer)


class Fleet:
    """The pods of a Deployment, and the balancer that knows of them a little late."""

    def __init__(self, spec: Any, shelf: Path, balancer: Balancer, *, flags: list[str]) -> None:
        config = of.one("base/configmap.yaml", "ConfigMap")
        self._spec = spec
        self._more: Mapping[str, Any] = {
            "configs": {config["metadata"]["name"]: config["data"]},
            "claims": {"models": shelf},
            "more": flags,
        }
        self._balancer = balancer
        self._all: list[Kubelet] = []
        self._serving: list[Kubelet] = []
        self._ends: list[threading.Thread] = []
        self.ended_well: list[bool] = []

    def begin(self) -> None:
        """Have all the pods that there should be."""
        fresh = [self._start() for _ in range(REPLICAS)]
        for each in fresh:
            each.wait_until_ready()

    def roll(self, load: Load) -> None:
        """Replace every pod, one after the other, as with maxSurge 1 and maxUnavailable 0."""
        for old in tuple(self._serving):
            self._start().wait_until_ready()
            load.wait_for_more()
            self._delete(old)
        for thread in self._ends:
            thread.join()
        load.wait_for_more()

    def liveness(self) -> list[str]:
        """What liveness probes found."""
        return [each.has_failed for each in self._all if each.has_failed]

    def close(self) -> None:
        """End all pods."""
        for thread in self._ends:
            thread.join()
        for each in self._all:
            each.stop_probing()
            each.pod.close()

    def _start(self) -> Kubelet:
        made = Kubelet(Pod(self._spec, **self._more), self._on_ready, pace=0.05)
        self._all.append(made)
        self._serving.append(made)
        return made

    def _on_ready(self, pod: Pod, is_ready: bool) -> None:
        if is_ready:
            self._balancer.add(pod.server)

    def _delete(self, old: Kubelet) -> None:
        """Tell the pod and the balancer at once; the balancer hears of it later."""
        self._serving.remove(old)
        late = threading.Timer(SPREADS_S, lambda: self._balancer.remove(old.pod.server))
        end = threading.Thread(target=lambda: self.ended_well.append(old.delete()))
        for thread in (late, end):
            thread.start()
            self._ends.append(thread)


@pytest.fixture(scope="module")
def shelf(model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shelf")
    shutil.copytree(model_path("onnx_half_plus_two"), directory / "digits")
    return directory


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="haproxy-")
        directory = stack.enter_context(place)
        yield stack.enter_context(balancing(Path(directory)))


def rolled(spec: Any, shelf: Path, balancer: Balancer, *flags: str) -> tuple[Load, Fleet]:
    """What became of the requests while every pod was replaced."""
    fleet = Fleet(spec, shelf, balancer, flags=list(flags))
    try:
        fleet.begin()
        load = Load(balancer)
        try:
            fleet.roll(load)
        finally:
            load.stop()
    finally:
        fleet.close()
    return load, fleet


@pytest.fixture
def spec() -> Any:
    return deepcopy(of.one("base/deployment.yaml", "Deployment")["spec"]["template"]["spec"])


def test_a_rolling_update_loses_no_request(spec: Any, shelf: Path, balancer: Balancer) -> None:
    load, fleet = rolled(spec, shelf, balancer, DELAY)
    assert load.failed == []
    assert min(load.answered.values()) > 100, load.answered
    assert fleet.ended_well == [True] * REPLICAS
    assert fleet.liveness() == []


@pytest.mark.stress
def test_a_hook_that_sleeps_before_the_signal_loses_none_either(
    spec: Any, shelf: Path, balancer: Balancer
) -> None:
    spec["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["/bin/sleep", "2"]}}}
    load, fleet = rolled(spec, shelf, balancer, "--drain_delay_seconds=1", "--workers=2")
    assert load.failed == []
    assert fleet.ended_well == [True] * REPLICAS


@pytest.mark.stress
def test_what_goes_at_once_loses_some(spec: Any, shelf: Path, balancer: Balancer) -> None:
    """So the two above would see it, and the delay is needed."""
    load, _ = rolled(spec, shelf, balancer, "--drain_delay_seconds=0")
    assert load.failed
