import pytest

from salver.config.batching import BatchingParameters
from salver.config.model_options import ModelOptions
from salver.config.models import ModelConfig
from salver.errors import InvalidArgument
from salver.management.merging import check_batching


def model(parameters: BatchingParameters | None) -> ModelConfig:
    return ModelConfig(name="m", base_path="/m", options=ModelOptions(batching=parameters))


def test_parameters_that_contradict_each_other_are_refused_with_the_name_of_the_model() -> None:
    check_batching([model(None), model(BatchingParameters(max_batch_size=4))])
    with pytest.raises(InvalidArgument) as caught:
        check_batching([model(BatchingParameters(max_batch_size=4, allowed_batch_sizes=(2,)))])
    assert caught.value.message == (
        "salver.batching of model m: Last entry in allowed_batch_sizes must match max_batch_size; "
        "last entry was 2; expected 4"
    )
