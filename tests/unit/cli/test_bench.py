import http.server
import io
import json
import signal
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from salver.cli.bench import bench
from salver.cli.salver import main
from salver.errors import InvalidArgument, NotFound, ServingError

QUICK = ["--duration=60ms", "--warmup=0", "--concurrency=1"]


class Handler(http.server.BaseHTTPRequestHandler):
    """A model `m` of one input; refuses what is over 100, and all of version 13 but the first."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        spec = {"dtype": "DT_FLOAT", "name": "x:0", "tensor_shape": {"dim": [{"size": "-1"}]}}
        signatures = {
            name: {"inputs": {"x": {**spec, "dtype": dtype}}, "outputs": {}, "method_name": "p"}
            for name, dtype in (("serving_default", "DT_FLOAT"), ("complex", "DT_COMPLEX64"))
        }
        self.answer(
            200,
            {
                "model_spec": {"name": "m", "version": "1"},
                "metadata": {"signature_def": {"signature_def": signatures}},
            },
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "/versions/13" in self.path:
            Handler.asked += 1
        if body.get("instances", [0])[0] > 100 or Handler.asked > 1:
            self.answer(429, {"error": "too much"})
        else:
            self.answer(200, {"predictions": [1.0]})

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
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


@pytest.fixture(autouse=True)
def _nobody_was_asked() -> None:
    Handler.asked = 0


def test_prints_writes_and_draws(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, plot = tmp_path / "report.json", tmp_path / "latency.svg"
    flags = [f"--output={output}", f"--plot={plot}", "--warmup=20ms"]
    assert bench([url, "m", *QUICK, *flags]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{url} m: x float [1], random\n")
    assert "\n1 client " in out
    assert err == ""
    (result,) = json.loads(output.read_text())["results"]
    assert result["answered"] > 0
    assert ET.parse(plot).getroot().tag.endswith("svg")


def test_levels_and_rates_are_lists(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.json"
    arguments = [url, "m", "--duration=.05s", "--warmup=0", f"--output={output}"]
    assert bench(arguments) == 0
    assert [of["clients"] for of in json.loads(output.read_text())["results"]] == [1, 4, 16]
    assert bench([*arguments, "--rate=50,100", "--concurrency=2"]) == 0
    results = json.loads(output.read_text())["results"]
    assert [(of["asked_rate"], of["clients"], of["loop"]) for of in results] == [
        (50.0, 2, "open"), (100.0, 2, "open"),
    ]  # fmt: skip
    capsys.readouterr()


def test_rivals_stand_beside_the_first(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    rivals = [f"--against={url}", "--against-version=2", "--against-label=canary", "--turns=2"]
    assert bench([url, "m", "--version=1", *QUICK, *rivals, "--ascii"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines[:4]] == [
        f"A  {url} m version 1 (1)", f"B  {url} m version 1 (2)", f"C  {url} m version 2",
        f"D  {url} m label canary",
    ]  # fmt: skip
    assert [line[:5] for line in lines if " / A" in line] == ["B / A", "C / A", "D / A"]
    assert all(line.isascii() for line in lines)


def test_requests_of_a_file_are_sent(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text('{"instances": [1]}\n\n{"instances": [101]}\n')
    assert bench([url, "m", *QUICK, f"--input={file}"]) == 1  # the second is refused
    out = capsys.readouterr().out
    assert out.startswith(f"{url} m: 2 from a file\n")
    assert " failed with 429, first: too much" in out
    single = tmp_path / "request.json"
    single.write_text('{"instances": [1]}')
    assert bench([url, "m", *QUICK, f"--input={single}", "--signature=serving_default"]) == 0


def test_a_request_that_is_refused_ends_it_before_it_begins(url: str, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"instances": [101]}')
    with pytest.raises(ServingError, match="The server refuses the request: too much"):
        bench([url, "m", f"--input={file}"])


def test_what_rest_cannot_say_is_told(url: str) -> None:
    with pytest.raises(InvalidArgument, match="JSON has no form for input 'x'") as caught:
        bench([url, "m", "--signature=complex"])
    assert "grpc://" in (caught.value.hint or "")


def test_a_server_that_goes_away_leaves_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        real = Handler.do_POST

        def leaving(handler: Handler) -> None:
            Handler.asked += 1
            if Handler.asked == 3:
                server.shutdown()
                server.socket.close()
            Handler.asked, asked = 0, Handler.asked
            real(handler)
            Handler.asked = asked

        monkeypatch.setattr(Handler, "do_POST", leaving)
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ServingError, match="cannot be reached"):
            bench([url, "m", "--duration=60ms", "--warmup=0", "--concurrency=1,2"])
        thread.join()
    assert "\n1 client " in capsys.readouterr().out


def test_what_is_refused_later_is_counted(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench([url, "m", "--version=13", *QUICK]) == 1
    assert "failed with 429" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input=x", "--rows=2"], "--rows is for random requests; --input says what is sent"),
        (["--plot=a.png"], "--plot writes SVG, which every browser shows: a.svg"),
        (["--duration=5 parsecs"], "5 parsecs is no time: 10s, 500ms and 2m are"),
        (["--timeout=0s"], "that is no time at all"),
        (["--concurrency=0"], "0 is not positive"),
        (["--concurrency=a,b"], "a,b is no list of numbers"),
        (["--rate=-1"], "-1 is not positive"),
        (["--rate=1e12"], "1e12 is more than any client sends"),
        (["--against-version=x"], "argument --against-version"),
    ],
)
def test_a_command_that_makes_no_sense_is_misused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(["http://127.0.0.1:1", "m", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_files_that_cannot_be_are_named_before_the_run(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No such file"):
        bench([url, "m", f"--input={tmp_path / 'none'}"])
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(InvalidArgument, match=r"empty\.jsonl holds no request"):
        bench([url, "m", f"--input={empty}"])
    with pytest.raises(InvalidArgument, match="cannot be written: see "):
        bench([url, "m", f"--output={tmp_path / 'none' / 'report.json'}"])
    with pytest.raises(ServingError, match="directory"):
        bench([url, "m", *QUICK, f"--output={tmp_path}"])


def test_a_person_at_a_terminal_sees_how_far_it_is(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    assert bench([url, "m", "--version=13", *QUICK, "--duration=300ms", "--warmup=10ms"]) == 1
    lines = terminal.getvalue().split("\r\033[K")
    assert lines[1].startswith(f"  0%  warming up {url} m version 13")
    assert any("measuring" in line for line in lines)
    assert all(len(line) < 60 for line in lines)
    assert lines[-1] == ""


def test_ctrl_c_prints_what_there_is(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Handler.do_POST

    def interrupting(handler: Handler) -> None:
        real(handler)
        Handler.asked -= 1
        if Handler.asked == -20:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Handler, "do_POST", interrupting)
    assert bench([url, "m", "--duration=1h", "--warmup=0", "--concurrency=1"]) == 130
    assert "\n1 client " in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Closed(io.TextIOWrapper):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    with (tmp_path / "out").open("wb") as file:
        out = Closed(file, write_through=True)
        monkeypatch.setattr(sys, "stdout", out)
        assert bench([url, "m", *QUICK]) == 0
        out.detach()


def test_it_is_a_command_of_salver(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["salver", "bench", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: salver bench ")
    assert main(["salver", "bench", "http://127.0.0.1:1", "m"]) == 1
    assert capsys.readouterr().err == (
        "salver: http://127.0.0.1:1 cannot be reached: [Errno 111] Connection refused\n"
        "  Is a server running there?\n"
    )
