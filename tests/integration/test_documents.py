"""Every code block of the documents is run, or says why not."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.documents import ROOT, Page, blocks_of, copy_models, pages
from tests.with_torch import marks_with_torch

PAGES = [page for page in pages() if blocks_of(page)]
OF_TORCH = ("from-pytorch.md", "from-hugging-face.md")
"""Run by scripts/stress where PyTorch is not installed."""


def _run(path: Path) -> object:
    marks = marks_with_torch() if path.name in OF_TORCH else ()
    return pytest.param(path, marks=marks, id=str(path.relative_to(ROOT)))


@pytest.fixture
def page(
    model_path: Callable[[str], Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Page]:
    is_of_torch = request.node.callspec.params["path"].name in OF_TORCH
    if find_spec("tensorflow") is None and not is_of_torch:
        pytest.skip("TensorFlow is not installed")
    made = Page(tmp_path, partial(copy_models, model_path))
    yield made
    made.close()


@pytest.mark.parametrize("path", [_run(page) for page in PAGES])
def test_a_page_does_what_it_says(path: Path, page: Page) -> None:
    page.run(blocks_of(path))


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_marker_is_one_that_is_known_and_gives_a_reason(path: Path) -> None:
    for block in blocks_of(path):
        if block.marker:
            known = block.marker == "output varies" or any(
                block.marked(key) for key in ("not run", "file", "parses as")
            )
            assert known, f"{block.where}: {block.marker}"


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_marker_stands_apart_from_its_block(path: Path) -> None:
    markers = re.findall(r"<!-- (?:not run|file|parses as):|<!-- output varies", path.read_text())
    assert len(markers) == sum(bool(block.marker) for block in blocks_of(path))


def test_most_blocks_are_run() -> None:
    """A marker is for what cannot be run here, and not for what was not tried."""
    blocks = [block for path in pages() for block in blocks_of(path)]
    left_out = [block for block in blocks if block.marked("not run")]
    assert len(left_out) < len(blocks) / 3, [block.where for block in left_out]


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_changes_the_rights_of_files_that_later_ones_make(path: Path) -> None:
    """Here each command has a shell of its own; whoever follows a page has one for all."""
    assert not re.search(r"^\$ umask", path.read_text(), re.MULTILINE)
