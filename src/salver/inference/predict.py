"""What Predict checks of a signature. Pure.

Source: TensorFlow Serving, `servables/tensorflow/predict_util.cc`.
"""

from salver.errors import Internal
from salver.signature import (
    CLASSIFY_METHOD_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
    Signature,
)

__all__ = ["check_predict_signature"]

_METHOD_NAMES = (PREDICT_METHOD_NAME, CLASSIFY_METHOD_NAME, REGRESS_METHOD_NAME)


def check_predict_signature(signature: Signature) -> None:
    """Refuse a signature exported for something else (`--enable_signature_method_name_check`).

    Raises:
        Internal: in the reference's words.
    """
    if signature.method_name not in _METHOD_NAMES:
        raise Internal(
            "Expected prediction signature method_name to be one of "
            f"{{{', '.join(_METHOD_NAMES)}}}. Was: {signature.method_name}"
        )
