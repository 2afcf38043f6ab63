import pytest

from salver.codecs.protobuf.model_spec import ModelSpec
from salver.request_log.sending import Redirection

LOGGED = ModelSpec("m", 3, None, "s")


@pytest.mark.parametrize(
    ("redirection", "asked"),
    [
        (Redirection(), LOGGED),
        (Redirection(model="n"), ModelSpec("n", 3, None, "s")),
        (Redirection(version=0), ModelSpec("m", 0, None, "s")),
        (Redirection(label="l"), ModelSpec("m", None, "l", "s")),
        (Redirection(signature="t"), ModelSpec("m", 3, None, "t")),
    ],
)
def test_what_is_given_replaces_what_is_logged(redirection: Redirection, asked: ModelSpec) -> None:
    assert redirection.of(LOGGED) == asked
