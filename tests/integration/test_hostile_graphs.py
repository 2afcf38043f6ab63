"""Models that would end the server's process: refused while they are loaded, by every server."""

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import requests

from salver.codecs.protobuf.wire import varint
from tests.checkpoint_tables import handle, table
from tests.hostile_graphs import DEADLY, HARMLESS
from tests.integration.serving import PATIENCE_S, SOURCES, Server, eventually

StartServer = Callable[..., Server]

_LOAD_AND_RUN = """
import resource, sys
import numpy as np
from salver.backends.selection import Selector
from salver.backends.tensorflow import session
from salver.backends.tensorflow.examination import Examination

resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
session.examine = lambda *_, **__: Examination(frozenset())
model = Selector()(sys.argv[1]).load()
model.graph.program(["x:0"], ["y:0"]).run([np.full(4, 100, np.float32)])
"""


def write(base: Path, name: str, file: bytes) -> Path:
    version = base / name / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(file)
    return version


def config_of(base: Path, path: Path) -> str:
    entries = "".join(
        f'config {{ name: "{each.name}" base_path: "{each}" model_platform: "tensorflow" }}\n'
        for each in sorted(base.iterdir())
    )
    path.write_text(f"model_config_list {{\n{entries}}}")
    return f"--model_config_file={path}"


def states(server: Server, model: str) -> dict[int, str]:
    """As `Server.states`, also of a server that does not listen yet."""
    try:
        return server.states(model)
    except requests.ConnectionError:
        return {}


def wait_until_ended(server: Server, model: str) -> None:
    eventually(f"{model} has ended", lambda: states(server, model) == {1: "END"})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_refuses_what_would_end_it_and_serves_the_rest(
    launch_server: StartServer, tmp_path: Path, workers: int
) -> None:
    for name, deadly in DEADLY.items():
        write(tmp_path / "models", name, deadly.make())
    for name, make in HARMLESS.items():
        write(tmp_path / "models", name, make())
    config = config_of(tmp_path / "models", tmp_path / "models.config")
    server = launch_server(config, f"--workers={workers}", command="salver")
    for name, deadly in DEADLY.items():
        wait_until_ended(server, name)
        (status,) = server.get(f"/v1/models/{name}").json()["model_version_status"]
        assert status["status"]["error_code"] == deadly.code.name, name
        assert deadly.says in status["status"]["error_message"], name
    for name in HARMLESS:
        server.wait_until(name, 1)
        assert server.predict(name, [100.0]).status_code == 200, name
    assert server.process.poll() is None
    assert "has ended" not in server.err.text()
    assert " retry: " not in server.err.text()


def test_a_refused_model_is_looked_at_again_when_its_files_change(
    launch_server: StartServer, tmp_path: Path
) -> None:
    version = write(tmp_path, "m", DEADLY["calls_itself"].make())
    server = launch_server(
        "--model_name=m", f"--model_base_path={tmp_path / 'm'}", command="salver"
    )
    wait_until_ended(server, "m")
    (version / "new").write_bytes(HARMLESS["a_constant"]())
    (version / "new").rename(version / "saved_model.pb")
    server.wait_until("m", 1)
    assert server.predict("m", [1.0]).json() == {"predictions": [3.0]}


INDICES = {
    "a_block_without_end": table({}, footer=handle(0, 0) + handle(0, (1 << 64) - 6)),
    "a_wrong_byte_in_the_footer": table({}, index=[(b"\xff", handle(0, 1 << 40))]),
    "an_entry_without_end": table(
        {}, raw=handle(0, 1 << 31) + varint(1 << 31) + b"a" + struct.pack("<II", 0, 1)
    ),
}


@pytest.mark.parametrize("name", INDICES)
def test_an_index_of_variables_that_would_end_the_server_is_refused(
    launch_server: StartServer, version_path: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    copytree(version_path("half_plus_two_tf2"), tmp_path / "m" / "1")
    (tmp_path / "m" / "1" / "variables" / "variables.index").write_bytes(INDICES[name])
    server = launch_server(
        "--model_name=m", f"--model_base_path={tmp_path / 'm'}", command="salver"
    )
    wait_until_ended(server, "m")
    (status,) = server.get("/v1/models/m").json()["model_version_status"]
    assert status["status"]["error_code"] == "DATA_LOSS"
    assert "variables.index is corrupt" in status["status"]["error_message"]


@pytest.mark.stress
@pytest.mark.parametrize("name", INDICES)
def test_tensorflow_does_not_survive_such_an_index(
    version_path: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    copytree(version_path("half_plus_two_tf2"), tmp_path / "1")
    (tmp_path / "1" / "variables" / "variables.index").write_bytes(INDICES[name])
    assert load_and_run(tmp_path / "1", within_s=PATIENCE_S) in ENDS


@pytest.mark.stress
@pytest.mark.parametrize("name", DEADLY)
def test_tensorflow_does_not_survive_what_is_refused(name: str, tmp_path: Path) -> None:
    """If this fails, TensorFlow has learnt something, and the refusal may go."""
    deadly = DEADLY[name]
    version = write(tmp_path, "m", deadly.make())
    end = load_and_run(version, within_s=20 if deadly.is_slow else PATIENCE_S)
    if end is None:
        assert deadly.is_slow
    elif name not in _FAIL_WHERE_MEMORY_IS_LIMITED:
        assert end in ENDS


ENDS = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGFPE, -signal.SIGKILL)


def load_and_run(version: Path, *, within_s: float) -> int | None:
    """How a process ends that loads a model without a look at it; None if it takes too long."""
    with subprocess.Popen(
        [sys.executable, "-c", _LOAD_AND_RUN, str(version)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            return child.wait(within_s)
        except subprocess.TimeoutExpired:
            child.kill()
            return None


_FAIL_WHERE_MEMORY_IS_LIMITED = {"repeated_for_ever", "strings_for_ever"}
"""An allocation that is refused is an error; one that is not takes all memory there is."""
