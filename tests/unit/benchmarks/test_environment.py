from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module")
def environment(module_named: Callable[[str], Any]) -> Any:
    return module_named("environment")


def test_the_model_of_the_cpu_is_read(environment: Any) -> None:
    cpuinfo = "processor\t: 0\nvendor_id\t: X\nmodel name\t: Some CPU @ 2 GHz\nprocessor\t: 1\n"
    assert environment.cpu_model(cpuinfo) == "Some CPU @ 2 GHz"


def test_without_a_name_the_machine_is_said(environment: Any) -> None:
    assert environment.cpu_model("processor: 0\n")


def test_versions_are_of_what_is_installed(environment: Any) -> None:
    found = environment.versions()
    assert "numpy" in found
    assert "nothing-of-this-name" not in found
