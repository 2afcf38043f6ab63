import pytest

from salver import errors
from salver.errors import (
    Code,
    InvalidArgument,
    NotFound,
    ServingError,
    Unknown,
    error_of,
    hints_in_text,
)

# https://grpc.io/docs/guides/status-codes/
NUMBERS = {
    "OK": 0, "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5, "ALREADY_EXISTS": 6, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9, "ABORTED": 10, "OUT_OF_RANGE": 11, "UNIMPLEMENTED": 12,
    "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16,
}  # fmt: skip


def test_codes_are_the_canonical_ones() -> None:
    assert {code.name: code.value for code in Code} == NUMBERS


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_each_code_but_ok_has_one_class_named_after_it(code: Code) -> None:
    error = error_of(code, "words")
    assert (error.code, error.message) == (code, "words")
    assert type(error).__name__ == code.name.title().replace("_", "")
    assert type(error).__name__ in errors.__all__


@pytest.mark.parametrize("number", [0, 17, 99, -1])
def test_a_number_that_is_no_failure_is_unknown(number: int) -> None:
    error = error_of(number, "words")
    assert type(error) is Unknown
    assert error.message == "words"


def test_a_hint_is_no_part_of_the_message() -> None:
    error = InvalidArgument("bad shape", hint="wrap it in a list")
    assert (error.message, error.hint) == ("bad shape", "wrap it in a list")
    assert error.status == "INVALID_ARGUMENT: bad shape"


def test_the_text_of_an_error_that_a_program_meets_has_its_hint() -> None:
    error = InvalidArgument("bad shape", hint="wrap it in a list")
    assert str(error) == "bad shape"
    with pytest.raises(InvalidArgument), hints_in_text:
        raise error
    assert str(error) == "bad shape\n  wrap it in a list"
    assert (error.message, error.hint) == ("bad shape", "wrap it in a list")


def test_other_errors_keep_their_text() -> None:
    @hints_in_text
    def fail(error: Exception) -> None:
        raise error

    for error in (InvalidArgument("bad shape"), ValueError("no number")):
        with pytest.raises(type(error)) as caught:
            fail(error)
        assert str(caught.value) == str(error.args[0])


def test_an_error_needs_no_words() -> None:
    assert (str(ServingError()), ServingError().message, ServingError().hint) == ("", "", None)


def test_the_status_is_what_tensorflow_logs() -> None:
    assert NotFound("no model m").status == "NOT_FOUND: no model m"
