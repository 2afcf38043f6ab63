"""The generators make what their catalogue says."""

from collections.abc import Callable
from pathlib import Path

import pytest

REFERENCE_VERSION = "00000123"
LOADABLE = [
    "counter", "every_dtype", "half_plus_three", "half_plus_two", "half_plus_two_2_versions",
    "matrix_half_plus_two", "two_tags", "big", "classes", "failing", "half_plus_two_tf2",
    "several", "slicer", "slow", "strings", "convnet", "mlp", "regression", "custom_op",
]  # fmt: skip


@pytest.mark.parametrize("name", LOADABLE)
def test_each_model_has_a_saved_model_in_its_highest_version(
    name: str, version_path: Callable[[str], Path]
) -> None:
    assert (version_path(name) / "saved_model.pb").stat().st_size > 500


@pytest.mark.parametrize(
    "name", ["half_plus_two", "half_plus_two_tf2", "half_plus_three", "counter"]
)
def test_models_with_an_original_are_numbered_like_it(
    name: str, version_path: Callable[[str], Path]
) -> None:
    assert version_path(name).name == REFERENCE_VERSION


def test_both_half_plus_twos_carry_their_asset(version_path: Callable[[str], Path]) -> None:
    for name in ("half_plus_two", "half_plus_two_tf2"):
        assert (version_path(name) / "assets" / "foo.txt").read_text() == "asset-file-contents"


def test_nothing_of_a_generation_cut_short_is_left_in_place(
    model_path: Callable[[str], Path],
) -> None:
    made = model_path("half_plus_two").parent
    assert [child for child in made.parent.iterdir() if child.name.startswith("tf1.")] == [
        made.parent / "tf1.lock"
    ]
