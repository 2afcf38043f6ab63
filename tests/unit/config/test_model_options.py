from typing import Any

import pytest
from google.protobuf import text_format

from salver._pb import POOL, message_class
from salver.config.model_options import ModelOptions, Replicas, from_message, problems_of
from salver.config.models import ModelConfig, check_models, load_settings
from salver.errors import InvalidArgument, ServingError, Unimplemented


def _options(text: str) -> ModelOptions:
    message: Any = message_class("salver.ModelOptions")()
    return from_message(text_format.Parse(text, message, descriptor_pool=POOL))


def test_every_field_is_read() -> None:
    assert _options(
        'isolation: "process" instances: 2 max_resident_bytes: 2000000000 cpus: 3 '
        'max_concurrent_runs: 4 max_queued_runs: 100 python_executable: "/bin/python" '
        'on_timeout: "kill" '
        'options { key: "b" value: "2" } options { key: "a" value: "1" } '
        "replicas { min: 1 max: 3 pinned: true }"
    ) == ModelOptions(
        isolation="process",
        instances=2,
        max_resident_bytes=2_000_000_000,
        cpus=3,
        max_concurrent_runs=4,
        max_queued_runs=100,
        python_executable="/bin/python",
        on_timeout="kill",
        options={"a": "1", "b": "2"},
        replicas=Replicas(1, 3, is_pinned=True),
    )


def test_nothing_said_is_not_zero() -> None:
    assert _options("") == ModelOptions()
    assert _options("").max_queued_runs is None
    assert _options("max_queued_runs: 0").max_queued_runs == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        'isolation: "none" instances: 1',
        'isolation: "process" instances: 2 max_resident_bytes: 1 cpus: 1 on_timeout: "kill"',
        'isolation: "process" python_executable: "/usr/bin/python" on_timeout: "cooperative"',
        "replicas { min: 1 max: 1 }",
        'max_concurrent_runs: 1 max_queued_runs: 0 options { key: "a" value: "" }',
    ],
)
def test_what_asks_for_nothing_special_is_taken(text: str) -> None:
    assert list(problems_of("m", _options(text))) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("replicas", "replicas { max: 2 }"),
        ("replicas", "replicas { min: 1 max: 1 pinned: true }"),
    ],
)
def test_what_this_server_cannot_do_is_refused_by_its_name(name: str, text: str) -> None:
    ((field, error),) = problems_of("m", _options(text))
    assert field == name
    assert type(error) is Unimplemented
    assert error.message == f"Model m sets salver.{name}, which this server cannot do"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'isolation: "prison"',
            "salver.isolation of model m must be none or process, not 'prison'",
        ),
        ("max_queued_runs: -1", "salver.max_queued_runs of model m must be from 0 up, not -1"),
        ("instances: -1", "salver.instances of model m must be from 0 up, not -1"),
        ("instances: 257", "salver.instances of model m must be at most 256, not 257"),
        (
            'on_timeout: "shoot"',
            "salver.on_timeout of model m must be cooperative or kill, not 'shoot'",
        ),
        (
            'python_executable: "bin/python"',
            "salver.python_executable of model m must be an absolute path, not 'bin/python'",
        ),
    ],
)
def test_a_value_that_means_nothing_is_refused(text: str, message: str) -> None:
    ((_, error),) = problems_of("m", _options(text))
    assert type(error) is InvalidArgument
    assert error.message == message


def test_a_list_with_such_a_model_is_refused_as_a_whole() -> None:
    good = ModelConfig(name="a", base_path="/a", model_platform="tensorflow")
    bad = ModelConfig(name="b", base_path="/b", options=ModelOptions(isolation="prison"))
    with pytest.raises(ServingError, match=r"salver\.isolation of model b"):
        check_models([good, bad])


def test_a_load_depends_on_the_platform_the_options_and_the_processes_alone() -> None:
    def settings(**options: Any) -> object:
        model = ModelConfig(
            name="a", base_path="/a", model_platform="p", options=ModelOptions(**options)
        )
        return load_settings(model)

    assert settings() == settings(max_queued_runs=3, max_concurrent_runs=1)
    assert settings() == settings(max_resident_bytes=3, on_timeout="kill")
    assert settings() != settings(options={"threads": "2"})
    assert settings() != settings(isolation="process")
    assert settings() != settings(instances=2)
    assert settings() != settings(cpus=1)
    assert settings() != settings(python_executable="/usr/bin/python")
