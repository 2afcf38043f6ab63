import pytest

from salver.errors import InvalidArgument
from salver.request_log.grpc_sender import GrpcSender
from salver.request_log.rest_sender import RestSender
from salver.request_log.senders import sender_of
from salver.request_log.sending import Redirection


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1", RestSender),
        ("https://127.0.0.1:1", RestSender),
        ("grpc://127.0.0.1:1/", GrpcSender),
        ("127.0.0.1:1", GrpcSender),
        ("unix:/nowhere", GrpcSender),
    ],
)
def test_the_url_says_the_api(url: str, kind: type) -> None:
    sender = sender_of(url, Redirection(), 1)
    assert type(sender) is kind
    sender.close()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "", "http://", "http://127.0.0.1:x"])
def test_other_urls_are_no_servers(url: str) -> None:
    with pytest.raises(InvalidArgument, match="is no server"):
        sender_of(url, Redirection(), 1)
