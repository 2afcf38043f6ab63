from pathlib import Path

import pytest

from salver.config.batching import (
    BatchingParameters,
    BatchingSetup,
    batching_setup,
    read_batching_parameters,
    read_version_parameters,
)
from salver.config.options import ServerOptions, schedulable_cpus
from salver.errors import InvalidArgument, NotFound

EVERY_FIELD = """
max_batch_size { value: 128 }
batch_timeout_micros { value: 5 }
max_enqueued_batches { value: 1000000 }
num_batch_threads { value: 8 }
thread_pool_name { value: "mine" }
allowed_batch_sizes: 32
allowed_batch_sizes: 128
pad_variable_length_inputs: true
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 64 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "batching.txt"
    path.write_text(EVERY_FIELD)
    return path


def test_every_field_of_the_file_is_read(file: Path) -> None:
    assert read_batching_parameters(str(file)) == BatchingParameters(
        max_batch_size=128,
        batch_timeout_micros=5,
        max_enqueued_batches=1000000,
        num_batch_threads=8,
        thread_pool_name="mine",
        allowed_batch_sizes=(32, 128),
        pad_variable_length_inputs=True,
        enable_large_batch_splitting=True,
        max_execution_batch_size=64,
    )


def test_what_is_zero_is_not_the_same_as_what_is_not_set(file: Path) -> None:
    file.write_text("max_batch_size { value: 0 } batch_timeout_micros { }")
    parameters = read_batching_parameters(str(file))
    assert parameters == BatchingParameters(max_batch_size=0, batch_timeout_micros=0)
    assert parameters.max_enqueued_batches is None


def test_without_the_flag_nothing_is_batched(file: Path) -> None:
    assert batching_setup(ServerOptions(batching_parameters_file=str(file))) is None


def test_the_flag_alone_batches_by_the_defaults() -> None:
    setup = batching_setup(ServerOptions(enable_batching=True))
    assert setup is not None
    assert setup.num_threads == schedulable_cpus()
    assert setup.thread_pool_name == "model_server_batch_threads"
    assert setup.version_parameters("/nowhere") == BatchingParameters(
        thread_pool_name="model_server_batch_threads"
    )


def test_the_file_says_how_many_threads_and_what_they_are_called(file: Path) -> None:
    setup = batching_setup(ServerOptions(enable_batching=True, batching_parameters_file=str(file)))
    assert setup is not None
    assert (setup.num_threads, setup.thread_pool_name) == (8, "mine")
    assert setup.version_parameters("/nowhere") == setup.parameters


def test_a_file_that_names_no_threads_leaves_the_name_of_the_library(file: Path) -> None:
    file.write_text("# nothing")
    setup = batching_setup(ServerOptions(enable_batching=True, batching_parameters_file=str(file)))
    assert setup is not None
    assert (setup.num_threads, setup.thread_pool_name) == (schedulable_cpus(), "batch_threads")


@pytest.mark.parametrize("threads", [0, -3])
def test_no_thread_is_refused_at_start_up(threads: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        BatchingSetup.of(BatchingParameters(num_batch_threads=threads), is_per_model=False)
    assert caught.value.message == f"num_batch_threads must be positive; was {threads}"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "none")
    with pytest.raises(NotFound):
        batching_setup(ServerOptions(enable_batching=True, batching_parameters_file=path))


class TestPerModel:
    @pytest.fixture
    def setup(self, file: Path) -> BatchingSetup:
        setup = batching_setup(
            ServerOptions(
                enable_batching=True,
                batching_parameters_file=str(file),
                enable_per_model_batching_parameters=True,
            )
        )
        assert setup is not None
        return setup

    def test_a_version_without_a_file_is_not_batched(
        self, setup: BatchingSetup, tmp_path: Path
    ) -> None:
        assert setup.version_parameters(str(tmp_path)) is None

    def test_a_version_with_a_file_is_batched_by_nothing_else(
        self, setup: BatchingSetup, tmp_path: Path
    ) -> None:
        (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")
        assert setup.version_parameters(str(tmp_path)) == BatchingParameters(max_batch_size=3)
        assert (setup.num_threads, setup.thread_pool_name) == (8, "mine")

    def test_a_file_that_is_no_parameters_is_refused_by_its_path(self, tmp_path: Path) -> None:
        path = tmp_path / "batching_params.pbtxt"
        path.write_text("max_batch_size: 3")
        with pytest.raises(InvalidArgument) as caught:
            read_version_parameters(str(tmp_path))
        assert caught.value.message == f"Invalid protobuf file: '{path}'"
