"""Requests for all models, sent to all nodes in turn, as a simple balancer would send them."""

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

PAUSE_S = 0.02
REST_S = 2.0  # a node that did not answer gets nothing for so long
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Answered:
    """One request.

    Attributes:
        at_s: when its answer came, since the load began.
        host: that answered; empty where none did.
        model: that was asked for.
        seconds: that it took.
        error: what went wrong; empty for nothing.
    """

    at_s: float
    host: str
    model: str
    seconds: float
    error: str = ""


class Load:
    """Some threads, each with one request at a time."""

    def __init__(self, bodies: Mapping[str, Any], port: int, threads: int = 4) -> None:
        self.answered: deque[Answered] = deque()
        self.retried = 0
        self.cut_off = 0
        self.started_s = time.monotonic()
        self._port = port
        self._models = itertools.cycle(bodies.items())
        self._hosts: Sequence[str] = ()
        self._rests_until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def start(self, hosts: Sequence[str]) -> None:
        self._hosts = tuple(hosts)
        self.started_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    def add(self, host: str) -> None:
        """The balancer learns of another node; that one goes away it finds out by itself."""
        self._hosts = (*self._hosts, host)

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    @property
    def failed(self) -> list[Answered]:
        return [each for each in list(self.answered) if each.error]

    def rates(self, last_s: float) -> Counter[str]:
        """Answers of each node in the last seconds."""
        since_s = self.elapsed_s - last_s
        counted: Counter[str] = Counter()
        for each in reversed(list(self.answered)):
            if each.at_s < since_s:
                break
            counted[each.host] += 1
        return counted

    def _run(self) -> None:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            turn = 0
            while not self._is_over.wait(PAUSE_S):
                with self._lock:
                    model, body = next(self._models)
                turn += 1
                self.answered.append(self._ask(client, turn, model, body))

    def _ask(self, client: httpx.Client, turn: int, model: str, body: Any) -> Answered:
        begun_s = time.monotonic()
        error = "no node is left"
        for host in self._in_turn(turn):
            try:
                answer = client.post(
                    f"http://{host}:{self._port}/v1/models/{model}:predict", json=body
                )
            except httpx.ConnectError:  # it has not begun: another node may be asked
                self._rests_until[host] = time.monotonic() + REST_S
                self.retried += 1
                continue
            except httpx.HTTPError as problem:  # it was cut off: it does no harm to ask again
                self._rests_until[host] = time.monotonic() + REST_S
                self.cut_off += 1
                error = f"{host}: {problem!r}"
                continue
            seconds = time.monotonic() - begun_s
            if answer.status_code == 502:  # cut off likewise, behind the node that was asked
                self.cut_off += 1
                error = f"{host}: {answer.text}"
                continue
            said = (
                "" if answer.status_code == 200 else f"{host}: {answer.status_code} {answer.text}"
            )
            return Answered(self.elapsed_s, host, model, seconds, said)
        return Answered(self.elapsed_s, "", model, time.monotonic() - begun_s, error)

    def _in_turn(self, turn: int) -> list[str]:
        hosts, now_s = self._hosts, time.monotonic()
        rotated = [hosts[(turn + number) % len(hosts)] for number in range(len(hosts))]
        awake = [host for host in rotated if self._rests_until.get(host, 0.0) <= now_s]
        return awake or rotated
