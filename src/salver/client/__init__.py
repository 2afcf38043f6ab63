"""The client: asks a server by REST or gRPC, numpy in and numpy out.

Its calls are written once, as generators of steps (`operations`); a wire form (`rest_wire`,
`grpc_wire`) says what each step sends and how the reply reads, and a transport (`http_transport`,
`grpc_transport`) carries it, blocking or not.
"""

from salver.client.address import Tls
from salver.client.answers import (
    ListedModel,
    ModelMetadata,
    ModelStatus,
    Outputs,
    ScoredClass,
    VersionStatus,
)
from salver.client.asynchronous import AsyncClient
from salver.client.blocking import Client

__all__ = [
    "AsyncClient",
    "Client",
    "ListedModel",
    "ModelMetadata",
    "ModelStatus",
    "Outputs",
    "ScoredClass",
    "Tls",
    "VersionStatus",
]
