import re
import time
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidArgument
from salver.protocols.rest_errors import UnreadableName
from salver.tfs.rest.routes import (
    ANY,
    CALLS,
    Call,
    named_model,
    refusal,
    servable_of,
)
from salver.vocabulary.requests import ServableRequest


class Route(NamedTuple):
    call: Call
    servable: ServableRequest | None


def parse_route(method: str, target: str) -> Route:
    """What the first line of the table that fits says."""
    for call, call_method, path in CALLS:
        match = re.fullmatch(path, target)
        if match is not None and method == call_method:
            return Route(call, servable_of(match))
    raise refusal(method, target)


GOOD_FORMS = (
    "Calls are GET /v1/models/NAME[/versions/N|/labels/L][/metadata] "
    "and POST /v1/models/NAME[/versions/N|/labels/L]:predict|:classify|:regress"
)


def of(name: str, version: int | None = None, label: str | None = None) -> ServableRequest:
    return ServableRequest(name, version=version, label=label)


@pytest.mark.parametrize(
    ("line", "route"),
    [
        ("POST /v1/models/m:predict", Route("predict", of("m"))),
        ("POST /v1/models/m:classify", Route("classify", of("m"))),
        ("POST /v1/models/m:regress", Route("regress", of("m"))),
        ("POST /v1/models/m/versions/3:predict", Route("predict", of("m", 3))),
        ("POST /v1/models/m/labels/canary:regress", Route("regress", of("m", label="canary"))),
        ("GET /v1/models", Route("list", None)),
        ("GET /v1/models/m", Route("status", of("m"))),
        ("GET /v1/models/m/versions/3", Route("status", of("m", 3))),
        ("GET /v1/models/m/labels/canary", Route("status", of("m", label="canary"))),
        ("GET /v1/models/m/metadata", Route("metadata", of("m"))),
        ("GET /v1/models/m/versions/3/metadata", Route("metadata", of("m", 3))),
        ("GET /v1/models/m/labels/l/metadata", Route("metadata", of("m", label="l"))),
    ],
)
def test_a_path_names_its_call(line: str, route: Route) -> None:
    assert parse_route(*line.split()) == route


@pytest.mark.parametrize(
    ("line", "route"),
    [
        ("POST /V1/Models/m:predict", Route("predict", of("m"))),
        ("POST /v1/MODELS/M/VERSIONS/7:predict", Route("predict", of("M", 7))),
        ("GET /v1/models/m/METADATA", Route("status", of("m"))),
        ("GET /V1/MODELS", Route("list", None)),
    ],
)
def test_letters_of_either_case_name_the_same_path_but_not_the_same_call(
    line: str, route: Route
) -> None:
    assert parse_route(*line.split()) == route


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("GET /v1/models/metadata", "metadata"),
        ("GET /v1/models/versions", "versions"),
        ("GET /v1/models/m?x=1", "m?x=1"),
        ("GET /v1/models/m#part", "m#part"),
        ("POST /v1/models/m?x=1:predict", "m?x=1"),
    ],
)
def test_what_looks_like_something_else_is_part_of_the_name(line: str, name: str) -> None:
    found = parse_route(*line.split()).servable
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        ("a%2Fb%3Ac", "a/b:c"),
        ("a+b", "a+b"),
        ("gr%C3%BCn", "grün"),
        ("%00", "\0"),
        ("%ff", "\udcff"),
        ("a%20b", "a b"),
        # A broken escape stands for itself, as it does for curl_easy_unescape.
        ("a%", "a%"),
        ("a%2", "a%2"),
        ("a%zzb", "a%zzb"),
        ("%252F", "%2F"),
    ],
)
def test_names_and_labels_are_percent_decoded(encoded: str, decoded: str) -> None:
    assert parse_route("POST", f"/v1/models/{encoded}/labels/{encoded}:predict") == Route(
        "predict", of(decoded, label=decoded)
    )


@pytest.mark.parametrize(
    ("digits", "version"),
    [
        ("0", 0),
        ("00000123", 123),
        ("9223372036854775807", 2**63 - 1),
        ("0" * 10_000, 0),
        ("0" * 10_000 + "5", 5),
    ],
)
def test_a_version_is_a_decimal_number(digits: str, version: int) -> None:
    assert parse_route("GET", f"/v1/models/m/versions/{digits}") == Route(
        "status", of("m", version)
    )


@pytest.mark.parametrize("digits", ["9223372036854775808", "99999999999999999999", "1" * 10_000])
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/models/m/versions/{}"),
        ("GET", "/v1/models/versions/{}"),
        ("GET", "/v1/models/m/versions/{}/metadata"),
        ("POST", "/v1/models/m/versions/{}:predict"),
        ("POST", "/v1/models/m/versions/{}:PREDICT"),
    ],
)
def test_a_version_past_64_bits_is_no_number(method: str, target: str, digits: str) -> None:
    with pytest.raises(UnreadableName) as raised:
        parse_route(method, target.format(digits))
    assert raised.value.message == f"Failed to convert version: {digits} to numeric."


