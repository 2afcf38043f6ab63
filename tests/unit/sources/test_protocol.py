from pathlib import Path

import pytest

from salver.errors import InvalidArgument
from salver.sources.protocol import MonitoredServable, select, within
from salver.vocabulary.servable import All


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/data", "a..b", "...", " x", "-rf"])
def test_the_name_of_a_file_stays_in_its_directory(name: str) -> None:
    assert within(Path("/into"), name) == Path("/into", name)


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".", "./a", "a\0b", "..\\x", "c:\\x"],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be the name of a file of a model"):
        within(Path("/into"), name)


@pytest.mark.parametrize(
    "name", ["../1", "1/..", "1/../../2", "..", "1\0", "/1", "1\\..", "0x1", "1.0", "-1", "１"]
)
def test_what_leads_elsewhere_is_no_version(name: str) -> None:
    assert dict(select(MonitoredServable("m", "toy://m", All()), [name, "7"])) == {7: "7"}
