from salver._pb import message_class
from salver.client.wire import SIGNATURE_DEF_MAP, signatures_of
from salver.dtypes import DataType


def test_signatures_are_sorted_and_keep_their_defaults() -> None:
    message = message_class(SIGNATURE_DEF_MAP)()
    for name in ("b", "a"):
        message.signature_def[name].inputs["x"].dtype = DataType.INT32
    message.signature_def["a"].defaults["x"].dtype = DataType.INT32
    signatures = signatures_of(message)
    assert list(signatures) == ["a", "b"]
    assert signatures["a"].defaults == {"x": b"\x08\x03"}
    assert not signatures["b"].defaults