@pytest.mark.parametrize(
    "target", ["/v1/models/versions/3", "/v1/models/labels/l", "/v1/models/versions/3/metadata"]
)
def test_a_call_on_no_model_is_refused(target: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_route("GET", target)
    assert (raised.value.message, raised.value.hint) == (
        "Missing model name in request.",
        GOOD_FORMS,
    )


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("GET /v1/models/m:predict", "Did you mean POST /v1/models/m:predict?"),
        ("PUT /v1/models/m:predict", "Did you mean POST /v1/models/m:predict?"),
        ("POST /v1/models/m/predict", "Did you mean POST /v1/models/m:predict?"),
        ("POST /v1/models/m/:predict", "Did you mean POST /v1/models/m:predict?"),
        ("POST /v1/models/m:predict/", "Did you mean POST /v1/models/m:predict?"),
        ("POST /v1/models/m:PREDICT", "Did you mean POST /v1/models/m:predict?"),
        (
            "POST /v1/models/m/versions/3/predict",
            "Did you mean POST /v1/models/m/versions/3:predict?",
        ),
        ("POST /v1/models/m:predict?x=1", "Did you mean POST /v1/models/m:predict?"),
        ("POST /v1/models/m:explain?x=1", "The URL of a POST takes no query"),
        ("POST /v1/models/m", "Did you mean POST /v1/models/m:predict?"),
        ("POST /v1/models/m/versions/3", "Did you mean POST /v1/models/m/versions/3:predict?"),
        ("GET /v1/models/", "Did you mean GET /v1/models?"),
        ("GET /v1/models/m/", "Did you mean GET /v1/models/m?"),
        ("GET /v1/models/m/metadata/", "Did you mean GET /v1/models/m/metadata?"),
        ("POST /v1/models/m/metadata", "Did you mean GET /v1/models/m/metadata?"),
        ("POST /v1/models:predict", GOOD_FORMS),
        ("POST /v1/models", "Did you mean GET /v1/models?"),
        ("GET /v1/models?x=1", GOOD_FORMS),
        ("GET /v1/", GOOD_FORMS),
        ("GET /v1/nonsense", GOOD_FORMS),
        ("GET /v1/models/m/versions/3/labels/l", GOOD_FORMS),
        ("POST /v1/models/m/versions/3/labels/l:predict", GOOD_FORMS),
        ("GET /v1/models/m/versions/x", GOOD_FORMS),
        ("GET /v1/models/m/versions/-1", GOOD_FORMS),
        ("GET /v1/models/m/versions/", GOOD_FORMS),
        ("GET /v1/models/m/extra", GOOD_FORMS),
        ("POST /v1/models/m:explain", GOOD_FORMS),
        ("PUT /v1/models/m?x", "Did you mean GET /v1/models/m?"),
        ("PUT /v1/models/m", "Did you mean GET /v1/models/m?"),
        ("DELETE /v1/models/m", "Did you mean GET /v1/models/m?"),
        ("PATCH /v1/models/m", "Did you mean GET /v1/models/m?"),
        ("HEAD /v1/models/m", "Did you mean GET /v1/models/m?"),
    ],
)
def test_anything_else_is_malformed_and_the_hint_says_what_would_do(line: str, hint: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_route(*line.split())
    assert (raised.value.message, raised.value.hint) == (f"Malformed request: {line}", hint)


@pytest.mark.parametrize(
    ("target", "is_api"),
    [
        ("/v1/", True),
        ("/V1/anything?x", True),
        ("/v1", False),
        ("/v2/models", False),
        ("/", False),
        ("/x/v1/", False),
    ],
)
def test_the_api_is_what_lies_under_v1(target: str, is_api: bool) -> None:
    assert bool(re.fullmatch(ANY, target)) is is_api


@pytest.mark.parametrize("filling", ["/", ":", "/:", "/predict", ":predict", "/versions/1", "%"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_long_path_is_read_in_no_time(method: str, filling: str) -> None:
    target = "/v1/models/" + filling * (100_000 // len(filling))
    begun = time.perf_counter()
    with suppress(InvalidArgument):
        parse_route(method, target)
    assert time.perf_counter() - begun < 0.5  # some milliseconds; a second where it is squared


@given(st.sampled_from(["GET", "POST", "HEAD"]), st.text(st.characters(codec="ascii")))
def test_whatever_the_path_it_is_a_call_or_an_error_of_the_request(method: str, path: str) -> None:
    try:
        route = parse_route(method, f"/v1/{path}")
    except InvalidArgument as error:
        is_well_answered = isinstance(error, UnreadableName) or error.hint is not None
    else:
        is_well_answered = (route.servable is None) == (route.call == "list")
    assert is_well_answered


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("POST", "/v1/models/m:predict", "m"),
        ("POST", "/V1/models/a%20b/versions/1:PREDICT", "a b"),
        ("GET", "/v1/models/m/versions/99999999999999999999/metadata", "m"),
        ("GET", "/v1/models", ""),
        ("GET", "/v1/models/m:predict", ""),
        ("PUT", "/v1/models/m", ""),
    ],
)
def test_a_model_is_named_also_where_the_rest_is_wrong(method: str, target: str, name: str) -> None:
    assert named_model(method, target) == name
