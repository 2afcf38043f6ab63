import pytest

from salver.peers.grpc_fields import BlockMaker, timeout_field
from salver.rpc.http2_metadata import timeout_of
from salver.transport.http2.header_blocks import HeaderBlocks, Headers

PSEUDO = ((b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/old"))
FIELDS = ((b"salver-forwarded", b"n1"),)


def read(block: bytes) -> Headers:
    return HeaderBlocks(65_536, 4096, Headers).read(block)


def sent(*pairs: tuple[bytes, bytes]) -> Headers:
    return Headers((*PSEUDO, *pairs))


def test_a_block_has_the_new_place_and_the_old_metadata() -> None:
    headers = sent((b"content-type", b"application/grpc+proto"), (b"x-a", b"1"), (b"x-a", b"2"))
    got = read(BlockMaker(b"http").block("n2:8500", "/a.B/C", headers, FIELDS))
    assert not got.fault
    assert (got.method, got.scheme, got.path) == (b"POST", b"http", b"/a.B/C")
    assert got.authority == b"n2:8500"
    assert got.pairs == [
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"salver-forwarded", b"n1"),
    ]


def test_what_holds_for_one_hop_stays_behind() -> None:
    headers = sent(
        (b"te", b"trailers"),
        (b"host", b"n1"),
        (b"grpc-timeout", b"1S"),
        (b"grpc-encoding", b"gzip"),
        (b"grpc-accept-encoding", b"gzip"),
        (b"content-length", b"7"),
        (b"salver-principal", b"me"),
        (b"salver-peer-token", b"guess"),
    )
    got = read(BlockMaker(b"http").block("n2:8500", "/a.B/C", headers, ()))
    assert got.pairs == [(b"te", b"trailers"), (b"content-type", b"application/grpc")]


def test_what_is_added_stands_in_place_of_what_came() -> None:
    headers, fields = sent((b"traceparent", b"old"), (b"x-a", b"1")), ((b"traceparent", b"new"),)
    got = read(BlockMaker(b"http").block("n2:8500", "/a.B/C", headers, fields))
    assert got.pairs[2:] == [(b"x-a", b"1"), (b"traceparent", b"new")]


def test_calls_alike_get_the_same_block_and_others_do_not() -> None:
    made, headers = BlockMaker(b"http"), sent((b"x-a", b"1"))
    first = made.block("n2:1", "/a.B/C", headers, FIELDS)
    assert made.block("n2:1", "/a.B/C", headers, FIELDS) is first
    assert made.block("n3:1", "/a.B/C", headers, FIELDS) != first
    assert made.block("n2:1", "/a.B/D", headers, FIELDS) != first
    assert made.block("n2:1", "/a.B/C", headers, ()) != first
    assert made.block("n2:1", "/a.B/C", sent((b"x-a", b"2")), FIELDS) != first


def test_clients_cannot_make_it_keep_any_number_of_blocks() -> None:
    made = BlockMaker(b"http")
    for turn in range(2000):
        made.block("n2:1", "/a.B/C", sent((b"x-a", b"%d" % turn)), FIELDS)
    made.block("n2:1", "/a.B/C", sent((b"x-a", bytes(10_000))), FIELDS)
    assert len(made._kept) <= 256


@pytest.mark.parametrize(
    ("timeout_s", "least_s"),
    [(0.0, 0.0), (0.0004, 0.0), (0.25, 0.25), (7.5, 7.5), (99_999.0, 99_999), (1e6, 999_999)],
)
def test_a_deadline_is_never_longer_than_what_is_left(timeout_s: float, least_s: float) -> None:
    block = BlockMaker(b"http").block("n2:1", "/a.B/C", sent(), ()) + timeout_field(timeout_s)
    said = read(block).get(b"grpc-timeout")
    assert said is not None
    assert len(said) <= 9
    left_s = timeout_of(said)
    assert left_s is not None
    assert least_s - 0.001 <= left_s <= max(timeout_s, 0.001)
