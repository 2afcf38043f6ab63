from h2.connection import H2Connection
from h2.events import ConnectionTerminated, PingReceived, RemoteSettingsChanged
from tests.unit.transport.http2.talk import frames

from salver.transport.http2.frames import (
    ACK,
    Code,
    goaway,
    header_frames,
    ping,
    reset,
    settings,
    window_update,
)


def test_another_implementation_reads_them() -> None:
    client = H2Connection()
    client.initiate_connection()
    wire = settings([(3, 7)]) + ACK + ping(b"12345678") + window_update(0, 5)
    wire += goaway(2**31 - 1, Code.NO_ERROR, b"bye")
    events = client.receive_data(wire)
    kinds = [type(event) for event in events]
    assert RemoteSettingsChanged in kinds
    assert PingReceived in kinds
    (end,) = [event for event in events if isinstance(event, ConnectionTerminated)]
    assert end.additional_data == b"bye"


def test_a_reset_names_its_stream_and_code() -> None:
    assert frames(reset(5, Code.CANCEL)) == [(3, 0, 5, b"\x00\x00\x00\x08")]


def test_a_block_is_split_at_what_the_client_takes() -> None:
    assert frames(header_frames(1, b"abcdef", 1, 6)) == [(1, 5, 1, b"abcdef")]
    split = frames(header_frames(1, b"abcdefg", 1, 3))
    assert split == [(1, 1, 1, b"abc"), (9, 0, 1, b"def"), (9, 4, 1, b"g")]
