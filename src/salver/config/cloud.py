"""What a cloud's contract for containers of models says of a server's flags.

Amazon SageMaker and Google's Vertex AI start a container, tell it by variables where to listen and
where the model is, and ask it by paths of theirs.

Source: SageMaker, "Custom inference code with hosting services"; Vertex AI, "Custom container
requirements for prediction"; and for models, attributes and media types SageMaker's own container
for TensorFlow Serving.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from salver.errors import InvalidArgument

__all__ = ["CONTRACTS", "Contract", "Given", "contract_flags", "probed_paths", "read_contract"]

SAGEMAKER: Final = "sagemaker"
VERTEX: Final = "vertex"
CONTRACTS: Final = ("none", SAGEMAKER, VERTEX)

_SAGEMAKER_MODELS: Final = "/opt/ml/model"
_SAGEMAKER_DRAIN_S: Final = 20  # it kills a container 30 seconds after it has told it to stop
_PORT: Final = "8080"
_PATH: Final = re.compile(r"/[!-~]*")  # as it stands in a request line
_IMPLIED: Final = (
    "port=0", "host=", "allowed_hosts=*", "open_ports_before_load=true", "enable_playground=false",
)  # fmt: skip
_PORT_VARIABLES: Final = {SAGEMAKER: "SAGEMAKER_BIND_TO_PORT", VERTEX: "AIP_HTTP_PORT"}


class Given(NamedTuple):
    """One flag that stands elsewhere than on the command line."""

    argument: str  # --name=value
    place: str  # as errors name it


@dataclass(frozen=True, slots=True)
class Contract:
    """What a cloud asks a server for, and of which model.

    Attributes:
        name: one of `CONTRACTS`, but not `none`.
        models: path or URI of the models; empty where the cloud names none.
        default_model: that requests mean which name none; empty for the first of all.
        health_route: a GET of it tells whether the server should get traffic.
        predict_route: to which requests are posted.
    """

    name: str
    models: str
    default_model: str
    health_route: str
    predict_route: str


def read_contract(name: str, environment: Mapping[str, str]) -> Contract | None:
    """What a contract and the variables that the cloud sets say; None without one.

    Raises:
        InvalidArgument: there is no such contract, or a variable makes no sense.
    """
    if name not in CONTRACTS:
        raise InvalidArgument(f"--cloud_contract must be {' or '.join(CONTRACTS)}, not {name!r}.")
    if name == SAGEMAKER:
        if environment.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true":
            raise InvalidArgument(
                "Multi-model endpoints of SageMaker (SAGEMAKER_MULTI_MODEL=true) are not served.",
                hint="One endpoint serves every model that its model.tar.gz holds, by name; "
                "--max_loaded_models bounds how many are in memory.",
            )
        default = environment.get("SAGEMAKER_TFS_DEFAULT_MODEL_NAME", "")
        return Contract(name, _SAGEMAKER_MODELS, default, "/ping", "/invocations")
    if name == VERTEX:
        return Contract(
            *(name, environment.get("AIP_STORAGE_URI", ""), ""),
            _route(environment, "AIP_HEALTH_ROUTE", ""),
            _route(environment, "AIP_PREDICT_ROUTE", ":predict"),
        )
    return None


def probed_paths(name: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The paths that a cloud asks again and again, to learn whether the server is ready.

    Raises:
        InvalidArgument: see `read_contract`.
    """
    contract = read_contract(name, environment)
    return () if contract is None else (contract.health_route,)


def contract_flags(name: str, environment: Mapping[str, str]) -> Iterator[Given]:
    """The flags that a contract implies, where nothing else sets them."""
    if name not in _PORT_VARIABLES:
        return
    place = f"--cloud_contract={name}"
    variable = _PORT_VARIABLES[name]
    if environment.get(variable):
        yield Given(f"--rest_api_port={environment[variable]}", variable)
    else:
        yield Given(f"--rest_api_port={_PORT}", place)
    # Only the cloud reaches the container, by names of its own; other containers may be beside it.
    for flag in _IMPLIED:
        yield Given(f"--{flag}", place)
    if name == SAGEMAKER:
        yield Given(f"--drain_timeout_seconds={_SAGEMAKER_DRAIN_S}", place)


def _route(environment: Mapping[str, str], variable: str, ending: str) -> str:
    """The path that a variable of Vertex AI names, or its default."""
    endpoint = environment.get("AIP_ENDPOINT_ID", "")
    deployed = environment.get("AIP_DEPLOYED_MODEL_ID", "")
    route = environment.get(variable) or (
        f"/v1/endpoints/{endpoint}/deployedModels/{deployed}{ending}"
    )
    if _PATH.fullmatch(route) is None:
        raise InvalidArgument(f"{variable}: {route!r} is no path")
    return route
