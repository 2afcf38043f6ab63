"""Everything that hurts a server, all at once and for long: memory and waits stay bounded.

`SALVER_STRESS_SECONDS` says for how long, with one worker and with two each.
"""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.hostile_graphs import DEADLY
from tests.integration.attacks import (
    Attacker,
    BodyAttacker,
    ClientAttacker,
    ConfigAttacker,
    Watcher,
    tree_bytes,
)
from tests.integration.serving import Server, eventually

SECONDS: Final = float(os.environ.get("SALVER_STRESS_SECONDS", "600"))
MIB: Final = 1 << 20
IN_FLIGHT_BYTES: Final = 1024 * MIB
MOST_BYTES: Final = 3 * IN_FLIGHT_BYTES  # over what it held before
LEFT_BYTES: Final = 512 * MIB  # of them when the attack is over
LONGEST_WAIT_S: Final = 5.0  # others' on a busy machine; what it was is printed


@pytest.fixture
def config(all_models_config: Path, tmp_path: Path) -> Path:
    """A configuration file that may be spoilt."""
    return Path(shutil.copy(all_models_config, tmp_path))


@pytest.fixture
def hostile_models(tmp_path: Path) -> dict[str, Path]:
    """By name the base paths of graphs that would end TensorFlow's process, or take it long."""
    paths = {}
    for number, (title, deadly) in enumerate(DEADLY.items()):
        base = tmp_path / f"hostile_{number}"
        version = base / "1"
        version.mkdir(parents=True)
        (version / "saved_model.pb").write_bytes(deadly.make())
        (base / "title.txt").write_text(title)
        paths[base.name] = base
    return paths


@pytest.mark.stress
@pytest.mark.parametrize("workers", [1, 2])
def test_an_attack_from_all_sides_is_survived(
    workers: int,
    config: Path,
    hostile_models: dict[str, Path],
    start_server: Callable[..., Server],
) -> None:
    server = start_server(
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models",
        "--file_system_poll_wait_seconds=1",
        f"--max_memory_in_flight_bytes={IN_FLIGHT_BYTES}",
        f"--workers={workers}",
        "--max_inflate_ratio=2000",  # zlib makes less of anything: what inflates is read
    )
    before = tree_bytes(server.process.pid)
    attackers: list[Attacker] = [
        BodyAttacker(server),
        ClientAttacker(server),
        ConfigAttacker(server, config=config, hostile_models=hostile_models),
    ]
    watcher = Watcher(server, may_lose=False)
    with most_held(server) as held:
        play(attackers, watcher, server)
    waits = sorted(watcher.waits_s)
    eventually(
        "what was held is given back",
        lambda: tree_bytes(server.process.pid) < before + LEFT_BYTES,
    )
    sys.stderr.write(
        f"{workers} workers, {sum(a.rounds for a in attackers)} rounds:"
        f" longest wait {waits[-1]:.2f} s, p99 {waits[int(len(waits) * 0.99)]:.3f} s,"
        f" {before / MIB:.0f} MiB before, at most {held[0] / MIB:.0f},"
        f" {tree_bytes(server.process.pid) / MIB:.0f} afterwards, {watcher.lost} connections lost\n"
    )
    assert held[0] < before + MOST_BYTES
    assert waits[-1] < LONGEST_WAIT_S


def play(attackers: list[Attacker], watcher: Watcher, server: Server) -> None:
    """All of them at once, until the time is over or one has found a fault."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(attackers) + 1) as players:
        games = [players.submit(attacker.play, stop) for attacker in attackers]
        games.append(players.submit(watcher.watch, stop))
        wait(games, SECONDS, FIRST_EXCEPTION)
        stop.set()
    for game in games:
        game.result()
    assert server.process.poll() is None


@contextmanager
def most_held(server: Server) -> Iterator[list[int]]:
    """The most memory the server and its workers hold meanwhile, seen each second."""
    held = [0]
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(1.0):
            held[0] = max(held[0], tree_bytes(server.process.pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield held
    finally:
        stop.set()
        looking.join()
