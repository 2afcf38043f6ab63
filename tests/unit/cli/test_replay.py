import http.server
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from salver.cli.replay import replay_command


class Handler(http.server.BaseHTTPRequestHandler):
    """Half plus two; `instances: "error"` is refused."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        instances = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        if instances == "error":
            status, body = 400, b'{"error": "refused"}'
        else:
            status = 200
            body = json.dumps({"predictions": [x / 2 + 2 for x in instances]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def log(path: Path, *calls: tuple[object, object]) -> str:
    lines = [
        {"model": "m", "method": "predict", "request": {"instances": given}, "response": answer}
        for given, answer in calls
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


SAME = ([2.0], {"predictions": [3.0]})
OTHER = ([4.0], {"predictions": [5.0]})
NO_ANSWER = ([4.0], None)


def test_all_the_same(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_command([log(tmp_path / "log", SAME, NO_ANSWER), "--to", url]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "2 sent: 1 same, 0 different, 1 not compared, 0 failed"
    assert out[1] == "  largest difference of m: 0"
    assert out[2].startswith("  latency: p50 ")


def test_differences_are_shown_and_written(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log(tmp_path / "log", SAME, OTHER, OTHER, OTHER)
    output = tmp_path / "output"
    assert replay_command([path, "--to", url, "--show=2", f"--output={output}"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[:5] == [
        f"{path}:2, model m:",
        "  output is 4.0, not 5.0 at [0]",
        f"{path}:3, model m:",
        "  output is 4.0, not 5.0 at [0]",
        "4 sent: 1 same, 3 different, 0 failed",
    ]
    written = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(written) == 3
    first = min(written, key=lambda document: document["record"])
    assert first == {
        "record": f"{path}:2", "model": "m", "differences": {"": "is 4.0, not 5.0 at [0]"},
    }  # fmt: skip


def test_a_wide_tolerance_hides_them(url: str, tmp_path: Path) -> None:
    path = log(tmp_path / "log", OTHER)
    assert replay_command([path, "--to", url, "--atol=1"]) == 0
    assert replay_command([path, "--to", url, "--rtol=0.2"]) == 0


def test_failures_weigh_more_than_differences(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log(tmp_path / "log", OTHER, ("error", None))
    with Path(path).open("a") as file:
        file.write("no line\n")
    output = tmp_path / "output"
    assert replay_command([path, "--to", url, f"--output={output}"]) == 2
    out = capsys.readouterr().out
    assert f"{path}:2, model m: UNKNOWN: HTTP 400: refused" in out
    assert f"{path}:3: This is no line of a request log" in out
    assert "2 sent: 0 same, 1 different, 2 failed" in out
    failures = [json.loads(line).get("failure") for line in output.read_text().splitlines()]
    assert "UNKNOWN: HTTP 400: refused" in failures


def test_a_server_is_compared_with_another(url: str, tmp_path: Path) -> None:
    path = log(tmp_path / "log", OTHER)
    assert replay_command([path, "--to", url, "--against", url, "--limit=1"]) == 0


def test_nothing_sent_is_nothing_to_tell(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay_command([log(tmp_path / "log"), "--to", url]) == 0
    assert capsys.readouterr().out == "0 sent: 0 same, 0 different, 0 failed\n"


def test_who_sits_at_a_terminal_sees_how_far_it_is(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log(tmp_path / "log", SAME, OTHER)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert replay_command([path, "--to", url, "--concurrency=1"]) == 1
    err = capsys.readouterr().err
    assert "\r\033[K2 done, 1 differ, 0 failed" in err
    assert err.endswith("\r\033[K")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["log"], "the following arguments are required: --to"),
        (["log", "--to=x", "--limit=-1"], "argument --limit: '-1' is no whole number from 0 up"),
        (["log", "--to=x", "--rate=nan"], "argument --rate: 'nan' is no number from 0 up"),
        (["log", "--to=x", "--show=x"], "argument --show: 'x' is no whole number from 0 up"),
        (["log", "--to=x", "--version=1", "--label=a"], "not allowed with"),
        (["log", "--to=ftp://x"], "salver: ftp://x is no server\n  http://host:port"),
        (["absent", "--to=http://127.0.0.1:1"], "salver: There is no request log absent"),
    ],
)
def test_a_wrong_command_line_is_told(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    log(tmp_path / "log")
    assert replay_command(arguments) == 2
    assert text in capsys.readouterr().err


def test_a_log_that_cannot_be_read_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_command(["/proc/self/mem", "--to", url]) == 2
    assert re.search("Input/output error|Invalid argument", capsys.readouterr().err)  # by kernel


def test_a_reader_that_has_seen_enough_is_no_error(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert replay_command([log(tmp_path / "log", OTHER), "--to", url]) == 1


def test_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_command(["--help"]) == 0
    assert "--against URL" in capsys.readouterr().out
