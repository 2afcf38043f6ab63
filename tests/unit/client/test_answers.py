import numpy as np

from salver.client.answers import ModelStatus, Outputs, VersionStatus
from salver.errors import NotFound


def test_outputs_are_a_dict_that_knows_the_version() -> None:
    outputs = Outputs({"y": np.zeros(2)}, 7)
    assert list(outputs) == ["y"]
    assert outputs.version == 7


def test_available_versions_come_newest_first() -> None:
    states = {1: "END", 3: "AVAILABLE", 10: "AVAILABLE", 11: "LOADING"}
    status = ModelStatus(
        "m",
        tuple(VersionStatus(version, state, NotFound("x")) for version, state in states.items()),
    )
    assert status.available == (10, 3)
