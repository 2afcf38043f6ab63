from typing import Any, ClassVar

import pytest
from tests import mischief

from salver.backends.protocol import Capabilities
from salver.children.limits import ChildLimits, ChildSettings
from salver.config.model_options import LoadSettings, ModelOptions, run_here
from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.errors import InvalidArgument
from salver.management.placing import limits_of, placement
from salver.vocabulary.servable import ServableId

ID = ServableId("m", 1)


class Anywhere(mischief.Mischief):
    capabilities: ClassVar[Capabilities] = Capabilities()


def _placed(
    own: str, flag: str, kind: type[mischief.Mischief] = Anywhere, **more: Any
) -> ChildSettings | None:
    settings = LoadSettings("p", isolation=own, **more)
    return placement(settings, ServerOptions(isolation=flag), kind(), ID)


@pytest.mark.parametrize(
    ("own", "flag", "is_child"),
    [
        ("", "none", False),
        ("", "process", True),
        ("process", "none", True),
        ("none", "process", False),
    ],
)
def test_a_model_says_where_it_runs_and_else_the_flag_does(
    own: str, flag: str, is_child: bool
) -> None:
    assert (_placed(own, flag) is not None) == is_child


def test_one_that_needs_a_process_has_one_whatever_is_said() -> None:
    assert _placed("none", "none", mischief.Mischief) == ChildSettings()


def test_what_its_processes_are_is_taken_from_its_options() -> None:
    more: dict[str, Any] = {"instances": 3, "cpus": 2, "python_executable": "/p"}
    assert _placed("process", "none", **more) == ChildSettings(3, 2, "/p")
    own = ModelOptions(max_concurrent_runs=4, max_resident_bytes=5, on_timeout="kill")
    assert limits_of(own) == ChildLimits(4, 5, "kill")
    assert limits_of(ModelOptions(max_concurrent_runs=0)) == ChildLimits()


@pytest.mark.parametrize(
    "more", [{"instances": 2}, {"cpus": 1}, {"python_executable": "/p"}], ids=str
)
def test_what_only_processes_have_is_refused_without(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=f"sets salver.{next(iter(more))}, which") as caught:
        _placed("none", "none", **more)
    assert caught.value.is_final


def test_those_that_run_here_are_told_apart() -> None:
    models = [
        ModelConfig(name=own or "silent", base_path="/b", options=ModelOptions(isolation=own))
        for own in ("", "none", "process")
    ]
    assert [model.name for model in run_here(models, "none")] == ["silent", "none"]
    assert [model.name for model in run_here(models, "process")] == ["none"]
