import pytest

from salver.errors import Internal
from salver.inference.predict import check_predict_signature
from salver.signature import Signature


@pytest.mark.parametrize("method", ["predict", "classify", "regress"])
def test_a_signature_of_any_method_can_be_used_to_predict(method: str) -> None:
    check_predict_signature(Signature({}, {}, f"tensorflow/serving/{method}"))


@pytest.mark.parametrize("method_name", ["", "other", "tensorflow/serving/Predict"])
def test_a_signature_exported_for_something_else_is_refused(method_name: str) -> None:
    with pytest.raises(Internal) as raised:
        check_predict_signature(Signature({}, {}, method_name))
    assert raised.value.message == (
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: " + method_name
    )
