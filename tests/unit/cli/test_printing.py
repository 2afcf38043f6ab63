import pytest

from salver.cli.printing import error_lines, print_error
from salver.errors import InvalidArgument

NODES = "[[{{function_node __inference_call_14}}{{node dense/MatMul}}]]"


def test_the_names_of_nodes_come_last() -> None:
    error = InvalidArgument(f"Matrix size-incompatible\n\t {NODES}", hint="Input x is [1, 3]")
    assert error_lines(error) == ["Matrix size-incompatible", "Input x is [1, 3]", NODES]


def test_an_error_without_a_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(InvalidArgument("There is no\nfile x"))
    assert capsys.readouterr().err == "salver: There is no file x\n"


def test_a_hint_of_several_lines_stands_below(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(InvalidArgument("It ended", hint="The log ends with:\nSegmentation fault"))
    assert capsys.readouterr().err == (
        "salver: It ended\n  The log ends with:\n  Segmentation fault\n"
    )
