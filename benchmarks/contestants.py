"""The servers of the suite: ours, bare yardsticks and others, each started with one task."""

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grpc
from load import Server, h2load, wrk
from processes import Child, free_ports, until_answered
from tasks import NAME, PREDICT, REST_PATH, Task
from turns import Lane, Sample

HERE = Path(__file__).resolve().parent
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
OURS, YARDSTICK, OTHER = 0, 1, 2  # kinds, by which charts are coloured


@dataclass(frozen=True)
class Running:
    """A server that has answered.

    Attributes:
        rest_url: to post the body of the task to; empty where it has no REST.
        grpc_port: 0 where it has no gRPC.
        answer_bytes: of the message with which it answers the task.
    """

    child: Child
    task: Task
    rest_url: str = ""
    grpc_port: int = 0
    answer_bytes: int = 0
    grpc_host: str = "127.0.0.1"

    @property
    def grpc_address(self) -> str:
        return f"{self.grpc_host}:{self.grpc_port}"

    def rest(self, connections: int, scratch: Path) -> Lane:
        """Load by wrk."""
        body = scratch / f"body-{len(self.task.body)}.json"
        body.write_bytes(self.task.body)

        def lane(seconds: float) -> Sample:
            before_s = self.child.cpu_s()
            seen = wrk(self.rest_url, body, connections, max(1, round(seconds)), scratch)
            return self._sample(seen.rate, seen.answers, seen.refused, before_s, seen.p50_ms,
                                seen.p99_ms)  # fmt: skip

        return lane

    def grpc(self, connections: int, calls_each: int, scratch: Path) -> Lane:
        """Load by h2load; without percentiles."""

        def lane(seconds: float) -> Sample:
            before_s = self.child.cpu_s()
            url = f"http://{self.grpc_address}{PREDICT}"
            seen = h2load(
                *(url, self.task.message, self.answer_bytes, connections, max(1, round(seconds))),
                scratch,
                calls_each=calls_each,
                is_timed=False,
            )
            return self._sample(seen.rate, seen.answers, seen.refused, before_s)

        return lane

    def _sample(
        self,
        rate: float,
        answers: int,
        refused: int,
        before_s: float,
        p50_ms: float = float("nan"),
        p99_ms: float = float("nan"),
    ) -> Sample:
        if refused or not answers:
            raise RuntimeError(
                f"{refused} of {answers} answers were not good; the log:\n{self.child.tail()}"
            )
        return Sample(rate, 1000 * (self.child.cpu_s() - before_s) / answers, p50_ms, p99_ms)

    def client(self) -> Lane:
        """One grpcio client, which calls again when it has its answer."""

        def lane(seconds: float) -> Sample:
            times = []
            with grpc.insecure_channel(self.grpc_address, options=UNLIMITED) as channel:
                call = channel.unary_unary(PREDICT)
                for _ in range(50):
                    call(self.task.message)
                begun_s = time.perf_counter()
                while (now_s := time.perf_counter()) < begun_s + seconds:
                    call(self.task.message)
                    times.append(time.perf_counter() - now_s)
            times.sort()
            middle, late = (
                times[len(times) // 2],
                times[min(len(times) * 99 // 100, len(times) - 1)],
            )
            return Sample(len(times) / seconds, p50_ms=middle * 1e3, p99_ms=late * 1e3)

        return lane


Start = Callable[[Task, Path], Running]


def until_grpc_answered(child: Child, address: str, task: Task) -> int:
    """How many bytes the first good answer has."""
    with grpc.insecure_channel(address, options=UNLIMITED) as channel:
        try:
            call = channel.unary_unary(PREDICT)
            return len(call(task.message, timeout=60, wait_for_ready=True))
        except grpc.RpcError as error:
            raise RuntimeError(f"no good answer: {error}; its log ends:\n{child.tail()}") from error


def salver(*flags: str, name: str = "salver") -> Start:
    """Our own server, with REST and gRPC."""

    def start(task: Task, scratch: Path) -> Running:
        base = (f"--model_name={NAME}", f"--model_base_path={task.base_path}")
        server = Server([*base, *flags], scratch / f"{name}.log")
        with _or_stop(server):
            server.until_answered(REST_PATH, task.body)
            address = f"127.0.0.1:{server.grpc_port}"
            answer_bytes = until_grpc_answered(server, address, task)
        url = f"http://127.0.0.1:{server.rest_port}{REST_PATH}"
        return Running(server, task, url, server.grpc_port, answer_bytes)

    return start


def bare_loop(task: Task, scratch: Path) -> Running:
    (port,) = free_ports(1)
    command = [sys.executable, str(HERE / "bare_loop.py"), str(task.version), f"--port={port}"]
    return _over_rest(command, task, f"http://127.0.0.1:{port}{REST_PATH}", scratch / "bare.log")


def echo(script: str, answer_bytes: int) -> Start:
    """One of the echoes of gRPC, which answers as many bytes as it is told."""

    def start(task: Task, scratch: Path) -> Running:
        (port,) = free_ports(1)
        more = (f"--port={port}", f"--answer-bytes={answer_bytes}")
        child = Child([sys.executable, str(HERE / script), *more], scratch / f"{script}.log")
        with _or_stop(child):
            until_grpc_answered(child, f"127.0.0.1:{port}", task)
        return Running(child, task, "", port, answer_bytes)

    return start


def _over_rest(
    command: Sequence[str],
    task: Task,
    url: str,
    log: Path,
    more: Mapping[str, str] | None = None,
) -> Running:
    child = Child(command, log, more)
    with _or_stop(child):
        until_answered(child, url, task.body)
    return Running(child, task, url)


@contextmanager
def _or_stop(child: Child) -> Iterator[None]:
    """End the child when it does not come up."""
    try:
        yield
    except BaseException:
        child.stop()
        raise


def peer(script: str, python: Path, path: str, run: str, package_root: Path) -> Start:
    """Another server of Python, of a script here, in an environment of its own."""

    def start(task: Task, scratch: Path) -> Running:
        (port,) = free_ports(1)
        more = {
            "PEER_VERSION": str(task.version),
            "PEER_RUN": run,
            "PYTHONPATH": str(package_root),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        command = [str(python), str(HERE / script), "--port", str(port)]
        log = scratch / f"{script}-{run}.log"
        return _over_rest(command, task, f"http://127.0.0.1:{port}{path}", log, more)

    return start


@dataclass(frozen=True)
class Extra:
    """A server given on the command line.

    Attributes:
        command: in which `{model}` stands for the base path of the case's model, `{version}` for
            the directory of its only version, `{rest_port}` and `{grpc_port}` for free ports.
        url: to which the case's REST body is posted; may hold `{rest_port}`.
        grpc: host and port; may hold `{grpc_port}`.
    """

    name: str
    command: str = ""
    url: str = ""
    grpc: str = ""

    @property
    def takes_models(self) -> bool:
        """Else it serves half_plus_two, and no other case can ask it anything."""
        return "{model}" in self.command or "{version}" in self.command

    def start(self, task: Task, scratch: Path) -> Running:
        rest_port, grpc_port = free_ports(2)
        places = {
            "{model}": str(task.base_path),
            "{version}": str(task.version),
            "{rest_port}": str(rest_port),
            "{grpc_port}": str(grpc_port),
        }
        command = [filled(word, places) for word in shlex.split(self.command)]
        url, address = filled(self.url, places), filled(self.grpc, places)
        child = Child(command, scratch / f"extra-{self.name}.log")
        answer_bytes, port, host = 0, 0, ""
        with _or_stop(child):
            if url:
                until_answered(child, url, task.body)
            if address:
                answer_bytes = until_grpc_answered(child, address, task)
                host, _, text = address.rpartition(":")
                port = int(text)
        return Running(child, task, url, port, answer_bytes, host or "127.0.0.1")


def filled(text: str, places: Mapping[str, str]) -> str:
    for place, value in places.items():
        text = text.replace(place, value)
    return text


@cache
def has_flag(name: str) -> bool:
    """Whether our server, as it is here, knows a flag."""
    from salver.config.options import FLAGS

    return any(flag.name == name for flag in FLAGS)


def missing_tools(names: Sequence[str]) -> list[str]:
    """Debian packages to install."""
    packages = {"wrk": "wrk", "h2load": "nghttp2-client"}
    return [packages[name] for name in names if shutil.which(name) is None]
