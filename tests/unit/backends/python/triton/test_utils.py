import logging

import numpy as np
import pytest

from salver.backends.python.triton import utils


@pytest.mark.parametrize("number", range(1, 14))
def test_types_have_the_same_number_both_ways(number: int) -> None:
    assert utils.numpy_to_triton_type(utils.triton_to_numpy_type(number)) == number


def test_types_that_are_none_have_no_number() -> None:
    assert utils.triton_to_numpy_type(0) is None
    assert utils.numpy_to_triton_type(np.complex64) is None
    assert utils.numpy_to_triton_type(np.bytes_) == 13
    assert utils.triton_string_to_numpy("TYPE_FP16") is np.float16


def test_a_closed_sender_takes_nothing() -> None:
    sender = utils.ResponseSender()
    with pytest.raises(utils.TritonModelException, match="flags"):
        sender.send()
    with pytest.raises(utils.TritonModelException, match="Unknown flags"):
        sender.send(flags=7)
    sender.send(flags=utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    with pytest.raises(utils.TritonModelException, match="has been closed"):
        sender.send(utils.InferenceResponse())


def test_lines_are_in_the_log_with_their_levels(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "salver.models"):
        logger = utils.Logger
        logger.log_info("a")
        logger.log_warn("b")
        logger.log_error("c")
        logger.log_verbose("d")
        logger.log("e", logger.WARNING)
    assert [each.message for each in caplog.records] == list("abcde")
    assert [each.levelno for each in caplog.records[1:]] == [
        logging.WARNING, logging.ERROR, logging.DEBUG, logging.WARNING,
    ]  # fmt: skip


def test_configurations_are_looked_up_by_name() -> None:
    config = {"input": [{"name": "X", "dims": [1]}]}
    assert utils.get_input_config_by_name(config, "X") == {"name": "X", "dims": [1]}
    assert utils.get_output_config_by_name(config, "X") is None
    assert not utils.using_decoupled_model_transaction_policy(config)
