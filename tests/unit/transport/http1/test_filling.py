import asyncio

from salver.transport.http1.filling import Filling, LargeBody


class Told(asyncio.Protocol):
    def __init__(self) -> None:
        self.log: list[object] = []

    def eof_received(self) -> bool:
        self.log.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(exc)

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")


def test_a_body_is_whole_when_its_last_byte_is_written() -> None:
    body = LargeBody(6, [b"a", b"bc"])
    assert len(body.rest) == 3
    body.rest[:2] = b"de"
    assert body.wrote(2) is None
    body.rest[:] = b"f"
    assert body.wrote(1) == b"abcdef"


def test_the_loop_is_given_the_rest_of_the_body() -> None:
    counts: list[int] = []
    filling = Filling(Told(), LargeBody(4, [b"a"]), counts.append)
    assert len(filling.get_buffer(-1)) == 3
    filling.buffer_updated(2)
    assert counts == [2]


def test_the_connection_hears_all_else() -> None:
    told = Told()
    filling = Filling(told, LargeBody(2, []), lambda _: None)
    error = OSError()
    assert filling.eof_received()
    filling.pause_writing()
    filling.resume_writing()
    filling.connection_lost(error)
    assert told.log == ["eof", "pause", "resume", error]
