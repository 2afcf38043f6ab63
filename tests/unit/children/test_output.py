import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator

import pytest
from tests.unit.children.conftest import until

from salver.children.output import Output

INFO, WARNING = logging.INFO, logging.WARNING


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.said: list[tuple[int, str]] = []
        self.output = Output(
            self.reader,
            "m:1",
            asyncio.get_running_loop(),
            log=lambda level, text: self.said.append((level, text)),
        )

    def close(self) -> None:
        self.output.close()
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
async def pipe() -> AsyncIterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


async def test_each_line_is_said_once_it_has_ended(pipe: Pipe) -> None:
    os.write(pipe.writer, b"one\ntw")
    await until("a line", lambda: pipe.said)
    os.write(pipe.writer, b"o\n\x0130 three\n\x01x four\n\xff\n")
    await until("all lines", lambda: len(pipe.said) == 5)
    assert pipe.said == [
        (INFO, "m:1: one"),
        (INFO, "m:1: two"),
        (WARNING, "m:1: three"),
        (INFO, "m:1: four"),
        (INFO, "m:1: \\xff"),
    ]


async def test_what_a_process_wrote_last_is_said_at_its_end(pipe: Pipe) -> None:
    os.write(pipe.writer, b"one\nno end")
    pipe.output.close()
    assert [text for _, text in pipe.said] == ["m:1: one", "m:1: no end"]
    assert list(pipe.output.last_lines) == ["one", "no end"]


async def test_a_line_without_an_end_is_cut(pipe: Pipe) -> None:
    await asyncio.to_thread(os.write, pipe.writer, b"x" * 60_000)
    os.write(pipe.writer, b"\nnext\n")
    await until("two lines", lambda: len(pipe.said) == 2)
    assert len(pipe.said[0][1]) < 5000
    assert pipe.said[1] == (INFO, "m:1: next")


async def test_who_writes_too_much_is_cut_short_and_never_waits_long(pipe: Pipe) -> None:
    def write() -> None:
        for _ in range(300):
            os.write(pipe.writer, b"a line of text\n" * 4000)

    thread = threading.Thread(target=write)
    thread.start()
    await until("all is written", lambda: not thread.is_alive())
    assert len(pipe.said) < 1200
    await until("it is said", lambda: _dropped(pipe) or _more(pipe))
    told = _dropped(pipe)
    assert told.startswith("m:1: writes too much: ")


def _dropped(pipe: Pipe) -> str:
    return next((text for _, text in pipe.said if "dropped" in text), "")


def _more(pipe: Pipe) -> bool:
    os.write(pipe.writer, b"one more\n")
    return False
