"""What hostile clients, bodies and configurations do to a server, one round at a time.

Each round says which answers are right; anything else is a fault of the server.
"""

import gzip
import http.client
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc
import numpy as np

from tests.integration.grpc_clients.plain import (
    METHODS,
    UNLIMITED,
    connected,
    message,
    model_spec,
    predict_request,
)
from tests.integration.serving import PATIENCE_S, Server

__all__ = ["Attacker", "BodyAttacker", "ClientAttacker", "ConfigAttacker", "Watcher", "tree_bytes"]

MIB: Final = 1 << 20
AT_ONCE: Final = 8
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
REFUSALS: Final = (400, 413, 431, 503, 504)
PREDICT: Final = "/v1/models/half_plus_two:predict"
STRINGS: Final = "/v1/models/strings:predict"


def _zipped(*parts: bytes) -> bytes:
    return gzip.compress(b"".join(parts), 6)


def _json(inside: bytes) -> bytes:
    return b'{"instances":[' + inside + b"]}"


@dataclass
class Attacker:
    """One kind of attack, again and again until it is told to stop."""

    server: Server
    dice: Random = field(default_factory=lambda: Random(11))
    rounds: int = 0

    def play(self, stop: threading.Event) -> None:
        """Rounds until `stop`. Raises what a round has found."""
        kinds = [getattr(self, name) for name in dir(self) if name.startswith("attack_")]
        while not stop.is_set():
            for kind in self.dice.sample(kinds, len(kinds)):
                if stop.is_set():
                    return
                try:
                    kind()
                except BaseException as error:
                    error.add_note(f"while it played {kind.__qualname__}")
                    raise
                self.rounds += 1

    def at_once(self, what: Callable[[], Any], count: int = AT_ONCE) -> list[Any]:
        with ThreadPoolExecutor(count) as clients:
            return [each.result() for each in [clients.submit(what) for _ in range(count)]]


