import io
import sys
import threading

import pytest

from salver.cli.fetch_bar import fetch_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["rich", "plain"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rich":
        pytest.importorskip("rich")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    return str(request.param)


def test_a_bar_is_drawn_and_taken_away(kind: str) -> None:
    stream, threads = Terminal(), threading.active_count()
    shown = fetch_bar(stream)
    before = shown.is_due
    shown.show(0, 0, "0 bytes so far")
    assert (before, shown.is_due) == (True, False)
    shown.show(3, 10, "3 of 10 MB, [2] MB/s")
    assert "3 of 10 MB, [2] MB/s" in stream.getvalue()
    assert ("[######" if kind == "plain" else "\u2501" * 5) in stream.getvalue()
    assert threading.active_count() == threads
    shown.clear()
    assert stream.getvalue().endswith("\x1b[K" if kind == "plain" else "\x1b[2K")


def test_a_bar_that_was_never_shown_leaves_nothing(kind: str) -> None:
    stream = Terminal()
    fetch_bar(stream).clear()
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("kind")
def test_elsewhere_than_at_a_terminal_nothing_is_drawn() -> None:
    stream = io.StringIO()
    shown = fetch_bar(stream)
    assert not shown.is_due
    shown.show(1, 2, "half")
    shown.clear()
    assert stream.getvalue() == ""
