from pathlib import Path

import pytest

from salver.about.config_file import config_beside, policy_in, read_config
from salver.errors import FailedPrecondition

NINES = "9" * 5000


@pytest.mark.parametrize("number", ["1e999", "-1e999", "inf", "nan", "2e308f", NINES])
@pytest.mark.parametrize(
    "text",
    [
        "max_batch_size: {}",
        "instance_group {{ count: {} }}",
        "dynamic_batching {{ max_queue_delay_microseconds: {} }}",
        "dynamic_batching {{ preferred_batch_size: [ 1, {} ] }}",
        "version_policy {{ latest {{ num_versions: {} }} }}",
        "version_policy {{ specific {{ versions: {} }} }}",
        "input {{ dims: [ {} ] }}",
    ],
)
def test_a_number_that_is_none_of_something_makes_it_no_configuration(
    tmp_path: Path, text: str, number: str
) -> None:
    (tmp_path / "config.pbtxt").write_text(text.format(number))
    assert policy_in(str(tmp_path)) is None
    with pytest.raises(FailedPrecondition, match="is no configuration of a model"):
        config_beside(tmp_path / "1")


@pytest.mark.parametrize(
    "text", ["max_batch_size: 1e999", "instance_group { count: 1e999 }", "input { dims: [1e999] }"]
)
def test_a_model_is_not_handed_a_number_without_an_end(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.pbtxt").write_text(text)
    with pytest.raises(FailedPrecondition, match="is no configuration of a model"):
        read_config(tmp_path / "1", "m")