class BodyAttacker(Attacker):
    """Little that becomes much, and much that is cheap to send."""

    def _post(self, body: bytes, path: str = PREDICT, encoding: str = "") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE_S)
        try:
            head = {"Content-Encoding": encoding} if encoding else {}
            connection.request("POST", path, body, head)
            answer = connection.getresponse()
            while answer.read(MIB):
                pass
            return answer.status
        finally:
            connection.close()

    def _expect(self, body: bytes, *statuses: int, path: str = PREDICT, encoding: str = "") -> None:
        for got in self.at_once(lambda: self._post(body, path, encoding)):
            assert got in (*statuses, 503, 504), got

    def attack_blanks(self) -> None:
        self._expect(_zipped(b" " * (95 * MIB), b"{}"), 400, encoding="gzip")

    def attack_zeros(self) -> None:
        self._expect(_zipped(bytes(95 * MIB)), 400, 413, encoding="gzip")

    def attack_digits(self) -> None:
        self._expect(_zipped(_json(b"1" * (95 * MIB))), 400, encoding="gzip")

    def attack_text(self) -> None:
        self._expect(_zipped(_json(b'"' + b"a" * (95 * MIB) + b'"')), 400, encoding="gzip")

    def attack_brackets(self) -> None:
        self._expect(_zipped(b'{"instances":', b"[" * (95 * MIB)), 400, encoding="gzip")

    def attack_numbers_and_a_fault(self) -> None:
        self._expect(_zipped(_json(b"1," * (16 * MIB) + b"x")), 400, encoding="gzip")

    def attack_empty_strings(self) -> None:
        body = _json(b'"",' * 1_000_000 + b'""')
        self._expect(body, 200, path=STRINGS)

    def attack_empty_objects(self) -> None:
        self._expect(_zipped(_json(b"{}," * (8 * MIB) + b"{}")), 400, encoding="gzip")

    def attack_bombs_in_bombs(self) -> None:
        self._expect(_zipped(gzip.compress(bytes(95 * MIB))), 400, encoding="gzip")

    def attack_empty_members(self) -> None:
        self._expect(gzip.compress(b"") * 50_000 + b"?", 400, encoding="gzip")

    def attack_grpc_zeros(self) -> None:
        """The library sends them compressed a thousandfold."""
        inputs = {"x": np.zeros(24 * MIB, np.float32)}
        request = predict_request(model_spec("none"), inputs).SerializeToString()
        for code in self._calls(request, grpc.Compression.Gzip):
            assert code in ("NOT_FOUND", "RESOURCE_EXHAUSTED"), code

    def attack_grpc_strings(self) -> None:
        """Two bytes each, in an order that is not the usual one."""
        tensor = b"\x12\x06\x12\x04\x08\x80\x80\x40" + b"\x42\x00" * MIB + b"\x08\x07"
        request = message("PredictRequest", model_spec=model_spec("strings")).SerializeToString()
        for code in self._calls(request + _map_entry(b"x", tensor)):
            assert code in ("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), code

    def _calls(self, request: bytes, compression: Any = None) -> list[str]:
        path, _ = METHODS["Predict"]
        target = self.server.grpc_target
        with grpc.insecure_channel(target, options=UNLIMITED, compression=compression) as channel:
            method = channel.unary_unary(path)

            def call() -> str:
                try:
                    method(request, timeout=PATIENCE_S)
                except grpc.RpcError as error:
                    return str(error.code().name)
                return "OK"

            return self.at_once(call)


def _map_entry(key: bytes, value: bytes) -> bytes:
    def of(number: int, data: bytes) -> bytes:
        size, length = len(data), bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        length.append(size)
        return bytes([number << 3 | 2]) + bytes(length) + data

    return of(2, of(1, key) + of(2, value))


class ClientAttacker(Attacker):
    """Clients that leave, dawdle, never begin or never read."""

    def _request(self, path: str = PREDICT, body: bytes = b'{"instances":[1.0]}') -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def _waits_until_closed(self, client: socket.socket) -> bytes:
        got = b""
        with suppress(ConnectionError, TimeoutError):
            while piece := client.recv(65536):
                got += piece
        return got

    def attack_silence(self) -> None:
        """Connections on which nothing comes, and that are left open for a while."""
        clients = [self.server.connect() for _ in range(50)]
        time.sleep(self.dice.choice((0.1, 1.0)))
        for client in clients:
            client.close()

    def attack_half_requests(self) -> None:
        clients = [self.server.connect() for _ in range(20)]
        for client in clients:
            request = self._request()
            client.sendall(request[: self.dice.randrange(1, len(request))])
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()

    def attack_promises(self) -> None:
        """Bodies of a gigabyte that never come."""
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {900 * MIB}\r\n\r\n"
        clients = [self.server.connect() for _ in range(20)]
        for client in clients:
            with suppress(ConnectionError):
                client.sendall(head.encode() + bytes(MIB))
        time.sleep(0.2)
        for client in clients:
            client.close()

    def attack_resets(self) -> None:
        for _ in range(50):
            with self.server.connect() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.sendall(self._request() * 10)

    def attack_unread_answers(self) -> None:
        """Answers of 20 MiB each, of which the client reads a little and then leaves."""
        body = b'{"instances":[' + b"1.5," * (2 * MIB) + b"1.5]}"
        clients = [self.server.connect() for _ in range(3)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with suppress(ConnectionError):
                client.sendall(self._request(body=body))
        for client in clients:
            with suppress(ConnectionError):
                client.recv(4096)
        time.sleep(0.3)
        for client in clients:
            client.close()

    def attack_rubbish(self) -> None:
        for _ in range(20):
            with self.server.connect() as client, suppress(ConnectionError):
                client.settimeout(5.0)
                client.sendall(self.dice.randbytes(self.dice.randrange(1, 2000)) + b"\r\n\r\n")
                client.shutdown(socket.SHUT_WR)
                answer = self._waits_until_closed(client)
                assert not answer.startswith(b"HTTP/1.1 5"), answer[:200]

    def attack_no_host_or_two(self) -> None:
        for hosts in (b"", b"Host: a\r\nHost: b\r\n"):
            with self.server.connect() as client:
                client.sendall(
                    b"GET /v1/models HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n"
                )
                assert self._waits_until_closed(client).startswith(b"HTTP/1.1 400")

    def attack_deep_documents(self) -> None:
        for depth in (70, 1000, 100_000):
            body = b'{"instances":' + b"[" * depth + b"1" + b"]" * depth + b"}"
            with self.server.connect() as client:
                client.sendall(self._request(body=body))
                assert client.recv(4096).startswith(b"HTTP/1.1 400"), depth

    def attack_cancelled_calls(self) -> None:
        request = predict_request(model_spec("slow"), {"millis": np.array([200.0], np.float32)})
        with connected(self.server.grpc_target) as client:
            calls = [client.start("Predict", request) for _ in range(64)]
            time.sleep(self.dice.choice((0.0, 0.01, 0.1)))
            for call in calls:
                call.cancel()

    def attack_slow_calls(self) -> None:
        """Of one model, which must keep no other from answering."""
        body = b'{"instances":[300.0]}'

        def call() -> int:
            with self.server.connect() as client:
                client.sendall(self._request("/v1/models/slow:predict", body))
                return int(client.recv(4096).split(b" ")[1])

        for status in self.at_once(call, 32):
            assert status in (200, *REFUSALS), status

    def attack_frames(self) -> None:
        """HTTP/2: streams that are opened and reset, and frames that move nothing."""
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        ping = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8)
        target = ("127.0.0.1", self.server.grpc_port)
        with socket.create_connection(target, PATIENCE_S) as client, suppress(ConnectionError):
            client.sendall(preface + ping * 5000)
        with socket.create_connection(target, PATIENCE_S) as client, suppress(ConnectionError):
            client.sendall(preface)
            for number in range(1, 4001, 2):
                stream = struct.pack(">I", number)
                client.sendall(
                    bytes([0, 0, 3, 1, 5]) + stream + b"\x82\x84\x86"  # the head of a request
                    + bytes([0, 0, 4, 3, 0]) + stream + struct.pack(">I", 8)  # cancelled
                )  # fmt: skip


@dataclass
class ConfigAttacker(Attacker):
    """A configuration file that is replaced by what is none, and reloads nobody waits for."""

    config: Path = Path()
    hostile_models: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._good = self.config.read_text()

    def _put(self, make: Callable[[Path], object]) -> None:
        new = self.config.with_suffix(".new")
        with suppress(FileNotFoundError):
            new.rmdir() if new.is_dir() and not new.is_symlink() else new.unlink()
        make(new)
        if self.config.is_dir() and not self.config.is_symlink():
            self.config.rmdir()
        if new.is_dir() and not new.is_symlink():
            self.config.unlink()
        new.rename(self.config)
        time.sleep(self.dice.choice((0.1, 1.5)))

    def _put_back(self) -> None:
        self._put(lambda new: new.write_text(self._good))

    def attack_pipe(self) -> None:
        self._put(os.mkfifo)
        self._put_back()

    def attack_directory(self) -> None:
        self._put(Path.mkdir)
        self._put_back()

    def attack_device(self) -> None:
        for device in ("/dev/zero", "/dev/full", "/dev/null"):
            self._put(lambda new, device=device: new.symlink_to(device))  # type: ignore[misc]
        self._put_back()

    def attack_socket(self) -> None:
        def listen(new: Path) -> None:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(new))

        self._put(listen)
        self._put_back()

    def attack_itself(self) -> None:
        self._put(lambda new: new.symlink_to(self.config.name))
        self._put_back()

    def attack_rubbish(self) -> None:
        self._put(lambda new: new.write_bytes(self.dice.randbytes(100_000)))
        self._put(lambda new: new.write_text("model_config_list {" * 10_000))
        self._put(lambda new: new.write_text(self._good[: len(self._good) // 2]))
        self._put_back()

    def attack_much(self) -> None:
        self._put(lambda new: new.write_bytes(b"# nothing\n" * (20 * MIB // 10)))
        self._put_back()

    def attack_abandoned_reload(self) -> None:
        """Of a base path without a version, by a caller who does not stay."""
        config = message("ReloadConfigRequest")
        listed = config.config.model_config_list.config
        for model in self._models():
            listed.add(name=model["name"], base_path=model["path"], model_platform="tensorflow")
        empty = self.config.parent / "empty"
        empty.mkdir(exist_ok=True)
        listed.add(name="nothing", base_path=str(empty), model_platform="tensorflow")
        with connected(self.server.grpc_target) as client:
            calls = [
                client.start("HandleReloadConfigRequest", config, timeout=0.2) for _ in range(4)
            ]
            for call in calls:
                with suppress(grpc.RpcError):
                    call.result()
        self._put(lambda new: new.write_text(self._good + "\n# again\n"))
        self._put_back()

    def attack_hostile_models(self) -> None:
        """Graphs that would end TensorFlow's process: a few at a time, beside the good ones."""
        if not self.hostile_models:
            return
        few = self.dice.sample(sorted(self.hostile_models), min(5, len(self.hostile_models)))
        entries = "".join(
            f'config {{ name: "{name}" base_path: "{self.hostile_models[name]}"'
            ' model_platform: "tensorflow" }\n'
            for name in few
        )
        body, end = self._good.rstrip().removesuffix("}"), "}\n"
        self._put(lambda new: new.write_text(body + entries + end))
        time.sleep(1.5)
        self._put_back()

    def _models(self) -> Iterable[dict[str, str]]:
        for line in self._good.splitlines():
            if "base_path" in line:
                parts = line.split('"')
                yield {"name": parts[1], "path": parts[3]}


@dataclass
class Watcher:
    """A client of a small model who does nothing wrong, and notes how long it waits.

    Attributes:
        waits_s: for each answer, from the first try.
        may_lose: whether a connection may break, because a worker died that served it.
    """

    server: Server
    may_lose: bool
    waits_s: list[float] = field(default_factory=list)
    lost: int = 0

    def watch(self, stop: threading.Event) -> None:
        while not stop.is_set():
            begun = time.monotonic()
            while not self._is_answered():
                self.lost += 1
                assert self.may_lose, "a connection broke"
                assert time.monotonic() - begun < PATIENCE_S
                time.sleep(0.01)
            self.waits_s.append(time.monotonic() - begun)
            stop.wait(0.02)

    def _is_answered(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE_S)
        try:
            connection.request("POST", PREDICT, b'{"instances":[2.0]}')
            answer = connection.getresponse()
            body = answer.read()
        except (ConnectionError, http.client.RemoteDisconnected):
            return False
        finally:
            connection.close()
        assert answer.status == 200, (answer.status, body)
        assert json.loads(body)["predictions"] == [3.0]
        return True


def tree_bytes(pid: int) -> int:
    """The memory that a process and its children hold, what they share counted once."""
    total = 0
    for each in [pid, *_children(pid)]:
        with suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_children(child)]
    return found
