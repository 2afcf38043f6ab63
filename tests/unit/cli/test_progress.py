import io
from dataclasses import replace

import pytest

from salver.cli.progress import ProgressLine, bar
from salver.config.options import LoadProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(*loading: str, total: int = 2, seconds: float = 9.0, url: str = "") -> LoadProgress:
    return LoadProgress(rest_url=url, total=total, loading=loading, seconds=seconds)


def test_at_a_terminal_one_line_is_written_again() -> None:
    stream = Terminal()
    line = ProgressLine(stream)
    line.show(progress("a", "b", seconds=0.1))
    assert stream.getvalue() == ""
    line.show(progress("a", "b", seconds=1.2))
    line.show(progress("a", "b", seconds=1.3))
    line.show(progress("b", seconds=3.0))
    assert stream.getvalue() == (
        "\r\033[KLoading a, b … 1 s\r\033[KLoading b (1 of 2 are up) … 3 s"
    )
    line.clear()
    line.clear()
    assert stream.getvalue().endswith("3 s\r\033[K")


def test_elsewhere_a_line_is_written_now_and_then() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    for seconds in (1.0, 4.9, 5.1, 20.0, 35.2):
        line.show(progress("b", seconds=seconds, url="http://127.0.0.1:8501"))
    line.clear()
    assert stream.getvalue() == (
        "salver: http://127.0.0.1:8501 answers; loading b (1 of 2 are up), 5 s\n"
        "salver: http://127.0.0.1:8501 answers; loading b (1 of 2 are up), 35 s\n"
    )


def test_many_models_are_counted_and_a_long_line_is_cut() -> None:
    stream = Terminal()
    ProgressLine(stream).show(progress(*"abcde", total=5))
    assert stream.getvalue() == "\r\033[KLoading a, b, c and 2 more … 9 s"
    stream = Terminal()
    ProgressLine(stream).show(progress("x" * 200, total=1))
    assert len(stream.getvalue().removeprefix("\r\033[K")) == 79


def test_when_all_are_up_nothing_is_said() -> None:
    stream = Terminal()
    ProgressLine(stream).show(progress())
    assert stream.getvalue() == ""


def test_a_stream_that_nobody_reads_any_more_harms_nothing() -> None:
    stream = Terminal()
    line = ProgressLine(stream)
    stream.close()
    line.show(progress("a"))


def test_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressLine().show(progress("a", total=1))
    assert capsys.readouterr().err == "salver: loading a, 9 s\n"


def test_a_fetch_is_shown_as_a_bar_at_a_terminal_and_in_words_elsewhere() -> None:
    terminal, file = Terminal(), io.StringIO()
    shown = LoadProgress(
        rest_url="", total=1, loading=("a",), seconds=9.0,
        fetching="fetching 2.5 of 10 MB, 1 MB/s, 8 s left",
    )  # fmt: skip
    for stream in (terminal, file):
        ProgressLine(stream).show(shown)
    assert terminal.getvalue() == (
        "\r\033[KLoading a … 9 s [#####               ] 2.5 of 10 MB, 1 MB/s, 8 s left"
    )
    assert file.getvalue() == ("salver: loading a, 9 s: fetching 2.5 of 10 MB, 1 MB/s, 8 s left\n")
    unknown = Terminal()
    ProgressLine(unknown).show(replace(shown, fetching="fetching, 2 MB so far"))
    assert unknown.getvalue().endswith("Loading a … 9 s 2 MB so far")


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [(0, 10, "[" + " " * 20 + "]"), (10, 10, "[" + "#" * 20 + "]"), (20, 10, "[" + "#" * 20 + "]"),
     (1, 0, "")],
)  # fmt: skip
def test_a_bar_is_as_full_as_there_is(done: int, total: int, text: str) -> None:
    assert bar(done, total) == text
