import pytest

from salver.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServingError,
    Unauthenticated,
    Unavailable,
)
from salver.remote.errors import (
    StoreBusy,
    error_of_answer,
    error_of_status,
    is_transient,
    read_answer,
)


class GenericError(Exception):
    """As the library's."""


class InvalidPathError(Exception):
    """As the library's."""


def said(status: str, body: str = "") -> GenericError:
    return GenericError(
        "Generic S3 error: Error performing GET http://127.0.0.1:1/b/x?X-Amz-Signature=hidden in "
        f"2ms - Server returned non-2xx status code: {status}: {body}\n\nDebug source:\nhidden"
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", Unauthenticated),
        ("403 Forbidden", PermissionDenied),
        ("404 Not Found", NotFound),
        ("412 Precondition Failed", Aborted),
        ("429 Too Many Requests", StoreBusy),
        ("500 Internal Server Error", Unavailable),
        ("503 Service Unavailable", StoreBusy),
        ("504 Gateway Timeout", Unavailable),
    ],
)
def test_a_status_is_an_error_of_ours(status: str, kind: type[ServingError]) -> None:
    answer = read_answer(said(status))
    assert answer.kind is kind
    assert answer.label == status[:3]


def test_only_the_code_and_the_sentence_of_an_answer_are_kept() -> None:
    body = (
        "<Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message>"
        "<AWSAccessKeyId>hidden</AWSAccessKeyId><StringToSign>hidden</StringToSign></Error>"
    )
    error = error_of_answer(
        "s3://b/x cannot be read", read_answer(said("403 Forbidden", body)), "a"
    )
    assert error.message == (
        "s3://b/x cannot be read: 403 SignatureDoesNotMatch: It does not match. (tried a)"
    )


def test_a_url_is_kept_without_what_was_signed() -> None:
    assert read_answer(said("503 Slow")).url == "http://127.0.0.1:1/b/x"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ('Os { code: 111, kind: ConnectionRefused, message: "x" }', "nobody listens there"),
        ("dns error", "its name cannot be resolved"),
        ("invalid peer certificate: UnknownIssuer", "its certificate is of an unknown authority"),
        ("kind: TimedOut", "no answer in time"),
        ("", "no answer"),
    ],
)
def test_a_store_that_is_away_is_told_in_words(cause: str, reason: str) -> None:
    error = GenericError(
        "Generic S3 error: Error performing GET http://store:1/b?x=hidden in 1ms - HTTP error: "
        f"error sending request\n\nDebug source:\n{cause}"
    )
    answer = read_answer(error)
    assert (answer.kind, answer.reason) == (Unavailable, f"{reason} (http://store:1)")


def test_instance_metadata_that_does_not_answer_means_that_there_are_no_credentials() -> None:
    error = GenericError(
        "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 5s - "
        "HTTP error: error sending request"
    )
    assert read_answer(error).kind is Unauthenticated


def test_a_redirect_without_a_place_is_about_the_region() -> None:
    error = GenericError(
        "Generic S3 error: Error performing GET http://s/b in 1ms - Received redirect without "
        "LOCATION, this normally indicates an incorrectly configured region"
    )
    assert read_answer(error).kind is FailedPrecondition
    assert "AWS_REGION" in read_answer(error).reason


def test_a_name_that_cannot_be_is_wrong_for_ever() -> None:
    answer = read_answer(InvalidPathError('Path "a//b" contained empty path segment\nmore'))
    assert answer.kind is InvalidArgument
    assert answer.reason == 'Path "a//b" contained empty path segment'


def test_only_what_may_pass_is_tried_again() -> None:
    assert is_transient(StoreBusy("x"))
    assert is_transient(Unavailable("x"))
    assert not is_transient(PermissionDenied("x"))
    final = Unavailable("x")
    final.is_final = True
    assert not is_transient(final)


def test_an_answer_that_was_read_otherwise_says_the_same() -> None:
    error = error_of_status("https://h/x cannot be read", 404, "")
    assert isinstance(error, NotFound)
    assert error.message == "https://h/x cannot be read: 404"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("ProxyAuthRequired", "the proxy wants another login, or one (https://h)"),
        ("TunnelUnsuccessful", "the proxy does not reach it (https://h)"),
        (
            "ConnectFailed(ConnectError(ConnectionRefused))",
            "the proxy cannot be reached: nobody listens there (https://h)",
        ),
        ("ConnectError(ConnectionRefused)", "nobody listens there (https://h)"),
    ],
)
def test_what_a_proxy_is_the_reason_of_is_told_so(cause: str, reason: str) -> None:
    said = f"Error performing GET https://h/b - HTTP error\n\nDebug source:\n{cause}"
    answer = read_answer(GenericError(said))
    assert (answer.kind, answer.reason) == (Unavailable, reason)


def test_the_login_of_a_url_is_not_repeated() -> None:
    answer = read_answer(GenericError("odd proxy http://user:hidden@proxy:1/x?y=hidden"))
    assert answer.reason == "odd proxy http://proxy:1/x"
