"""Sessions: their threads, the end of runs, and what is freed."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.onnx_models import half_plus_two, layers, looping

from salver.backends.onnxruntime.model import OnnxModel
from salver.backends.protocol import LoadStage
from salver.errors import Code, ServingError

Load = Callable[..., OnnxModel]


def num_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def has_so_many(*numbers: int) -> bool:
    """Whether there are so many threads, those gone that were joined and have yet to go."""
    until = time.monotonic() + 5
    while num_threads() not in numbers and time.monotonic() < until:
        pass
    return num_threads() in numbers


def settled() -> int:
    """How many threads there are, once it stays so."""
    last, since = num_threads(), time.monotonic()
    while time.monotonic() - since < 0.2:
        if num_threads() != last:
            last, since = num_threads(), time.monotonic()
    return last


def test_models_share_their_threads(load: Load) -> None:
    load(half_plus_two())
    before = settled()
    for _ in range(5):
        load(half_plus_two())
    assert has_so_many(before)


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"intra_op_num_threads": 1}, 0),
        ({"intra_op_num_threads": 3}, 2),
        (
            {
                "execution_mode": "parallel",
                "intra_op_num_threads": 1,
                "inter_op_num_threads": 3,
            },
            2,
        ),
    ],
)
def test_a_model_may_have_threads_of_its_own(
    options: dict[str, Any], more: int, load: Load
) -> None:
    load(half_plus_two())
    before = settled()
    loaded = load(layers(16, 2), **options)
    assert has_so_many(before + more)
    (y,) = loaded.program("serving_default").run([np.ones((2, 16), np.float32)])
    assert y.shape == (2, 16)


@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
@pytest.mark.parametrize("keeps", [True, False])
def test_each_option_gives_the_same_answers(level: str, keeps: bool, load: Load) -> None:
    x = np.ones((3, 16), np.float32)
    plain, other = (
        load(layers(16, 2), **options).program("serving_default").run([x])[0]
        for options in (
            {},
            {
                "graph_optimization_level": level,
                "enable_mem_arena": keeps,
                "enable_mem_pattern": keeps,
                "allow_spinning": keeps,
            },
        )
    )
    np.testing.assert_allclose(plain, other, rtol=1e-5)


def test_a_run_is_ended_while_it_is_under_way(load: Load) -> None:
    loaded = load(looping())
    program = loaded.program("serving_default")
    endless = [np.int64(2**62), np.float32(1)]
    feeds = [np.asarray(each) for each in reversed(endless)]  # step, times
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(program.run, feeds)
        until = time.monotonic() + 30
        while not run.done() and time.monotonic() < until:
            loaded.cancel([])  # of nobody
            loaded.cancel(list(feeds))  # equal, and not these
            loaded.cancel(feeds)
        with pytest.raises(ServingError, match="terminate") as raised:
            run.result(timeout=0)
        assert raised.value.code is Code.CANCELLED
    (y,) = program.run([np.array(2, np.float32), np.array(5)])
    assert y == 12  # the next is not ended


def test_others_go_on_while_one_is_ended(load: Load) -> None:
    loaded = load(half_plus_two())
    program = loaded.program("serving_default")
    stop, failures = threading.Event(), list[Exception]()

    def work() -> None:
        while not stop.is_set():
            try:
                program.run([np.ones(3, np.float32)])
            except ServingError as error:  # noqa: PERF203 - it counts
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        loaded.cancel([np.ones(3, np.float32)])
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_loads_and_closes_keep_nothing(load: Load) -> None:
    def resident_kb() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4

    def cycle() -> None:
        loaded = load(layers(512, 4))  # 4 MB
        loaded.program("serving_default").run([np.ones((2, 512), np.float32)])
        loaded.close()
        loaded.close = lambda: None  # type: ignore[method-assign]

    def grown_kb() -> int:
        before = resident_kb()
        for _ in range(20):
            cycle()
        return resident_kb() - before

    for _ in range(5):
        cycle()
    # What is kept is kept each time; what else this process does, is not.
    assert min(grown_kb() for _ in range(3)) < 20_000


_CUSTOM = """
#include <stdio.h>
#include <stdlib.h>
void *RegisterCustomOps(void *options, const void *api) {
  FILE *file = fopen(getenv("SALVER_TEST_REGISTERED"), "w");
  if (file) fclose(file);
  return 0;
}
"""


@pytest.fixture
def custom_ops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library that makes the file `registered` beside it."""
    source, library = tmp_path / "ops.c", tmp_path / "ops.so"
    source.write_text(_CUSTOM)
    try:
        command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no C compiler")
    monkeypatch.setenv("SALVER_TEST_REGISTERED", str(tmp_path / "registered"))
    return library


def test_custom_operations_are_loaded_from_trusted_paths_alone(
    custom_ops: Path, load: Load
) -> None:
    options = {"custom_op_libraries": (str(custom_ops),)}
    with pytest.raises(ServingError, match="is code, and not under a trusted path") as raised:
        load(half_plus_two(), **options)
    assert raised.value.code is Code.FAILED_PRECONDITION
    assert raised.value.hint is not None
    assert "--trusted_model_paths" in raised.value.hint
    registered = custom_ops.with_name("registered")
    assert not registered.exists()
    asked: list[Path] = []

    def trusts(path: Path) -> bool:
        asked.append(path)
        return True

    os.environ["SALVER_TEST_REGISTERED"] = str(registered)
    load(half_plus_two(), LoadStage(trusts=trusts), **options)
    assert asked == [custom_ops]
    assert registered.exists()


def test_a_library_or_provider_that_is_not_there_is_an_error(tmp_path: Path, load: Load) -> None:
    trusting = LoadStage(trusts=lambda _path: True)
    with pytest.raises(ServingError, match="not found") as raised:
        load(half_plus_two(), trusting, custom_op_libraries=(str(tmp_path / "no.so"),))
    assert raised.value.code is Code.NOT_FOUND
    (tmp_path / "bad.so").write_bytes(b"no library")
    with pytest.raises(ServingError):
        load(half_plus_two(), trusting, custom_op_libraries=(str(tmp_path / "bad.so"),))
    for provider in ("CUDAExecutionProvider", "NoSuchExecutionProvider"):
        with pytest.raises(ServingError):
            load(half_plus_two(), providers=(provider,))
