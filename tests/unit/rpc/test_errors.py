import grpc
import pytest

from salver.errors import Code, InvalidArgument, ServingError, error_of
from salver.rpc.errors import GRPC_STATUS, RpcStatus, rpc_status

MARK = "...TRUNCATED"


def message_of(text: str) -> str:
    return rpc_status(InvalidArgument(text)).message


def test_every_code_has_the_number_that_grpc_gives_it() -> None:
    assert {code: GRPC_STATUS[code] for code in Code} == {
        code: getattr(grpc.StatusCode, code.name).value[0] for code in Code
    }
    assert len(grpc.StatusCode) == len(GRPC_STATUS)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_an_error_becomes_the_status_of_its_code(code: Code) -> None:
    assert rpc_status(error_of(code, "so it is")) == RpcStatus(code.value, "so it is")


def test_an_error_of_no_code_of_its_own_is_internal() -> None:
    assert rpc_status(ServingError("?")) == RpcStatus(13, "?")


def test_a_hint_is_no_part_of_the_message() -> None:
    status = rpc_status(InvalidArgument("no", hint="try yes"))
    assert (status.message, status.hint) == ("no", "try yes")


def test_a_long_hint_is_cut_as_a_message_is() -> None:
    assert len(rpc_status(InvalidArgument("no", hint="y" * 5000)).hint) < 1100


@pytest.mark.parametrize("text", ["", "a" * 1024, "é" * 512, "€" * 341 + "a", "🙂" * 256])
def test_a_message_of_up_to_1024_bytes_stays_whole(text: str) -> None:
    assert message_of(text) == text


def test_a_longer_message_is_cut_and_marked() -> None:
    assert message_of("a" * 1025) == "a" * 1024 + MARK
    assert message_of("ab" * 100_000) == "ab" * 512 + MARK


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("é" * 513, "é" * 512),
        ("a" + "é" * 512, "a" + "é" * 511),
        ("€" * 342, "€" * 341),
        ("a" + "€" * 342, "a" + "€" * 341),
        ("aa" + "€" * 342, "aa" + "€" * 340),
        ("🙂" * 257, "🙂" * 256),
        ("a" + "🙂" * 257, "a" + "🙂" * 255),
        ("aa" + "🙂" * 257, "aa" + "🙂" * 255),
        ("aaa" + "🙂" * 257, "aaa" + "🙂" * 255),
    ],
)
def test_no_character_is_cut_in_two(text: str, kept: str) -> None:
    assert message_of(text) == kept + MARK


def test_bytes_of_a_path_that_are_no_text_are_replaced() -> None:
    assert message_of("/models/\udcff/1") == "/models/\N{REPLACEMENT CHARACTER}/1"
    assert message_of("\udc80" * 1025) == "\N{REPLACEMENT CHARACTER}" * 1021 + MARK
