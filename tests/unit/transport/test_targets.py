import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.transport.targets import authority_of, routed_part


@pytest.mark.parametrize(
    ("target", "routed"),
    [
        (b"/v1/models/m", "/v1/models/m"),
        (b"/v1/models/m:predict", "/v1/models/m:predict"),
        (b"/v1/models/m?x=1?&y=/2", "/v1/models/m?x=1?&y=/2"),
        (b"/v1/models/m#part", "/v1/models/m#part"),
        (b"/v1/models/a%2Fb%3ac+d", "/v1/models/a%2Fb%3ac+d"),
        (b"http://host:8501/v1/models/m?q", "/v1/models/m?q"),
        (b"http://user:pw@[::1]:8501/v1", "/v1"),
        (b"//host/v1/models/m", "/v1/models/m"),
        (b"http://host", "/"),
        (b"http://host?q", "/?q"),
        (b"*", "*"),
        (b"/", "/"),
        (b"/a//b", "/a//b"),
    ],
)
def test_path_query_and_fragment_are_what_is_routed(target: bytes, routed: str) -> None:
    assert routed_part(target) == routed


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/models/{m}",
        b"/v1/models/\xc3\xa9",
        b"/v1/models/m%zz",
        b"/v1/models/m%2",
        b'/v1/models/"m"',
        b"/a#b#c",
        b"1a:b",
        b"http://ho st/",
        b"http://host:port/",
        b"http://[::1/",
    ],
)
def test_what_is_no_uri_has_no_routed_part(target: bytes) -> None:
    assert routed_part(target) is None


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (b"http://host:8501/v1", b"host:8501"),
        (b"HTTP://user:pw@[::1]:8501", b"[::1]:8501"),
        (b"http://a@b/", b"b"),
        (b"http:///v1", b""),
        (b"http:/v1", None),
        (b"//host/v1", None),
        (b"/v1", None),
        (b"*", None),
        (b"http://ho st/", None),
    ],
)
def test_an_absolute_target_says_whom_it_is_for(target: bytes, authority: bytes | None) -> None:
    assert authority_of(target) == authority


@given(st.binary(max_size=200))
def test_any_bytes_are_a_uri_or_not(target: bytes) -> None:
    routed = routed_part(target)
    assert routed is None or routed.encode("ascii") in b"/" + target
