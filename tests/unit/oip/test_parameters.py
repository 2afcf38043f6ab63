from typing import Any

import pytest

from salver.errors import InvalidArgument, ServingError, Unimplemented
from salver.oip.parameters import NO_PARAMETERS, Parameters, read_parameters


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({}, NO_PARAMETERS),
        ({"signature_name": "embed"}, Parameters(signature_name="embed")),
        ({"timeout": 1_500_000}, Parameters(timeout_s=1.5)),
        ({"timeout": 0}, NO_PARAMETERS),
        ({"priority": 3}, Parameters(priority=3)),
        ({"binary_data_output": True}, Parameters(is_binary=True)),
        ({"anything": "else", "headers": 7, "triton_enable_empty": True}, NO_PARAMETERS),
        ({"sequence_id": 0, "sequence_start": False, "sequence_end": False}, NO_PARAMETERS),
    ],
)
def test_known_parameters_are_read_and_others_ignored(
    given: dict[str, Any], read: Parameters
) -> None:
    assert read_parameters(given) == read


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"timeout": "1"}, InvalidArgument, "Unable to parse 'timeout'"),
        ({"timeout": -1}, InvalidArgument, "Unable to parse 'timeout'"),
        ({"timeout": 1 << 64}, InvalidArgument, "Unable to parse 'timeout'"),
        ({"timeout": 1.5}, InvalidArgument, "Unable to parse 'timeout'"),
        ({"priority": True}, InvalidArgument, "Unable to parse 'priority'"),
        ({"signature_name": 1}, InvalidArgument, "Unable to parse 'signature_name'"),
        ({"binary_data_output": 1}, InvalidArgument, "Unable to parse 'binary_data_output'"),
        ({"sequence_id": 4}, Unimplemented, "sequences are not supported: parameter 'sequence_id'"),
        ({"sequence_start": True}, Unimplemented, "'sequence_start'"),
        ({"shared_memory_region": "r"}, Unimplemented, "shared memory is not supported"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    given: dict[str, Any], kind: type[ServingError], message: str
) -> None:
    with pytest.raises(kind) as raised:
        read_parameters(given)
    assert message in raised.value.message
