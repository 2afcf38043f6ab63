import pytest

from tests.contract.conftest import Served
from tests.contract.rpc.server import Rpc


@pytest.fixture(scope="session")
def rpc(served: Served) -> Rpc:
    """The gRPC API of the server of generated models."""
    return served.rpc
