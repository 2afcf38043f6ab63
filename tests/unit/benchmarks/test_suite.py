import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def suite(module_named: Callable[[str], Any]) -> Any:
    return module_named("suite")


@pytest.fixture
def stage(module_named: Callable[[str], Any], tmp_path: Path) -> Any:
    return module_named("stage").Stage(1, 1.0, True, tmp_path, tmp_path)


def test_without_names_all_cases_are_measured(suite: Any) -> None:
    assert suite.parsed([]).names == list(suite.CASES)


def test_every_case_is_where_it_is_looked_for(suite: Any) -> None:
    for module, function in suite.CASES.values():
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        assert f"\ndef {function}(stage: Stage) -> Result:" in Path(spec.origin).read_text()


def test_quick_is_fewer_and_shorter_turns_unless_they_are_given(suite: Any) -> None:
    assert (suite.parsed([]).turns, suite.parsed([]).seconds) == (5, 2.0)
    quick = suite.parsed(["--quick"])
    assert (quick.turns, quick.seconds) == (2, 1.0)
    assert suite.parsed(["--quick", "--turns", "7"]).turns == 7


def test_options_describe_the_target_before_them(suite: Any) -> None:
    chosen = suite.parsed(
        [
            *("rest", "--target", "one", "--command", "a {model}", "--url", "http://x/"),
            *("--target", "two", "--grpc", "127.0.0.1:1", "--command", "b"),
        ]
    )
    assert chosen.names == ["rest"]
    one, two = chosen.targets
    assert (one.name, one.command, one.url, one.grpc) == ("one", "a {model}", "http://x/", "")
    assert (two.name, two.command, two.url, two.grpc) == ("two", "b", "", "127.0.0.1:1")
    assert one.takes_models
    assert not two.takes_models


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "http://x/"], "--url needs --target before it"),
        (["--target", "one", "--url", "http://x/"], "target one needs --command"),
        (["--target", "one", "--command", "a"], "target one needs --command"),
        (["nothing"], "invalid choice"),
    ],
)
def test_a_target_that_cannot_be_asked_is_refused(
    suite: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        suite.parsed(arguments)
    assert said in capsys.readouterr().err


def test_targets_are_asked_only_what_they_can_answer(
    module_named: Callable[[str], Any], tmp_path: Path
) -> None:
    extra = module_named("contestants").Extra
    extras = (extra("any", "a {model}"), extra("half", "b"))
    stage = module_named("stage").Stage(
        1, 1.0, True, tmp_path, tmp_path, {"peer": lambda: None}, extras
    )
    assert list(stage.others()) == ["any"]
    assert list(stage.others(is_half_plus_two=True)) == ["any", "half"]
    assert list(stage.others(is_half_plus_two=True, with_peers=True)) == ["peer", "any", "half"]


def test_places_in_a_command_are_filled(module_named: Callable[[str], Any]) -> None:
    filled = module_named("contestants").filled
    places = {"{model}": "/m", "{rest_port}": "8501"}
    assert filled("--base={model}:{rest_port} {other}", places) == "--base=/m:8501 {other}"


def test_a_case_that_fails_is_written_down(
    suite: Any, stage: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(suite.CASES, "broken", ("figures", "nothing_of_this_name"))
    result = suite.measured("broken", stage)
    assert result.case == "broken"
    assert result.failed.startswith("AttributeError: ")
    assert not result.figures
    assert "Traceback" in capsys.readouterr().err


def test_the_older_names_of_cases_stand_for_those_of_the_suite(suite: Any) -> None:
    names = {"small": "grpc", "float_val": "image_grpc", "tensor_content": "image_grpc"}
    assert suite.renamed(["small", "--turns", "3"], names) == ["grpc", "--turns", "3"]
    assert suite.renamed(["--quick"], names) == ["grpc", "image_grpc", "--quick"]
