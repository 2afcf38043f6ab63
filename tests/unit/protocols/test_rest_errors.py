import json
from collections.abc import Callable

import pytest

from salver.errors import (
    Code,
    Internal,
    InvalidArgument,
    PeerLost,
    ServingError,
    Unauthenticated,
    WrongPeerToken,
    error_of,
)
from salver.oip.rest.errors import error_response as oip_error_response
from salver.protocols.rest_errors import HTTP_STATUS, UnreadableName, error_page, error_response
from salver.transport.messages import HttpResponse

REFERENCE = {
    "OK": 200, "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404, "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400, "ABORTED": 409, "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}  # fmt: skip


def test_the_table_is_complete_and_the_references() -> None:
    assert {code.name: HTTP_STATUS[code] for code in Code} == REFERENCE
    assert len(HTTP_STATUS) == len(Code)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_an_error_becomes_the_status_of_its_code_and_says_its_words(code: Code) -> None:
    response = error_response(error_of(code, "words"))
    assert (response.status, response.content_type) == (REFERENCE[code.name], "application/json")
    assert json.loads(response.body) == {"error": "words"}


@pytest.mark.parametrize("respond", [error_response, oip_error_response])
def test_what_another_server_has_lost_is_told_apart_from_what_nobody_had(
    respond: Callable[[ServingError], HttpResponse],
) -> None:
    assert respond(PeerLost("gone")).status == 502
    assert dict(respond(WrongPeerToken()).headers)["salver-peer-refused"] == "token"
    assert "salver-peer-refused" not in dict(respond(Unauthenticated("no")).headers)


def test_an_error_is_laid_out_as_in_the_reference() -> None:
    response = error_response(InvalidArgument("Servable not found for request: Latest(foo)"))
    assert response.body == (b'{\n    "error": "Servable not found for request: Latest(foo)"\n}')


def test_a_hint_stands_beside_the_error() -> None:
    response = error_response(InvalidArgument("no such model", hint="There are: a, b"))
    assert json.loads(response.body) == {"error": "no such model", "hint": "There are: a, b"}


def test_the_version_that_failed_is_named() -> None:
    error = InvalidArgument("no")
    assert error_response(error).headers == ()
    error.version = 3
    assert error_response(error).headers == (("salver-model-version", "3"),)


def test_the_words_are_escaped() -> None:
    message = 'a "quoted"\n\t\x01 grün \\ word'
    assert json.loads(error_response(Internal(message)).body) == {"error": message}


def test_words_of_any_length_are_said_whole() -> None:
    assert json.loads(error_response(Internal("x" * 5000)).body) == {"error": "x" * 5000}


def test_bytes_of_a_name_that_are_no_text_pass_through() -> None:
    assert error_response(Internal("model \udcff")).body == b'{\n    "error": "model \xff"\n}'


def test_an_unreadable_name_is_answered_without_a_body() -> None:
    response = error_response(UnreadableName("Failed to convert version: 9 to numeric."))
    assert (response.status, response.body, response.content_type) == (
        400,
        b"",
        "application/json",
    )


def test_a_page_of_the_transport_is_json_too() -> None:
    response = error_page(413, "too large", "send less")
    assert response.status == 413
    assert json.loads(response.body) == {"error": "too large", "hint": "send less"}
