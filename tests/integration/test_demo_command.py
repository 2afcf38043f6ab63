"""`salver demo`, as a newcomer runs it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.serving import PATIENCE_S, SOURCES, Lines, free_port, running

HIDDEN = "import sys; sys.modules['tensorflow'] = None"  # as where it is not installed


def demo(*arguments: str, prelude: str = "", cwd: Path) -> "subprocess.Popen[str]":
    program = f"{prelude}\nfrom salver.cli.salver import main; import sys; sys.exit(main())"
    flags = [f"--rest_api_port={free_port()}", f"--port={free_port()}", *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", program, "demo", *flags],
        env={**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def ended_at_last(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@pytest.mark.parametrize(
    ("prelude", "needs", "arguments"),
    [
        ("", "tensorflow", []),
        ("", "tensorflow", ["--workers=2"]),
        (HIDDEN, "ai_edge_litert", []),
    ],
    ids=["tensorflow", "workers", "litert"],
)
def test_the_second_version_takes_over_while_the_first_serves(
    tmp_path: Path, prelude: str, needs: str, arguments: list[str]
) -> None:
    if find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    with ended_at_last(demo("--once", *arguments, prelude=prelude, cwd=tmp_path)) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err
    assert re.search(
        r"Version 2 has taken over: \d+ requests meanwhile, and each was answered", out
    )
    first, second = re.findall(r"version \d says: (\d), \d+%", out)
    assert first != second == "4"
    assert "says: 4, 100%" in out
    assert os.listdir(tmp_path) == []  # what it made is gone


def test_the_line_it_prints_works_and_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    if find_spec("tensorflow") is None and find_spec("ai_edge_litert") is None:
        pytest.skip("neither TensorFlow nor LiteRT is installed")
    with ended_at_last(demo(cwd=tmp_path)) as process:
        assert process.stdout is not None
        out = Lines(process.stdout)
        line = out.wait_for("Or ask:").partition("Or ask:")[2].strip()
        asked = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
        (shares,) = json.loads(asked.stdout)["predictions"]
        assert shares.index(max(shares)) == 7
        out.wait_for("Ctrl-C ends it")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        out.finish()
        assert out.text().endswith("\nStopped.")
    assert os.listdir(tmp_path) == []


def test_the_models_it_writes_are_served_as_they_lie(tmp_path: Path) -> None:
    if find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    with ended_at_last(demo(f"--write_models={tmp_path}", cwd=tmp_path)) as process:
        assert process.wait(PATIENCE_S) == 0
    with running(str(tmp_path), command="salver") as server:
        assert server.predict("half_plus_two", [1.0, 2.0, 5.0]).json() == {
            "predictions": [2.5, 3.0, 4.5]
        }
        body = {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}]}
        regressed = server.post("/v1/models/half_plus_two:regress", body)
        assert regressed.json() == {"results": [42.0]}
        body = {"signature_name": "classify_x_to_y", "examples": [{"x": 20.0}]}
        classified = server.post("/v1/models/half_plus_two:classify", body)
        assert classified.json() == {"results": [[["", 12.0]]]}
        assert server.predict("half_plus_three", [1.0]).json() == {"predictions": [3.5]}
        assert server.states("digits")[2] == "AVAILABLE"
