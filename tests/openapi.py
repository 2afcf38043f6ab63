"""The validator of OpenAPI's own schema, of the package `openapi-spec-validator`."""

import os
from importlib.util import find_spec
from typing import Any

import pytest

__all__ = ["validate"]


def validate(document: Any) -> None:
    """Fail for what is no OpenAPI document; skip where the validator is not installed."""
    if find_spec("openapi_spec_validator") is None and not os.environ.get("SALVER_CI"):
        pytest.skip("openapi-spec-validator is not installed")
    from openapi_spec_validator import validate as check

    check(document)
