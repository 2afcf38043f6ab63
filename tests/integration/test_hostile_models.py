"""An attack by models, for minutes: with one process and with two workers.

`SALVER_STRESS_SECONDS` says for how long, for each of the two. `attack` may be called by others.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

import pytest
import requests

from tests.hostile_graphs import DEADLY, HARMLESS
from tests.integration.serving import PATIENCE_S, Server
from tests.runtime_killers import FATAL, doubling, reserving

StartServer = Callable[..., Server]

SECONDS = float(os.environ.get("SALVER_STRESS_SECONDS", "120"))
LONGEST_WAIT_S = 10.0  # a machine with nothing else to do shows less than 2 s
MOST_GROWTH_BYTES = 400_000_000
CLEAR_EVERY_S = 20.0
DEATHS_UNTIL_QUARANTINE = 4  # both workers at once, and again before the third is counted


@dataclass
class Seen:
    """What an attack came to.

    Attributes:
        longest_wait_s: of a client of another model, from one answer to the next.
        versions: hostile versions that the server was given.
        clearances: how often the quarantine was cleared by hand.
        resident_bytes: of all its processes, before and after.
    """

    longest_wait_s: float = 0.0
    versions: int = 0
    clearances: int = 0
    resident_bytes: list[int] = field(default_factory=list)


def attack(server: Server, base: Path, seconds: float, *, kills: bool) -> Seen:
    """Give a server hostile versions of the model `hostile`, while the model `good` is asked.

    Args:
        server: looks at the disk each second.
        base: of its models.
        seconds: how long.
        kills: also ask the model `bad` for what ends the process that runs it.
    """
    seen = Seen()
    seen.resident_bytes.append(resident_bytes(server))
    until_s = time.monotonic() + seconds
    works: list[Callable[[], None]] = [lambda: _ask(server, seen, until_s)]
    if kills:
        works += [lambda: _kill(server, until_s)] * 4
        works.append(lambda: _clear(server, seen, until_s))
    with _at_once(works):
        files = itertools.cycle([each.make for each in DEADLY.values()] + [*HARMLESS.values()])
        for number in itertools.count(2):
            if time.monotonic() > until_s:
                break
            seen.versions += 1
            write(base / "hostile", number, next(files)())
            rmtree(base / "hostile" / str(number - 3), ignore_errors=True)
            threading.Event().wait(1.0)
    seen.resident_bytes.append(resident_bytes(server))
    return seen


def write(base: Path, version: int, file: bytes) -> None:
    (base / str(version)).mkdir(parents=True)
    (base / str(version) / "saved_model.pb").write_bytes(file)


def resident_bytes(server: Server) -> int:
    """Of a server and all processes below it; what they share counts at each."""
    total, left = 0, [server.process.pid]
    while left:
        process = Path(f"/proc/{left.pop()}")
        try:
            pages = int((process / "statm").read_text().split()[1])
            for thread in (process / "task").iterdir():
                left += map(int, (thread / "children").read_text().split())
        except OSError:
            continue  # it has ended
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def _status(server: Server, model: str, value: float) -> int:
    try:
        return requests.post(
            f"{server.url}/v1/models/{model}:predict",
            json={"instances": [value]},
            timeout=PATIENCE_S,
        ).status_code
    except requests.ConnectionError:
        return 0


def _ask(server: Server, seen: Seen, until_s: float) -> None:
    last_s = time.monotonic()
    while last_s < until_s:
        if _status(server, "good", 2.0) == 200:
            now_s = time.monotonic()
            seen.longest_wait_s = max(seen.longest_wait_s, now_s - last_s)
            last_s = now_s
        elif server.process.poll() is not None:
            return
        elif time.monotonic() - last_s > PATIENCE_S:
            seen.longest_wait_s = PATIENCE_S
            return


def _kill(server: Server, until_s: float) -> None:
    pause = threading.Event()
    while time.monotonic() < until_s:
        _status(server, "bad", FATAL)
        pause.wait(0.01)


def _clear(server: Server, seen: Seen, until_s: float) -> None:
    pause = threading.Event()
    url = f"http://{server.grpc_target}/admin/v1/models/bad:clear_quarantine"
    while time.monotonic() < until_s - CLEAR_EVERY_S:
        pause.wait(CLEAR_EVERY_S)
        try:
            requests.post(url, timeout=PATIENCE_S)
        except requests.ConnectionError:
            continue
        seen.clearances += 1


@contextmanager
def _at_once(works: list[Callable[[], None]]) -> Iterator[None]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


@pytest.mark.stress
@pytest.mark.parametrize("workers", [1, 2])
def test_hostile_models_harm_no_other(
    start_server: StartServer, tmp_path: Path, workers: int
) -> None:
    for name, make in (("good", doubling), ("bad", reserving), ("hostile", doubling)):
        write(tmp_path / name, 1, make())
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}\n'
        for name in ("good", "bad", "hostile")
    )
    (tmp_path / "models.config").write_text(f"model_config_list {{\n{entries}}}")
    server = start_server(
        f"--model_config_file={tmp_path / 'models.config'}",
        f"--workers={workers}",
        "--file_system_poll_wait_seconds=1",
    )
    for name in ("good", "bad", "hostile"):
        server.wait_until(name, 1)
    seen = attack(server, tmp_path, SECONDS, kills=workers > 1)
    print(f"workers={workers}: {seen}")  # noqa: T201 - what `pytest -s` is asked for
    assert server.process.poll() is None
    assert seen.longest_wait_s < LONGEST_WAIT_S
    before, after = seen.resident_bytes
    assert after - before < MOST_GROWTH_BYTES
    deaths = server.err.text().count("has ended and is replaced")
    assert deaths <= DEATHS_UNTIL_QUARANTINE * (seen.clearances + 1)
