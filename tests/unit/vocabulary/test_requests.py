import numpy as np
import pytest

from salver.vocabulary.requests import ClassifyResult, RegressResult, ServableRequest


def test_a_request_wants_the_latest_version_unless_it_says_so() -> None:
    assert ServableRequest("m") == ServableRequest("m", version=None, label=None)


@pytest.mark.parametrize(
    "value",
    [
        ServableRequest("m", version=1),
        ClassifyResult(None, None),
        RegressResult(np.zeros(1, np.float32)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_crosses_the_waist_cannot_be_changed(value: object) -> None:
    with pytest.raises((AttributeError, TypeError)):
        value.surprise = 1  # type: ignore[attr-defined]
