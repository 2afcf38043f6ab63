from salver.transport.identity import TlsIdentity
from salver.transport.messages import NO_HEADERS, Headers, HttpRequest, HttpResponse, LargeResponse
from salver.vocabulary.access import Principal, Role


class Caller:
    """A client of no connection."""

    peer = "192.0.2.7"
    identity = TlsIdentity("CN=a", ("a",))
    principal: Principal | None = None


def test_a_field_is_found_by_its_lower_case_name() -> None:
    headers = Headers(b"Content-Type: text/plain\r\nX-A:1\r\n")
    assert headers.get(b"content-type") == b"text/plain"
    assert headers.get(b"x-a") == b"1"
    assert headers.get(b"x-b") is None


def test_the_first_of_repeated_fields_counts() -> None:
    assert Headers(b"A: 1\r\na: 2\r\n").get(b"a") == b"1"


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    assert Headers(b"A: \t b c \t\r\n").pairs == [(b"A", b"b c")]


def test_a_value_may_contain_colons() -> None:
    assert Headers(b"Host: [::1]:8501\r\n").get(b"host") == b"[::1]:8501"


def test_no_headers_is_empty() -> None:
    assert NO_HEADERS.pairs == []


def test_a_request_made_by_hand_has_no_client() -> None:
    request = HttpRequest("GET", "/v1/models/m")
    assert (request.peer, request.identity, request.body) == (None, None, b"")
    assert request.header(b"host") is None


def test_a_request_knows_the_address_of_its_client() -> None:
    request = HttpRequest("GET", "/", client=Caller())
    assert (request.peer, request.identity) == ("192.0.2.7", TlsIdentity("CN=a", ("a",)))


def test_whom_a_request_is_from_is_told_to_who_waits_for_its_answer() -> None:
    client, principal = Caller(), Principal("ada", "api_key", Role("r"))
    request = HttpRequest("GET", "/", client=client)
    assert request.principal is None
    request.principal = principal
    assert (request.principal, client.principal) == (principal, principal)


def test_a_response_is_json_unless_said_otherwise() -> None:
    response = HttpResponse(200)
    assert (response.content_type, response.headers, response.close) == (
        "application/json",
        (),
        False,
    )


def test_a_response_is_whole_and_may_be_given_further_fields() -> None:
    response = HttpResponse(429, b"no", "text/plain", (("A", "b"),), close=True)
    assert (response.size, response.whole(), list(response.more)) == (2, b"no", [])
    more = response.with_headers((("C", "d"),))
    assert (more.status, more.body, more.content_type) == (429, b"no", "text/plain")
    assert (more.headers, more.close) == ((("A", "b"), ("C", "d")), True)
    assert response.headers == (("A", "b"),)


def test_a_large_response_is_its_parts() -> None:
    parts = [b"a" * LargeResponse.SMALLEST_BYTES, b"bc", b"d"]
    response = LargeResponse(200, parts, "text/plain", (("A", "b"),))
    assert response.body is parts[0]
    assert list(response.more) == parts[1:]
    assert response.size == len(response.whole()) == LargeResponse.SMALLEST_BYTES + 3
    more = response.with_headers((("C", "d"),))
    assert (more.headers, more.whole()) == ((("A", "b"), ("C", "d")), response.whole())
    assert more.body is parts[0]
