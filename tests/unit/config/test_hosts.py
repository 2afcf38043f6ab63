import pytest

from salver.config.hosts import read_allowed_hosts
from salver.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ()),
        (" , ", ()),
        ("localhost", ("localhost",)),
        ("A.Example.com, *.Test ,*", ("a.example.com", "*.test", "*")),
        ("tf_serving,my-box.", ("tf_serving", "my-box")),
        ("192.0.2.1,::1,[2001:DB8::1]", ("192.0.2.1", "::1", "2001:db8::1")),
        ("bücher.example,*.bücher.example", ("xn--bcher-kva.example", "*.xn--bcher-kva.example")),
    ],
)
def test_hosts_are_read(text: str, hosts: tuple[str, ...]) -> None:
    assert read_allowed_hosts(text) == hosts


@pytest.mark.parametrize(
    "entry",
    [
        "http://a", "a:8501", "[::1]:8501", "a/b", "a b", "*a", "a.*", "*.*.a", "**", "a..b", ".a",
        "*.", "me@a", "*.192.0.2.1:80", "a" * 64,
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_allowed_hosts(f"good,{entry}")
    assert refused.value.message == f"--allowed_hosts: {entry!r} is no host"
    assert "*.example.com" in (refused.value.hint or "")
