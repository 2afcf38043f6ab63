from salver.lifecycle.attempt import Attempt
from salver.lifecycle.messages import FilesChanged, Loaded, Troubled
from salver.servable import ServableId

V1 = ServableId("m", 1)


def test_messages_are_values() -> None:
    assert FilesChanged(V1, None) == FilesChanged(V1, None)
    assert Loaded(Attempt(V1, "/m/1"), "model").model == "model"


def test_version_in_trouble_is_what_its_failed_try_left() -> None:
    attempt = Attempt(V1, "/m/1", restarts=2, failed_s=5.0)
    assert Troubled.of(attempt) == Troubled(V1, "/m/1", None, failed_s=5.0, restarts=2)
