import inspect

import pytest
from tests.shelf import Shelf

from salver.inference.serving import Serving
from salver.management.core import ServerCore


@pytest.mark.parametrize("kind", [ServerCore, Shelf])
def test_what_the_apis_ask_for_the_server_has(kind: type) -> None:
    for name, asked in inspect.getmembers(Serving, inspect.isfunction):
        if not name.startswith("_"):
            has = inspect.signature(getattr(kind, name)).parameters
            assert list(has) == list(inspect.signature(asked).parameters)
