import pytest

from salver.errors import FailedPrecondition, InvalidArgument
from salver.tfs.rpc.session import SessionNames, names_in_graph
from salver.vocabulary.model import TensorNames

NAMES = {
    "serving_default": TensorNames({"a": "in_a:0", "b": "in_b:0"}, {"y": "call:1", "z": "call:0"})
}


def test_aliases_become_names_of_the_graph_in_their_order() -> None:
    aliases = SessionNames(["b", "a"], ["z", "y", "z"], ["y"])
    assert names_in_graph(aliases, "serving_default", NAMES) == SessionNames(
        ("in_b:0", "in_a:0"), ("call:0", "call:1", "call:0"), ("call",)
    )


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        (
            SessionNames(["a", "y"], [], []),
            "input tensor alias not found in signature: y Inputs expected to be in the set {a,b}.",
        ),
        (
            SessionNames([], ["a"], []),
            "output tensor alias not found in signature: a Outputs expected to be in the set "
            "{y,z}.",
        ),
        (
            SessionNames([], [], ["call"]),
            "output tensor alias not found in signature: call Outputs expected to be in the set "
            "{y,z}.",
        ),
    ],
)
def test_an_alias_the_signature_does_not_have_is_told(aliases: SessionNames, message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        names_in_graph(aliases, "serving_default", NAMES)
    assert raised.value.message == message


def test_an_unknown_signature_is_told_as_predict_tells_it() -> None:
    with pytest.raises(FailedPrecondition, match=r'^Serving signature key "s" not found\.$'):
        names_in_graph(SessionNames([], [], []), "s", NAMES)
