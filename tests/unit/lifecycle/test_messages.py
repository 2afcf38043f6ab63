from salver.lifecycle.attempt import Attempt
from salver.lifecycle.messages import FilesChanged, Loaded
from salver.servable import ServableId

V1 = ServableId("m", 1)


def test_messages_are_values() -> None:
    assert FilesChanged(V1, None) == FilesChanged(V1, None)
    assert Loaded(Attempt(V1, "/m/1"), "model").model == "model"
