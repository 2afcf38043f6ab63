from dataclasses import replace

import pytest

from salver.config.options import ServerOptions
from salver.workers.shares import share_of_worker

DEFAULTS = ServerOptions()


@pytest.mark.parametrize(("cpus", "share"), [(16, 4), (2, 1), (1, 1)])
def test_threads_are_shared_out_among_the_workers(cpus: int, share: int) -> None:
    found = share_of_worker(DEFAULTS, 4, cpus=cpus)
    assert found.rest_api_num_threads == found.grpc_max_threads == 4 * share
    assert found.num_tflite_pools == share
    assert found.tensorflow_intra_op_parallelism == share
    assert found.tensorflow_inter_op_parallelism == share


def test_what_a_flag_says_is_meant_for_each_worker() -> None:
    options = replace(
        DEFAULTS, rest_api_num_threads=7, num_tflite_pools=9, tensorflow_intra_op_parallelism=5
    )
    found = share_of_worker(options, 2, cpus=8)
    assert (found.rest_api_num_threads, found.num_tflite_pools) == (7, 9)
    assert found.tensorflow_intra_op_parallelism == 5
    assert found.tensorflow_inter_op_parallelism == 0


@pytest.mark.parametrize(
    "named",
    [
        {"tensorflow_session_config_file": "f"},
        {"platform_config_file": "f"},
        {"tensorflow_session_parallelism": 3},
    ],
)
def test_a_file_or_flag_that_says_threads_is_left_alone(named: dict[str, str]) -> None:
    options = replace(DEFAULTS, **named)  # type: ignore[arg-type]
    assert share_of_worker(options, 2, cpus=8).tensorflow_intra_op_parallelism == 0


def test_by_default_it_is_the_share_of_the_cpus_of_this_process() -> None:
    assert share_of_worker(DEFAULTS, 10_000).rest_api_num_threads == 4
