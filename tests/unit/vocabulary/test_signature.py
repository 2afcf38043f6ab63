from dataclasses import FrozenInstanceError

import pytest

from salver.vocabulary import signature
from salver.vocabulary.signature import Signature, is_internal


def test_well_known_names_are_those_of_saved_models() -> None:
    # tensorflow/cc/saved_model/signature_constants.h
    assert {name: getattr(signature, name) for name in signature.__all__ if name.isupper()} == {
        "DEFAULT_SIGNATURE": "serving_default",
        "PREDICT_METHOD_NAME": "tensorflow/serving/predict",
        "CLASSIFY_METHOD_NAME": "tensorflow/serving/classify",
        "CLASSIFY_INPUTS": "inputs",
        "CLASSIFY_OUTPUT_CLASSES": "classes",
        "CLASSIFY_OUTPUT_SCORES": "scores",
        "REGRESS_METHOD_NAME": "tensorflow/serving/regress",
        "REGRESS_INPUTS": "inputs",
        "REGRESS_OUTPUTS": "outputs",
    }


def test_a_signature_predicts_and_has_no_defaults_unless_it_says_so() -> None:
    plain = Signature(inputs={}, outputs={})
    assert (plain.method_name, dict(plain.defaults)) == ("tensorflow/serving/predict", {})


def test_a_signature_cannot_be_changed() -> None:
    plain = Signature(inputs={}, outputs={})
    with pytest.raises(FrozenInstanceError):
        plain.method_name = "other"  # type: ignore[misc]


def test_what_the_loader_runs_is_internal() -> None:
    assert is_internal("__saved_model_init_op")
    assert is_internal("__saved_model_train_op")
    assert not is_internal("serving_default")
    assert not is_internal("__mine")
