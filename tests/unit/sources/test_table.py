from pathlib import Path

import pytest
from tests import toy_source

from salver.errors import Unimplemented
from salver.sources import table
from salver.sources.table import make_source


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "plugins"
    toy_source.install(directory)
    monkeypatch.syspath_prepend(str(directory))
    return directory


def test_an_entry_point_of_the_group_is_a_source(plugins: Path) -> None:
    source = make_source("toy")
    assert source is not None
    assert type(source).__name__ == "ToySource"
    assert type(source).__module__ == "toy_source"


def test_a_scheme_without_a_source_has_none(plugins: Path) -> None:
    assert make_source("odd") is None


def test_a_plug_in_that_cannot_be_used_says_whose_and_why(plugins: Path) -> None:
    toy_source.install(plugins, attribute="NoSuch")
    with pytest.raises(Unimplemented) as raised:
        make_source("toy")
    assert raised.value.message.startswith(
        "The source for toy:// (toy_source:NoSuch) cannot be used: AttributeError: "
    )


def test_a_built_in_source_is_taken_before_a_plug_in(
    plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(table.BUILT_IN, "toy", ("tests.toy_source", "make"))
    assert isinstance(make_source("toy"), toy_source.ToySource)
